"""Page counting against a naive model: a dictionary with a number for every page."""

import random

import pytest

from memmon._mm import PAGE, PageRange, inwards, merged, outwards
from memmon._pages import PageCounts


def naive_parts(pages):
    """Neighbouring page numbers as ranges."""
    result = []
    for page in sorted(pages):
        if result and result[-1].end == page:
            result[-1] = PageRange(result[-1].start, page + 1)
        else:
            result.append(PageRange(page, page + 1))
    return result


@pytest.mark.parametrize("seed", range(60))
def test_counts_as_the_naive_model(seed):
    rng = random.Random(seed)
    counts, model, held = PageCounts(), {}, []
    width = rng.choice([6, 40, 400])
    for _ in range(300):
        if held and rng.random() < 0.48:
            pages = held.pop(rng.randrange(len(held)))
            gone = counts.release(pages)
            for page in range(*pages):
                model[page] -= 1
            assert gone == naive_parts(p for p in range(*pages) if model[p] == 0)
        else:
            start = rng.randrange(width)
            pages = PageRange(start, start + rng.randrange(1, width))
            new = counts.acquire(pages)
            assert new == naive_parts(p for p in range(*pages) if not model.get(p))
            for page in range(*pages):
                model[page] = model.get(page, 0) + 1
            held.append(pages)
        assert counts.covered == sum(count > 0 for count in model.values())
        probe = PageRange(rng.randrange(width), width * 2)
        assert counts.held(probe) == naive_parts(p for p in range(*probe) if model.get(p, 0) > 0)
    for pages in held:
        counts.release(pages)
    assert counts.covered == 0
    assert (counts._starts, counts._counts) == ([], []), "nothing is kept about what nobody holds"


def test_refuses_to_release_what_is_not_held():
    counts = PageCounts()
    counts.acquire(PageRange(2, 5))
    for pages in [PageRange(1, 3), PageRange(4, 6), PageRange(7, 8)]:
        with pytest.raises(ValueError, match="without being held"):
            counts.release(pages)
    assert counts.release(PageRange(2, 5)) == [PageRange(2, 5)]


def test_aligns():
    assert outwards(PAGE + 1, 1) == (PAGE, 2 * PAGE)
    assert outwards(PAGE - 1, 2) == (0, 2 * PAGE)
    assert outwards(PAGE, PAGE) == (PAGE, 2 * PAGE)
    assert inwards(PAGE, PAGE) == (PAGE, 2 * PAGE)
    assert inwards(PAGE + 1, 2 * PAGE) == (2 * PAGE, 3 * PAGE)
    assert inwards(PAGE + 1, PAGE).length == 0
    assert inwards(PAGE + 1, 5).length == 0


def test_merges():
    ranges = [
        PageRange(4, 6),
        PageRange(1, 2),
        PageRange(2, 3),
        PageRange(5, 9),
        PageRange(7, 8),
        PageRange(0, 0),
    ]
    assert merged(ranges) == [(1, 3), (4, 9)]

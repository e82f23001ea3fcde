"""Who holds which page: ``mlock`` does not nest, and buffers share pages.

Pure: knows nothing of system calls. Units are whatever the caller's ranges are in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from ._mm import PageRange


class PageCounts:
    """A counter for every page, kept as a few ranges of equal count.

    Costs grow with the number of ranges, not with their size: a gigabyte is one range.
    """

    def __init__(self) -> None:
        # counts[i] holds from starts[i] to starts[i + 1]; the last one is 0.
        self._starts: list[int] = []
        self._counts: list[int] = []
        self._covered = 0

    @property
    def covered(self) -> int:
        """How much has a count above 0."""
        return self._covered

    def acquire(self, pages: PageRange) -> list[PageRange]:
        """Counts every page of the range once more; returns those nobody held before."""
        return self._add(pages, 1)

    def release(self, pages: PageRange) -> list[PageRange]:
        """Counts every page of the range once less; returns those that nobody holds any more.

        Raises:
            ValueError: if a page was not held. Nothing is changed then.

        """
        if sum(part.length for part in self.held(pages)) != pages.length:
            raise ValueError(f"released without being held: {pages}")
        return self._add(pages, -1)

    def held(self, pages: PageRange) -> list[PageRange]:
        """The parts of the range that somebody holds, in order, neighbours merged."""
        result: list[PageRange] = []
        index = bisect_right(self._starts, pages.start) - 1
        for at in range(max(index, 0), len(self._starts)):
            if self._starts[at] >= pages.end:
                break
            if self._counts[at] == 0:
                continue
            start = max(self._starts[at], pages.start)
            end = min(self._starts[at + 1], pages.end)
            if start >= end:
                continue
            if result and result[-1].end == start:
                result[-1] = PageRange(result[-1].start, end)
            else:
                result.append(PageRange(start, end))
        return result

    def _add(self, pages: PageRange, step: int) -> list[PageRange]:
        if pages.end <= pages.start:
            return []
        first, last = self._split(pages.start), self._split(pages.end)
        turned = 1 if step > 0 else 0
        result: list[PageRange] = []
        for at in range(first, last):
            self._counts[at] += step
            if self._counts[at] != turned:
                continue
            start, end = self._starts[at], self._starts[at + 1]
            self._covered += (end - start) * step
            if result and result[-1].end == start:
                result[-1] = PageRange(result[-1].start, end)
            else:
                result.append(PageRange(start, end))
        # Counts inside differ from their neighbours as before; only the two edges can have become equal.
        self._join(last)
        self._join(first)
        return result

    def _split(self, at: int) -> int:
        """Makes ``at`` the start of a range; returns its index."""
        index = bisect_left(self._starts, at)
        if index == len(self._starts) or self._starts[index] != at:
            self._counts.insert(index, self._counts[index - 1] if index else 0)
            self._starts.insert(index, at)
        return index

    def _join(self, index: int) -> None:
        before = self._counts[index - 1] if index else 0
        if self._counts[index] == before:
            del self._starts[index], self._counts[index]

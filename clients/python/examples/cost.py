"""What protect() and release() cost beyond mlock and munlock themselves: medians, in turns, in microseconds."""

from __future__ import annotations

import statistics
import time
from typing import Callable

import memmon
from memmon import _mm

ROUNDS = 300


def timed(work: Callable[[], object]) -> float:
    """Microseconds."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e6


def main() -> None:
    """Prints a row per size."""
    for size in (1536, 1 << 20, 64 << 20):
        buffer = bytearray(size)
        with memmon.protect(buffer, "cost") as guard:
            guard.wait_tagged(2)
            ranges = guard.ranges

        def bare(ranges: list[_mm.PageRange] = ranges) -> None:
            for pages in ranges:
                _mm.mlock(pages)
                _mm.munlock(pages)

        def whole(buffer: bytearray = buffer) -> None:
            memmon.protect(buffer, "cost").release()

        pairs = [(timed(bare), timed(whole)) for _ in range(ROUNDS)]
        alone, both = (statistics.median(column) for column in zip(*pairs))
        most = max(whole - bare for bare, whole in pairs)
        print(
            f"{size:>9} bytes: mlock {alone:8.1f}, protect {both:8.1f}, "
            f"beyond {both - alone:7.1f}, most {most:8.1f}"
        )


if __name__ == "__main__":
    main()

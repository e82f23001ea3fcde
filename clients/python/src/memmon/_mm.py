"""The system calls, and what /proc says about this process's pages."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import resource
import sys
from typing import NamedTuple

PAGE = mmap.PAGESIZE
"""Bytes per page."""

MADV_COLD = 20
MADV_PAGEOUT = 21

_libc = ctypes.CDLL(None, use_errno=True)
for _name in ("mlock", "munlock"):
    getattr(_libc, _name).argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)

# Bit 63 of a pagemap entry: the page is in RAM and mapped (Documentation/admin-guide/mm/pagemap.rst).
_PRESENT = bytes(byte >> 7 for byte in range(256))
# Bit 61: it is a file's or shared memory.
_OF_FILE = bytes(byte >> 5 & 1 for byte in range(256))
# Bit 0 of a mincore byte.
_IN_CORE = bytes(byte & 1 for byte in range(256))
_CHUNK_PAGES = 1 << 17


class PageRange(NamedTuple):
    """Whole pages: addresses of the first byte and of the byte after the last."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes."""
        return self.end - self.start


def outwards(address: int, length: int) -> PageRange:
    """All pages that hold a byte of ``length`` bytes at ``address``."""
    start = address // PAGE * PAGE
    return PageRange(start, -(-(address + length) // PAGE) * PAGE)


def inwards(address: int, length: int) -> PageRange:
    """The pages that hold nothing else; empty (``end == start``) if there is none."""
    start = -(-address // PAGE) * PAGE
    end = (address + length) // PAGE * PAGE
    return PageRange(start, max(start, end))


def merged(ranges: list[PageRange]) -> list[PageRange]:
    """The same pages, each once, in as few ranges as possible."""
    result: list[PageRange] = []
    for one in sorted(ranges):
        if one.end <= one.start:
            continue
        if result and one.start <= result[-1].end:
            result[-1] = PageRange(result[-1].start, max(result[-1].end, one.end))
        else:
            result.append(one)
    return result


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mlock(pages: PageRange) -> None:
    """Locks pages and faults them in; see mlock(2). Locks do not nest."""
    _call("mlock", pages.start, pages.length)


def munlock(pages: PageRange) -> None:
    """Unlocks pages; see munlock(2)."""
    _call("munlock", pages.start, pages.length)


def madvise(pages: PageRange, advice: int) -> None:
    """See madvise(2)."""
    _call("madvise", pages.start, pages.length, advice)


def malloc_trim() -> bool:
    """Has the C library give free memory back; false if it has no such function or nothing to give."""
    trim = getattr(_libc, "malloc_trim", None)
    return trim is not None and trim(0) == 1


def resident(pages: PageRange) -> int:
    """How many of these pages are in RAM and mapped, so that touching them does not fault."""
    return residency(pages)[0]


def residency(pages: PageRange) -> tuple[int, int]:
    """As ``resident``; and how many of the pages may be shared memory or a file's."""
    try:
        return _residency_by_pagemap(pages)
    except OSError:
        # Without /proc. Less exact: a page in the swap cache counts although it is not mapped.
        return _resident_by_mincore(pages), pages.length // PAGE


def _residency_by_pagemap(pages: PageRange) -> tuple[int, int]:
    found = of_files = 0
    file = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        page, end = pages.start // PAGE, pages.end // PAGE
        while page < end:
            # Little or big endian, eight bytes each; the bits are in the most significant.
            data = os.pread(file, min(_CHUNK_PAGES, end - page) * 8, page * 8)
            if not data:
                break
            flags = data[_MOST_SIGNIFICANT::8]
            found += flags.translate(_PRESENT).count(1)
            of_files += flags.translate(_OF_FILE).count(1)
            page += len(data) // 8
    finally:
        os.close(file)
    return found, of_files


def _resident_by_mincore(pages: PageRange) -> int:
    found = 0
    for start in range(pages.start, pages.end, _CHUNK_PAGES * PAGE):
        length = min(_CHUNK_PAGES * PAGE, pages.end - start)
        vector = ctypes.create_string_buffer(length // PAGE)
        _call("mincore", start, length, vector)
        found += vector.raw.translate(_IN_CORE).count(1)
    return found


_MOST_SIGNIFICANT = 7 if sys.byteorder == "little" else 0


_SHARED = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) ..[-x]s \S+ \S+ \d+ +((?:/dev/zero|/dev/shm/|/memfd:|/SYSV).*?)(?: \(deleted\))?$",
    re.MULTILINE,
)


def shared(ranges: list[PageRange], maps: str | None = None) -> tuple[int, set[str]]:
    """How many bytes of these pages are shared memory, and what it is called in /proc/self/maps.

    Nobody's files but memory all the same: it goes to swap, but no process owns it. 0 where /proc does not tell.
    """
    if maps is None:
        try:
            with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
                maps = file.read()
        except OSError:
            return 0, set()
    found, names = 0, set()
    for first, last, name in _SHARED.findall(maps):
        mapping = PageRange(int(first, 16), int(last, 16))
        inside = sum(max(min(one.end, mapping.end) - max(one.start, mapping.start), 0) for one in ranges)
        if inside:
            found += inside
            names.add(name)
    return found, names


def locked_bytes() -> int:
    """VmLck of this process, 0 where /proc does not tell."""
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            found = re.search(r"^VmLck:\s+(\d+) kB", file.read(), re.MULTILINE)
    except OSError:
        return 0
    return int(found.group(1)) * 1024 if found else 0


def lock_limit() -> int | None:
    """RLIMIT_MEMLOCK in bytes (soft), ``None`` for unlimited."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def human(count: int) -> str:
    """Bytes for people: ``4 KiB``, ``1.5 GiB``."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}"

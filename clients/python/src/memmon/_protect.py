"""``protect`` and ``advise_cold``: what keeps a buffer in RAM, and what gives one away."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Callable

from . import _agent, _buffers, _cgroup, _fork, _mm
from ._buffers import Buffer, Piece
from ._mm import PageRange
from ._pages import PageCounts

log = logging.getLogger("memmon")

LABEL_MAX = 64
"""Longest label, in bytes of UTF-8; the agent takes no longer one."""


@dataclass(frozen=True)
class Status:
    """What a guard has at the moment it was asked."""

    label: str
    bytes: int
    """Bytes of the buffers in host memory."""
    pages: int
    """Pages that hold them, each counted once."""
    resident_pages: int
    """Of those, how many are in RAM."""
    locked: bool
    """All pages are locked, all are in RAM, and the buffers are still there."""
    tagged: bool
    """All pages are registered with the agent, which tells if one is swapped, and the buffers are still there."""
    refused: tuple[str, ...]
    """Why something is not as asked for; empty if it is, or if the agent has not answered yet."""
    device_bytes: int = 0
    """Bytes that are not in host memory and that the kernel therefore cannot swap."""
    devices: tuple[str, ...] = ()
    """Where those are: ``cuda:0``."""


class _Process:
    """The page locks of this process. ``mlock`` is not inherited: a forked child has a new one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = _fork.ForkSafeLock()
        self.pages = PageCounts()
        self._busy = False
        self._to_give: deque[list[PageRange]] = deque()

    def take(self, ranges: list[PageRange]) -> str | None:
        """Locks all of the ranges and brings them in, or none: then returns why."""
        with self.lock, self._changing():
            counted: list[PageRange] = []
            new: list[PageRange] = []
            why: str | None = None
            try:
                for one in ranges:
                    new += self.pages.acquire(one)
                    counted.append(one)
                why = self._lock_new(new)
            except BaseException:
                # No memory for a list, or somebody has pressed Control-C.
                _unlock(new)
                why = "interrupted"
                raise
            finally:
                if why is not None:
                    for one in counted:
                        self.pages.release(one)
            return why

    def give(self, ranges: list[PageRange]) -> None:
        """Unlocks what nobody else holds."""
        self._to_give.append(ranges)
        with self.lock:
            self._settle()

    def give_later(self, ranges: list[PageRange]) -> None:
        """As ``give``, for the garbage collector, which may have stopped any thread in the middle of anything.

        Does not wait: if it is a bad moment, whoever comes next does it.
        """
        self._to_give.append(ranges)
        if self.lock.acquire_now():
            try:
                self._settle()
            finally:
                self.lock.release()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            self._settle()

    def _settle(self) -> None:
        # Busy: the collector stopped this very thread within a change, which settles at its end.
        while self._to_give and not self._busy:
            self._busy = True
            try:
                for one in self._to_give.popleft():
                    _unlock(self.pages.release(one))
            finally:
                self._busy = False

    @staticmethod
    def _lock_new(new: list[PageRange]) -> str | None:
        to_lock = sum(part.length for part in new)
        if not to_lock:
            return None
        # What is in RAM already takes no further room, but costs time to count: only where it decides.
        if _cgroup.room(to_lock, to_lock):
            to_bring_in = to_lock - sum(map(_mm.resident, new)) * _mm.PAGE
            if why := _cgroup.room(to_lock, to_bring_in):
                return why
        for done, part in enumerate(new):
            try:
                _mm.mlock(part)
            except OSError as error:
                # A failed mlock may have locked the beginning of its range.
                _unlock(new[: done + 1])
                return _explain(error, to_lock)
        return None


def _unlock(ranges: list[PageRange]) -> None:
    for part in ranges:
        try:
            _mm.munlock(part)
        except OSError as error:
            # The owner has unmapped it, or a part of it, and the lock went with it.
            if error.errno != errno.ENOMEM:
                log.warning("unlocking %d bytes at %#x: %s", part.length, part.start, error)


def _explain(error: OSError, to_lock: int) -> str:
    limit, wanted = _mm.lock_limit(), _mm.human(to_lock)
    if limit is not None and error.errno in {errno.ENOMEM, errno.EPERM, errno.EAGAIN}:
        held = _mm.locked_bytes()
        if held + to_lock > limit:
            return (
                f"locking {wanted} on top of {_mm.human(held)} exceeds RLIMIT_MEMLOCK ({_mm.human(limit)}): "
                "set LimitMEMLOCK= in the unit, or give it CAP_IPC_LOCK"
            )
    if error.errno == errno.ENOMEM:
        return (
            f"locking {wanted}: {error.strerror}: the memory is not mapped (any more), or the process has "
            "as many mappings as vm.max_map_count allows"
        )
    return f"locking {wanted}: {error.strerror}"


_process = _Process()


def process() -> _Process:
    """The one of this process."""
    if _process.pid != os.getpid():
        _reset()
    return _process


def _reset() -> None:
    global _process  # noqa: PLW0603 - one per process is the point
    _process = _Process()


_fork.in_child(_reset)


class Guard:
    """Keeps buffers protected until ``release``, the end of its ``with`` block, or until it is collected.

    It holds the objects it protects, and (where they know such a thing) an export of their buffer: a
    ``bytearray`` refuses to be resized meanwhile.
    """

    def __init__(self, pieces: list[Piece], label: str) -> None:
        self.label = label
        """What alarms call this memory."""
        host = [piece for piece in pieces if piece.place is not None]
        places = [piece.place for piece in host if piece.place is not None]
        self._host = host
        self._device_bytes = sum(piece.length for piece in pieces if piece.device is not None)
        self._devices = tuple(sorted({piece.device for piece in pieces if piece.device is not None}))
        self._bytes = sum(length for _, length in places)
        self._ranges = _mm.merged([_mm.outwards(*place) for place in places])
        self._held = process()
        self._refusal: str | None = None
        self._tags: list[_agent.Tag] = []
        locked: list[PageRange] = []
        agent = _agent.agent()
        # Before there is anything to undo: what follows may be interrupted anywhere.
        self._end = weakref.finalize(self, _collected, self._held, locked, agent, self._tags, pieces)
        # At the end of the process the kernel does all of this.
        self._end.atexit = False
        try:
            self._refusal = self._held.take(self._ranges) if self._ranges else None
            if self._refusal is None:
                locked += self._ranges
            else:
                log.warning("%r is not locked: %s", label, self._refusal)
            self._tags += [_agent.Tag(one.start, one.length, label) for one in self._ranges]
            for tag in self._tags:
                agent.add(tag)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Ends the protection. Pages that another guard protects as well stay locked. May be called again."""
        alive = self._end.detach()
        if alive is not None:
            _, _, (held, locked, agent, tags, pieces), _ = alive
            _undo(held.give, held, locked, agent, tags, pieces)
            # The objects may be freed, resized or closed from now on.
            self._host = []

    @property
    def released(self) -> bool:
        """Whether it has ended."""
        return not self._end.alive

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child's copy of its parent's guard: it protects nothing here."""
        return self._held is not process()

    @property
    def ranges(self) -> list[PageRange]:
        """The pages, in order, none twice."""
        return list(self._ranges)

    @property
    def locked(self) -> bool:
        """As ``Status.locked``."""
        return self._locked(self._resident(), self.moved())

    @property
    def tagged(self) -> bool:
        """As ``Status.tagged``."""
        return self._tagged(self.moved())

    @property
    def refused(self) -> tuple[str, ...]:
        """As ``Status.refused``."""
        return self.status().refused

    def wait_tagged(self, timeout: float = 5.0) -> bool:
        """Whether the agent has registered all pages, waiting up to ``timeout`` seconds for its answer."""
        if self.released or self.inherited or not self._tags:
            return False
        return _agent.agent().wait(self._tags, timeout)

    def status(self) -> Status:
        """What it has now. Residency is looked up in /proc, at some 30 ns per page."""
        pages, moved = self._pages, self.moved()
        found = [] if self.released else list(map(_mm.residency, self._ranges))
        resident, of_files = sum(one for one, _ in found), sum(one for _, one in found)
        refused = self._why_not(pages, resident, of_files, moved)
        return Status(
            label=self.label,
            bytes=self._bytes,
            pages=pages,
            resident_pages=resident,
            locked=self._locked(resident, moved),
            tagged=self._tagged(moved),
            refused=tuple(refused),
            device_bytes=self._device_bytes,
            devices=self._devices,
        )

    @property
    def _pages(self) -> int:
        return sum(one.length for one in self._ranges) // _mm.PAGE

    def _resident(self) -> int:
        return 0 if self.released else sum(map(_mm.resident, self._ranges))

    def _locked(self, resident: int, moved: list[str]) -> bool:
        alive = not self.released and not self.inherited
        return alive and self._refusal is None and 0 < self._pages == resident and not moved

    def _tagged(self, moved: list[str]) -> bool:
        alive = not self.released and not self.inherited
        return alive and bool(self._tags) and not moved and all(tag.state == _agent.TAGGED for tag in self._tags)

    def moved(self) -> list[str]:
        """The parts whose bytes are elsewhere now, or gone: what is protected is the memory they left.

        Names as in ``Status.refused``; empty after ``release``.
        """
        return [piece.name or "the buffer" for piece in _buffers.moved(self._host)]

    def _why_not(self, pages: int, resident: int, of_files: int, moved: list[str]) -> list[str]:
        if self.released:
            return ["released"]
        if self.inherited:
            return ["forked: locks and registrations are the parent's; protect again in this process"]
        found = [] if self._refusal is None else [f"not locked: {self._refusal}"]
        if self._refusal is None and resident < pages:
            found.append(
                f"not locked: {pages - resident} of {pages} pages are not in RAM: they were unmapped, or "
                "unlocked by somebody else"
            )
        # Pages that are not in RAM do not tell, and the list of mappings can be long.
        unseen, names = _mm.shared(self._ranges) if of_files or resident < pages else (0, set())
        if unseen:
            found.append(
                f"not seen by the agent: {unseen // _mm.PAGE} of {pages} pages are shared memory "
                f"({', '.join(sorted(names))}), which it cannot tell from anybody else's when it is swapped"
            )
        reasons = {tag.reason for tag in self._tags if tag.state in {_agent.REFUSED, _agent.ABSENT}}
        found += [f"not tagged: {reason}" for reason in sorted(reasons)]
        if moved:
            found.append(f"{', '.join(moved)} moved in memory or changed size: release and protect again")
        return found

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        state = "released" if self.released else "refused" if self._refusal else "held"
        return f"<memmon.Guard {self.label!r}: {self._bytes} bytes on {self._pages} pages, {state}>"


def _collected(
    held: _Process,
    locked: list[PageRange],
    agent: _agent.Agent,
    tags: list[_agent.Tag],
    pieces: list[Piece],
) -> None:
    _undo(held.give_later, held, locked, agent, tags, pieces)


def _undo(  # noqa: PLR0913, PLR0917 - what a guard has
    give: Callable[[list[PageRange]], None],
    held: _Process,
    locked: list[PageRange],
    agent: _agent.Agent,
    tags: list[_agent.Tag],
    pieces: list[Piece],
) -> None:
    # In a forked child, neither locks nor registrations are there; the exports are.
    if held is process():
        for tag in tags:
            agent.remove(tag)
        give(locked)
    for piece in pieces:
        piece.let_go()


def protect(buffer: Buffer, label: str) -> Guard:
    """Locks a buffer's pages into RAM, brings them in, and registers them with the agent under ``label``.

    Takes anything with the buffer protocol (``bytes``, ``bytearray``, ``memoryview``, ``array``, ``mmap``,
    ctypes, numpy), torch tensors, torch modules (all parameters and buffers), ``Region``, and lists and dicts of
    these. Pages that are shared with other memory are protected as a whole.

    Does not fail because memory cannot be locked or no agent runs: ``Guard.status()`` says what was had. The
    agent is told by another thread; ``Guard.wait_tagged()`` waits for that.

    Raises:
        TypeError: if there is no buffer in the object that could be protected.
        ValueError: if it is empty, has gaps (a strided view), or the label is unusable.

    """
    size = len(label.encode())
    if not 0 < size <= LABEL_MAX or not label.isprintable():
        raise ValueError(f"label {label!r}: give 1 to {LABEL_MAX} printable bytes, not {size}")
    return Guard(_buffers.pieces(buffer), label)


def advise_cold(buffer: Buffer, *, pageout: bool = False) -> int:
    """Tells the kernel that a buffer is not needed soon; its content stays.

    Its pages are the first to be reclaimed under pressure; with ``pageout`` they are written to swap at once.
    Only whole pages inside the buffer, and only those that no guard protects. Returns the bytes this was said
    for: 0 for less than a page, and on kernels before 5.4.

    Raises:
        TypeError: if there is no buffer in the object.
        ValueError: if it is empty or has gaps.

    """
    advice = _mm.MADV_PAGEOUT if pageout else _mm.MADV_COLD
    found = _buffers.pieces(buffer)
    try:
        inside = [_mm.inwards(*piece.place) for piece in found if piece.place is not None]
        done = 0
        held = process()
        with held.lock, held._changing():
            for pages in _mm.merged(inside):
                for part in _between(pages, held.pages.held(pages)):
                    try:
                        _mm.madvise(part, advice)
                    except OSError as error:
                        # EINVAL: too old a kernel, locked by somebody else, or huge pages of hugetlbfs.
                        log.info("advising %d bytes at %#x: %s", part.length, part.start, error)
                    else:
                        done += part.length
        return done
    finally:
        for piece in found:
            piece.let_go()


def _between(pages: PageRange, held: list[PageRange]) -> list[PageRange]:
    """The parts of ``pages`` outside of ``held``, which is in order and inside."""
    edges = [pages.start, *(edge for part in held for edge in part), pages.end]
    return [PageRange(a, b) for a, b in zip(edges[::2], edges[1::2]) if a < b]


def protected_bytes() -> int:
    """How much memory this process has locked by guards, in whole pages, each counted once."""
    held = process()
    with held.lock:
        return held.pages.covered

"""What a forked child must not take over: locks that a thread of the parent held, sockets, page locks.

``os.fork`` runs the hooks here. A fork by C code does not; ``pid`` tells such a child apart.
"""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType
from typing import Callable

_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()
_hooks: list[Callable[[], None]] = []


class ForkSafeLock:
    """A re-entrant lock that is free in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        self._renew()
        _locks.add(self)

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if self._pid != os.getpid():
            self._renew()
        self._lock.acquire()

    def acquire_now(self) -> bool:
        """Takes the lock if that needs no waiting; then ``release`` must follow."""
        if self._pid != os.getpid():
            self._renew()
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Undoes ``acquire_now``."""
        self._lock.release()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


def in_child(hook: Callable[[], None]) -> None:
    """Has ``hook`` run in every child that ``os.fork`` makes."""
    _hooks.append(hook)


def _after_fork_in_child() -> None:
    for lock in list(_locks):
        lock._renew()
    for hook in _hooks:
        hook()


os.register_at_fork(after_in_child=_after_fork_in_child)

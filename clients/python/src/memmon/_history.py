"""The last cycles, protected."""

from __future__ import annotations

import contextlib
from collections import deque
from types import TracebackType

from . import _fork
from ._buffers import Buffer
from ._protect import Guard, advise_cold, protect


class History:
    """Keeps what was pushed last protected, and lets older things go.

    ::

        history = History(n=100, label="cycle")
        while True:
            history.push(cycle_data)

    Pages that older and newer cycles share stay locked until the last of them falls out. It holds a reference
    to each of the last ``n`` objects.
    """

    def __init__(self, n: int = 100, label: str = "history", *, cold: bool = False) -> None:
        """Starts empty.

        Args:
            n: how many cycles stay protected.
            label: what alarms call them.
            cold: whether what falls out becomes the first to be reclaimed (``advise_cold``).

        """
        if n < 1:
            raise ValueError(f"n: {n} cycles: give at least 1")
        self.n, self.label = n, label
        self._cold = cold
        self._lock = _fork.ForkSafeLock()
        self._kept: deque[tuple[Guard, Buffer]] = deque()

    def push(self, buffer: Buffer, label: str | None = None) -> Guard:
        """Protects a cycle's buffer, as ``protect`` does; lets the oldest go if there are more than ``n``."""
        guard = protect(buffer, label or self.label)
        with self._lock:
            self._kept.append((guard, buffer))
            out = [self._kept.popleft() for _ in range(len(self._kept) - self.n)]
        self._let_go(out, cold=self._cold)
        return guard

    def clear(self) -> None:
        """Lets all of them go."""
        with self._lock:
            out = list(self._kept)
            self._kept.clear()
        self._let_go(out, cold=False)

    @staticmethod
    def _let_go(out: list[tuple[Guard, Buffer]], *, cold: bool) -> None:
        for guard, buffer in out:
            guard.release()
            if cold and not guard.inherited:
                # It may be resized again from now on, and be empty.
                with contextlib.suppress(ValueError):
                    advise_cold(buffer)

    def guards(self) -> list[Guard]:
        """Those in force, the oldest first."""
        with self._lock:
            return [guard for guard, _ in self._kept]

    def __len__(self) -> int:
        return len(self._kept)

    def __enter__(self) -> History:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

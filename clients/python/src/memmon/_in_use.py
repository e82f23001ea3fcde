"""A model that is protected while it is used, and a while longer."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from types import TracebackType

from . import _buffers, _fork
from ._buffers import Buffer
from ._protect import Guard, advise_cold, protect

log = logging.getLogger("memmon")


class ModelInUse:
    """Locks and registers a model during inference, and lets it go when it has been idle for a time.

    ::

        model = ModelInUse(network, "language-model", idle=60)

        with model:
            answer = network(question)

    The first ``with`` after an idle time locks the model and brings it in; those that follow only look whether it
    is still where it was (``.to()``, ``load_state_dict``), and protect it again if not. Several threads may use it
    at the same time. A lock that is refused does not fail the inference.
    """

    def __init__(self, model: Buffer, label: str, *, idle: float = 60.0, cold_when_idle: bool = False) -> None:
        """Protects nothing yet.

        Args:
            model: what ``protect`` takes: a module, a tensor, a list of arrays.
            label: what alarms call it.
            idle: seconds after the last use until it is released.
            cold_when_idle: whether it then also becomes the first to be reclaimed (``advise_cold``).

        """
        if idle < 0:
            raise ValueError(f"idle: {idle} seconds: give 0 or more")
        self.model, self.label, self.idle = model, label, idle
        self._cold = cold_when_idle
        self._lock = _fork.ForkSafeLock()
        self._users = 0
        self._last_use = 0.0
        self._guard: Guard | None = None

    @property
    def guard(self) -> Guard | None:
        """What protects it now; ``None`` while it is idle."""
        guard = self._guard
        return None if guard is None or guard.inherited else guard

    def __enter__(self) -> Guard | None:
        with self._lock:
            # A thread that comes second waits here until the first has locked it: it is protected for both.
            guard = self.guard
            if guard is None:
                # A forked child starts with the parent's threads gone, and so with nobody else using it.
                self._users, self._guard = 0, protect(self.model, self.label)
            elif self._users == 0 and guard.moved():
                self._protect_again(guard)
            self._users += 1
            return self._guard

    def _protect_again(self, old: Guard) -> None:
        try:
            found = _buffers.pieces(self.model)
        except (TypeError, ValueError) as error:
            log.warning("%r is used unprotected: %s", self.label, error)
            return
        # Before the new one: both at once may exceed a limit.
        self._guard = None
        old.release()
        self._guard = Guard(found, self.label)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._users = max(self._users - 1, 0)
            self._last_use = time.monotonic()
            idle = self._users == 0
        if idle:
            _keeper().watch(self)

    def release(self) -> None:
        """Lets it go now, if nobody uses it."""
        self._release_if_due(float("inf"))

    def _release_if_due(self, now: float) -> float | None:
        """Releases it if it has been idle for long enough; otherwise says when it will have been."""
        with self._lock:
            if self._users or self._guard is None:
                return None
            due = self._last_use + self.idle
            if now < due:
                return due
            guard, self._guard = self._guard, None
            guard.release()
            if self._cold and not guard.inherited:
                advise_cold(self.model)
            return None


class _Keeper:
    """One thread for all models: sleeps until the first of them may have been idle for long enough."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: weakref.WeakSet[ModelInUse] = weakref.WeakSet()
        self._new = False
        self._thread: threading.Thread | None = None
        self._said = False

    def watch(self, model: ModelInUse) -> None:
        with self._changed:
            if self._thread is not None and model in self._watched:
                return  # The thread looks at the time of the last use when it wakes up.
            self._watched.add(model)
            self._new = True
            if self._thread is None:
                self._start()
            self._changed.notify()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="memmon-idle", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # No more threads, or the interpreter is ending: tried again after the next use.
            if not self._said:
                log.warning("models stay protected: no thread to let them go: %s", error)
            self._said = True
        else:
            self._thread, self._said = thread, False

    def _run(self) -> None:
        while True:
            with self._changed:
                models = list(self._watched)
                # Before they are looked at: a use that ends meanwhile puts its model back.
                self._watched.clear()
                self._new = False
            next_due = self._look_at(models)
            models.clear()
            with self._changed:
                if not self._new:
                    self._changed.wait(None if next_due is None else max(next_due - time.monotonic(), 0))

    def _look_at(self, models: list[ModelInUse]) -> float | None:
        next_due: float | None = None
        for model in models:
            try:
                due = model._release_if_due(time.monotonic())
            except Exception:
                log.exception("releasing %r", model.label)
                continue
            if due is not None:
                next_due = due if next_due is None else min(due, next_due)
                with self._changed:
                    self._watched.add(model)
        return next_due


_one: _Keeper | None = None
_one_lock = _fork.ForkSafeLock()


def _keeper() -> _Keeper:
    global _one  # noqa: PLW0603 - one per process
    with _one_lock:
        if _one is None:
            _one = _Keeper()
        return _one


def _reset() -> None:
    global _one  # noqa: PLW0603 - a thread is not inherited
    _one = None


_fork.in_child(_reset)

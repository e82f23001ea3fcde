"""Giving memory back when the system or the agent asks for it.

The system asks through memory pressure as systemd prescribes (https://systemd.io/PRESSURE), the agent through
its ``ReleaseRequested`` signal for this process's unit.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gc
import logging
import os
import select
import socket
import stat
import threading
import time
from typing import Callable, NamedTuple, Optional, TypeVar

from . import _agent, _cgroup, _fork, _mm

log = logging.getLogger("memmon")

ReleaseCallback = Callable[[Optional[int]], object]
"""Called with the bytes asked for, ``None`` if that is not said."""

_Callback = TypeVar("_Callback", bound=ReleaseCallback)

# sd-event's own: 200 ms of stall within 2 s; a window that needs no privilege.
_DEFAULT_TRIGGER = b"some 200000 2000000\0"
# Callbacks run at most this often, in seconds, however often somebody asks.
_PAUSE = 1.0


class PressureSource(NamedTuple):
    """What is watched for memory pressure."""

    path: str | None
    """``None`` if nothing is."""
    why: str
    """Where the path came from, or why nothing is watched."""


class _Watched(NamedTuple):
    file: int | socket.socket
    events: int
    """What poll(2) waits for: POLLPRI on a file of the kernel, POLLIN on what carries data."""


def default_release(_bytes: int | None = None) -> None:
    """Collects garbage and has the C library give free memory back to the kernel."""
    gc.collect()
    _mm.malloc_trim()


class _Watcher:
    """One thread that waits for requests and runs the callbacks, so that no other thread is stopped by them."""

    def __init__(self) -> None:
        self.lock = _fork.ForkSafeLock()
        self.callbacks: list[ReleaseCallback] = [default_release]
        self.source: PressureSource | None = None
        self._asked: int | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._watched: _Watched | None = None

    def start(self) -> PressureSource:
        with self.lock:
            if self.source is not None:
                return self.source
            watched: _Watched | None = None
            try:
                self._wake = self._wake or _agent.waker()
                try:
                    source, watched = _open()
                except (OSError, ValueError) as error:
                    source = PressureSource(None, str(error))
                arguments = (self._wake[0], watched)
                threading.Thread(target=self._run, args=arguments, name="memmon-release", daemon=True).start()
            except (OSError, RuntimeError) as error:
                # No more descriptors or threads: tried again by the next who asks.
                _close(watched)
                log.warning("memory is not released when somebody asks: %s", error)
                return PressureSource(None, str(error))
            self.source, self._watched = source, watched
            if source.path is None:
                log.info("memory pressure is not watched: %s", source.why)
            _agent.agent().listen(self._asked_by_agent)
            return source

    def _asked_by_agent(self, unit: str, count: int) -> None:
        if unit in _cgroup.units() and self._wake is not None:
            self._asked = max(count, self._asked or 0)
            with contextlib.suppress(BlockingIOError):
                self._wake[1].send(b"!")

    def _run(self, woken: socket.socket, watched: _Watched | None) -> None:
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        number = -1
        if watched is not None:
            number = watched.file if isinstance(watched.file, int) else watched.file.fileno()
            poll.register(number, watched.events)
        while True:
            for ready, events in poll.poll():
                if ready != number:
                    with contextlib.suppress(BlockingIOError):
                        while woken.recv(4096):
                            pass
                elif events & (select.POLLERR | select.POLLNVAL) or not _discard(watched):
                    log.info("memory pressure is not watched any more: its source is gone")
                    poll.unregister(number)
            asked, self._asked = self._asked, None
            self.run(asked)
            time.sleep(_PAUSE)

    def run(self, asked: int | None) -> None:
        with self.lock:
            callbacks = list(self.callbacks)
        for callback in callbacks:
            try:
                callback(asked)
            except Exception:
                log.exception("a callback that should release memory")

    def abandon(self) -> None:
        """In a forked child."""
        for end in self._wake or ():
            end.close()
        _close(self._watched)


def _close(watched: _Watched | None) -> None:
    if watched is None:
        return
    if isinstance(watched.file, int):
        os.close(watched.file)
    else:
        watched.file.close()


def _discard(watched: _Watched | None) -> bool:
    """Reads away what a FIFO or socket carries; false at its end."""
    if watched is None or watched.events == select.POLLPRI:
        return True
    try:
        while True:
            read = os.read(watched.file, 4096) if isinstance(watched.file, int) else watched.file.recv(4096)
            if not read:
                return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _open() -> tuple[PressureSource, _Watched | None]:
    path = os.environ.get("MEMORY_PRESSURE_WATCH")
    if path == "/dev/null":
        return PressureSource(None, "$MEMORY_PRESSURE_WATCH is /dev/null: switched off"), None
    if path:
        if not path.startswith("/"):
            raise ValueError(f"$MEMORY_PRESSURE_WATCH is {path!r}, not an absolute path")
        text = os.environ.get("MEMORY_PRESSURE_WRITE", "")
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"$MEMORY_PRESSURE_WRITE is not Base64: {error}") from error
        return PressureSource(path, "$MEMORY_PRESSURE_WATCH"), _watch(path, data)
    # Not started by a systemd that knows the protocol (254): what that would have named.
    tried = []
    cgroup = _cgroup.own()
    own = [f"{cgroup.directory}/memory.pressure"] if cgroup is not None and cgroup.v2 else []
    for path in [*own, "/proc/pressure/memory"]:
        try:
            return PressureSource(path, "$MEMORY_PRESSURE_WATCH is not set"), _watch(path, _DEFAULT_TRIGGER)
        except OSError as error:
            tried.append(f"{path}: {error.strerror}")
    return PressureSource(None, f"$MEMORY_PRESSURE_WATCH is not set; {'; '.join(tried)}"), None


def _watch(path: str, data: bytes) -> _Watched:
    mode = os.stat(path).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(5)
            connection.connect(path)
            connection.sendall(data)
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
        return _Watched(connection, select.POLLIN)
    # Opened for writing as well, a FIFO has no end that would have to be waited for or that could be reached.
    file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if data:
            os.write(file, data)
    except BaseException:
        os.close(file)
        raise
    return _Watched(file, select.POLLIN if stat.S_ISFIFO(mode) else select.POLLPRI)


_watcher: _Watcher | None = None
_watcher_lock = _fork.ForkSafeLock()


def _one() -> _Watcher:
    global _watcher  # noqa: PLW0603 - one per process
    with _watcher_lock:
        if _watcher is None:
            _watcher = _Watcher()
        return _watcher


def _reset() -> None:
    global _watcher
    old, _watcher = _watcher, None
    if old is not None:
        old.abandon()
        # Callbacks are inherited, the thread is not: `watch_pressure()` in the child starts one.
        _one().callbacks = old.callbacks


_fork.in_child(_reset)


def on_release(callback: _Callback) -> _Callback:
    """Has ``callback`` called whenever memory should be given back, and starts watching for that.

    It gets the number of bytes the agent asked for, or ``None`` for memory pressure, on a thread of memmon's
    own; what it raises is logged. ``default_release`` runs before it, unless taken out with ``forget_release``.
    Can be used as a decorator.
    """
    watcher = _one()
    with watcher.lock:
        watcher.callbacks.append(callback)
    watcher.start()
    return callback


def forget_release(callback: ReleaseCallback) -> None:
    """Takes a callback back; one that is not there is fine."""
    watcher = _one()
    with watcher.lock, contextlib.suppress(ValueError):
        watcher.callbacks.remove(callback)


def watch_pressure() -> PressureSource:
    """Starts watching, if ``on_release`` has not, and says what is watched. ReleaseRequested is heard anyway.

    A forked child inherits the callbacks, but watches only once it calls this or ``on_release``.
    """
    return _one().start()


def release_memory(bytes_wanted: int | None = None) -> None:
    """Runs all callbacks now, on this thread."""
    _one().run(bytes_wanted)

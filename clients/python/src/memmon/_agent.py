"""The connection to the agent: one daemon thread, which alone waits for the bus.

Callers only change what should be registered and wake the thread. It keeps the agent's knowledge equal to
that, through restarts of the agent and of the bus. An absent agent is said once and is no error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable

from . import _fork
from ._errors import AgentUnavailableError, MemmonError, NotYoursError

if TYPE_CHECKING:
    from jeepney import Message
    from jeepney.io.blocking import DBusConnection

log = logging.getLogger("memmon")

NAME = "org.omnimind.memmon1"
PATH = "/org/omnimind/memmon1"
INTERFACE = "org.omnimind.memmon1.Manager"
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")

# Answers outstanding at a time; the agent refuses more than 8.
_IN_FLIGHT = 4
# After so many seconds, what was refused for a limit is asked for again: others may have taken theirs back.
_LIMITED_PAUSE = 10.0
_LIMITED = "org.freedesktop.DBus.Error.LimitsExceeded"
_FIRST_RETRY, _LAST_RETRY = 1.0, 60.0

WAITING, TAGGED, REFUSED, ABSENT = "waiting", "tagged", "refused", "absent"

# Errors that mean that nobody is there, rather than that somebody said no.
_NOBODY = (
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Disconnected",
)


class Tag:
    """A range that should be registered. Only the agent's thread writes to it, under the agent's lock."""

    __slots__ = ("id", "label", "length", "reason", "start", "state", "wanted")

    def __init__(self, start: int, length: int, label: str) -> None:
        self.start, self.length, self.label = start, length, label
        self.state = WAITING
        self.reason = ""
        self.id: int | None = None
        self.wanted = True


class Agent:
    """All tags of this process, and who wants to hear of requests to release memory."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._tags: set[Tag] = set()
        # In order; a dict, so that what is taken back before it was sent does not pile up.
        self._todo: dict[Tag, None] = {}
        # Refused for a limit, and when they are asked for again.
        self._limited: set[Tag] = set()
        self._ask_again: float | None = None
        self._to_untag: deque[int] = deque()
        # Taken back, but still in the tables above.
        self._gone: deque[Tag] = deque()
        self._on_release: Callable[[str, int], None] | None = None
        self._thread: threading.Thread | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._conn: DBusConnection | None = None
        self._owner = ""
        self._absent = ""
        self._in_flight: dict[int, tuple[str, Tag | None]] = {}
        self._said_absent = False

    # --- Called by the service's threads ---------------------------------------------------------------

    def add(self, start: int, length: int, label: str) -> Tag:
        """Has the range registered as soon as that can be; does not wait for it."""
        tag = Tag(start, length, label)
        with self._changed:
            self._sweep()
            self._tags.add(tag)
            if self._owner:
                self._todo[tag] = None
            elif self._absent:
                tag.state, tag.reason = ABSENT, self._absent
            self._wake_up()
        return tag

    def remove(self, tag: Tag) -> None:
        """Takes the registration back. Takes no lock: the garbage collector may call this anywhere."""
        if tag.wanted:
            tag.wanted = False
            self._gone.append(tag)
            self._nudge()

    def wait(self, tags: list[Tag], timeout: float) -> bool:
        """Whether all are registered, waiting at most ``timeout`` seconds for answers."""
        with self._changed:
            self._changed.wait_for(lambda: all(tag.state != WAITING for tag in tags), timeout)
            return all(tag.state == TAGGED for tag in tags)

    def listen(self, on_release: Callable[[str, int], None]) -> None:
        """Has ``ReleaseRequested`` told: unit and bytes, on the agent's thread."""
        with self._changed:
            self._on_release = on_release
            self._wake_up()

    def abandon(self) -> None:
        """In a forked child: closes the parent's sockets, which say nothing about the parent's connection."""
        if self._conn is not None:
            self._conn.selector.close()
            self._conn.sock.close()
        for end in self._wake or ():
            end.close()

    def _wake_up(self) -> None:
        if self._thread is None:
            self._wake = socket.socketpair()
            for end in self._wake:
                end.setblocking(False)
            thread = threading.Thread(target=self._run, name="memmon-agent", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # No more threads, or the interpreter is ending: no reason for the service to fail.
                self._lose(f"no thread for the connection to the memmon agent: {error}")
                return
            self._thread = thread
        else:
            self._nudge()

    def _nudge(self) -> None:
        if self._wake is not None:
            # Full: it will wake up anyway. Closed: the process is a forked child or ending.
            with contextlib.suppress(OSError):
                self._wake[1].send(b"!")

    def _sweep(self) -> None:
        """Drops what was taken back. Under the lock."""
        while self._gone:
            tag = self._gone.popleft()
            self._tags.discard(tag)
            self._todo.pop(tag, None)
            if tag.id is not None:
                self._to_untag.append(tag.id)
                tag.id = None

    # --- The thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._wake is not None, "made before the thread"
        woken = self._wake[0]
        retry = _FIRST_RETRY
        while True:
            started = time.monotonic()
            try:
                self._session(woken)
            except Exception as error:
                self._lose(f"no connection to the system bus: {error or type(error).__name__}")
            finally:
                conn, self._conn = self._conn, None
                if conn is not None:
                    conn.close()
            if time.monotonic() - started > _LAST_RETRY:
                retry = _FIRST_RETRY
            time.sleep(retry)
            retry = min(retry * 2, _LAST_RETRY)
            _drain(woken)
            if not self._anything_to_do():
                select.select([woken], [], [])

    def _anything_to_do(self) -> bool:
        with self._changed:
            self._sweep()
            return bool(self._tags) or self._on_release is not None

    def _session(self, woken: socket.socket) -> None:
        """Serves one connection until it breaks."""
        from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415 - not before it is needed

        conn = self._conn = open_dbus_connection("SYSTEM", auth_timeout=5.0)
        self._in_flight.clear()
        rules = (
            f"type='signal',sender='{_BUS[0]}',interface='{_BUS[2]}',member='NameOwnerChanged',arg0='{NAME}'",
            f"type='signal',sender='{NAME}',interface='{INTERFACE}',member='ReleaseRequested'",
        )
        for rule in rules:
            self._call("AddMatch", None, _BUS, "s", (rule,))
        self._call("GetNameOwner", None, _BUS, "s", (NAME,))
        while True:
            self._send_what_is_due()
            pause = None if self._ask_again is None else max(self._ask_again - time.monotonic(), 0)
            ready, _, _ = select.select([conn.sock, woken], [], [], pause)
            if self._ask_again is not None and time.monotonic() >= self._ask_again:
                with self._changed:
                    # Their state stays until there is another answer.
                    self._todo.update(dict.fromkeys(self._limited & self._tags))
                    self._forget_limits()
            if woken in ready:
                _drain(woken)
            if conn.sock in ready:
                self._receive(conn)

    def _receive(self, conn: DBusConnection) -> None:
        while True:
            try:
                message = conn.receive(timeout=0)
            except TimeoutError:
                return
            self._handle(message)

    def _handle(self, message: Message) -> None:
        from jeepney import HeaderFields, MessageType  # noqa: PLC0415

        header = message.header
        fields = header.fields
        if header.message_type is MessageType.signal:
            member, sender = fields.get(HeaderFields.member), fields.get(HeaderFields.sender)
            if member == "NameOwnerChanged" and sender == _BUS[0] and message.body[0] == NAME:
                self._owned_by(message.body[2])
            elif member == "ReleaseRequested" and sender == self._owner:
                unit, count = message.body
                heard = self._on_release
                if heard is not None:
                    heard(unit, count)
            return
        what, tag = self._in_flight.pop(fields.get(HeaderFields.reply_serial, 0), ("", None))
        failed = message.header.message_type is MessageType.error
        error = str(fields.get(HeaderFields.error_name, ""))
        text = str(message.body[0]) if message.body else error
        if what == "GetNameOwner":
            self._owned_by("" if failed else message.body[0])
        elif what == "AddMatch" and failed:
            raise ConnectionError(f"the bus refuses to tell about {NAME}: {text}")
        elif tag is not None and failed:
            if error == _LIMITED:
                self._limited.add(tag)
                self._ask_again = self._ask_again or time.monotonic() + _LIMITED_PAUSE
            self._settle(tag, ABSENT if error in _NOBODY else REFUSED, text, None)
        elif tag is not None:
            self._settle(tag, TAGGED, "", message.body[0])

    def _forget_limits(self) -> None:
        self._limited.clear()
        self._ask_again = None

    def _settle(self, tag: Tag, state: str, reason: str, number: int | None) -> None:
        news = (tag.state, tag.reason) != (state, reason)
        with self._changed:
            if tag in self._tags:
                tag.state, tag.reason, tag.id = state, reason, number
            elif number is not None:
                self._to_untag.append(number)
            self._changed.notify_all()
        if state == REFUSED and news:
            log.warning("the memmon agent refused to register %r: %s", tag.label, reason)

    def _owned_by(self, owner: str) -> None:
        if not owner:
            self._lose(f"no memmon agent is running ({NAME} is not on the system bus)")
            return
        if owner == self._owner:
            return
        with self._changed:
            self._sweep()
            self._owner, self._absent = owner, ""
            self._forget_limits()
            self._to_untag.clear()
            self._in_flight = {
                serial: entry for serial, entry in self._in_flight.items() if entry[0] != "TagRegion"
            }
            # A new agent knows nothing of what was registered with the last one.
            self._todo = dict.fromkeys(self._tags)
            for tag in self._todo:
                tag.state, tag.reason, tag.id = WAITING, "", None
        if self._said_absent:
            self._said_absent = False
            log.info("a memmon agent is running: registering %d regions", len(self._todo))

    def _lose(self, reason: str) -> None:
        """Nobody is there to register with."""
        with self._changed:
            self._owner, self._absent = "", reason
            self._forget_limits()
            self._todo.clear()
            self._to_untag.clear()
            for tag in self._tags:
                tag.state, tag.reason, tag.id = ABSENT, reason, None
            self._changed.notify_all()
            said, self._said_absent = self._said_absent, True
        if not said:
            log.warning("%s: memory is locked where allowed, but its regions are not registered", reason)

    def _send_what_is_due(self) -> None:
        if not self._owner:
            return
        target = (self._owner, PATH, INTERFACE)
        while len(self._in_flight) < _IN_FLIGHT:
            with self._changed:
                self._sweep()
                # Taking back comes first: the agent's table is finite.
                number = self._to_untag.popleft() if self._to_untag else None
                tag = next(iter(self._todo), None) if number is None else None
                if number is None and tag is None:
                    return
                if tag is not None:
                    del self._todo[tag]
            if number is not None:
                self._call("UntagRegion", None, target, "t", (number,))
            elif tag is not None:
                self._call("TagRegion", tag, target, "tts", (tag.start, tag.length, tag.label))

    def _call(
        self, member: str, tag: Tag | None, to: tuple[str, str, str], signature: str, body: tuple[Any, ...]
    ) -> None:
        from jeepney import DBusAddress, MessageFlag, new_method_call  # noqa: PLC0415

        assert self._conn is not None, "within a session"
        message = new_method_call(DBusAddress(to[1], to[0], to[2]), member, signature, body)
        # The agent is started by whoever runs the host, not by its clients.
        message.header.flags |= MessageFlag.no_auto_start
        serial = next(self._conn.outgoing_serial)
        self._in_flight[serial] = (member, tag)
        self._conn.send(message, serial=serial)


def _drain(woken: socket.socket) -> None:
    try:
        while woken.recv(4096):
            pass
    except BlockingIOError:
        pass


def ask(member: str, signature: str = "", body: tuple[Any, ...] = (), timeout: float = 10.0) -> tuple[Any, ...]:
    """Calls a method of the agent and waits for the answer, on a connection of its own.

    Raises:
        AgentUnavailableError: if there is no bus, no agent or no answer in time.
        NotYoursError: if the agent says that the caller may not.
        MemmonError: if it refuses otherwise.

    """
    from jeepney import DBusAddress, MessageFlag, MessageType, new_method_call  # noqa: PLC0415
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415
    from jeepney.low_level import HeaderFields  # noqa: PLC0415

    message = new_method_call(DBusAddress(PATH, NAME, INTERFACE), member, signature or None, body)
    message.header.flags |= MessageFlag.no_auto_start
    try:
        with open_dbus_connection("SYSTEM", auth_timeout=timeout) as conn:
            reply = conn.send_and_get_reply(message, timeout=timeout)
    except (OSError, KeyError, RuntimeError) as error:
        raise AgentUnavailableError(
            f"{member}: no answer on the system bus: {error}; `systemctl status memmon dbus` shows why"
        ) from error
    if reply.header.message_type is not MessageType.error:
        return tuple(reply.body)
    name = str(reply.header.fields.get(HeaderFields.error_name, ""))
    text = str(reply.body[0]) if reply.body else name
    if name in _NOBODY:
        raise AgentUnavailableError(f"{member}: no memmon agent is running: `systemctl start memmon`")
    if name == "org.freedesktop.DBus.Error.AccessDenied":
        raise NotYoursError(f"{member}: {text}: only root may do this, for instance `memmon report --apply`")
    raise MemmonError(f"{member}: {text}")


_agent: Agent = Agent()
_pid = os.getpid()


def agent() -> Agent:
    """The one of this process."""
    if _pid != os.getpid():
        _reset()
    return _agent


def _reset() -> None:
    global _agent, _pid
    _agent.abandon()
    _agent, _pid = Agent(), os.getpid()


_fork.in_child(_reset)

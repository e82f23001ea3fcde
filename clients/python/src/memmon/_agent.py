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
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

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
_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
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


class _Sent(NamedTuple):
    """A call that has no answer yet."""

    member: str
    tag: Tag | None = None
    number: int | None = None
    """The agent's, of what is taken back."""
    owner: str = ""
    """Whose process is asked for."""

    @property
    def to_agent(self) -> bool:
        """Not to the bus."""
        return self.tag is not None or self.number is not None


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
        # The agent's numbers. They outlive the connection, as the agent may.
        self._to_untag: deque[int] = deque()
        # Those that were not taken back when it was tried, until `_ask_again`.
        self._untag_later: list[int] = []
        # Nothing is registered before the last session's are taken back: both at once may exceed a limit.
        self._clearing = False
        # Taken back, but still in the tables above.
        self._gone: deque[Tag] = deque()
        self._on_release: Callable[[str, int], None] | None = None
        self._thread: threading.Thread | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._conn: DBusConnection | None = None
        # The agent's unique name, once its process is known; and the one whose process is being asked for.
        self._owner = self._asked = ""
        # Its process, 0 if the bus does not tell: another one knows nothing of what was registered.
        self._agent_pid = 0
        self._absent = ""
        # Who connected. The agent refuses a process that has changed its user since.
        self._uid = -1
        self._in_flight: dict[int, _Sent] = {}
        self._said_absent = False

    # --- Called by the service's threads ---------------------------------------------------------------

    def add(self, tag: Tag) -> None:
        """Has the range registered as soon as that can be; does not wait for it."""
        with self._changed:
            self._sweep()
            self._tags.add(tag)
            if self._owner:
                self._todo[tag] = None
            elif self._absent:
                tag.state, tag.reason = ABSENT, self._absent
            self._wake_up()

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
            thread = threading.Thread(target=self._run, name="memmon-agent", daemon=True)
            try:
                self._wake = self._wake or waker()
                thread.start()
            except (OSError, RuntimeError) as error:
                # No more descriptors or threads, or the interpreter is ending: no reason for the service to fail.
                self._lose(f"no connection to the memmon agent: {error}")
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
                # Not select(2), which knows no descriptor above 1,023.
                poll = select.poll()
                poll.register(woken, select.POLLIN)
                poll.poll()

    def _anything_to_do(self) -> bool:
        with self._changed:
            self._sweep()
            return bool(self._tags or self._to_untag) or self._on_release is not None

    def _session(self, woken: socket.socket) -> None:
        """Serves one connection until it breaks."""
        from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415 - not before it is needed

        conn = self._conn = open_dbus_connection("SYSTEM", auth_timeout=5.0)
        self._in_flight.clear()
        self._uid = os.geteuid()
        rules = (
            f"type='signal',sender='{_BUS[0]}',interface='{_BUS[2]}',member='NameOwnerChanged',arg0='{NAME}'",
            f"type='signal',sender='{NAME}',interface='{INTERFACE}',member='ReleaseRequested'",
        )
        for rule in rules:
            self._call(_Sent("AddMatch"), _BUS, "s", (rule,))
        self._call(_Sent("GetNameOwner"), _BUS, "s", (NAME,))
        poll = select.poll()
        for file in (conn.sock, woken):
            poll.register(file, select.POLLIN)
        while True:
            self._send_what_is_due()
            pause = None if self._ask_again is None else max(self._ask_again - time.monotonic(), 0) * 1000
            ready = [number for number, _ in poll.poll(pause)]
            if self._ask_again is not None and time.monotonic() >= self._ask_again:
                with self._changed:
                    # Their state stays until there is another answer.
                    self._todo.update(dict.fromkeys(self._limited & self._tags))
                    self._forget_limits()
            if woken.fileno() in ready:
                _drain(woken)
            if conn.sock.fileno() in ready:
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
        sent = self._in_flight.pop(fields.get(HeaderFields.reply_serial, 0), _Sent(""))
        failed = message.header.message_type is MessageType.error
        error = str(fields.get(HeaderFields.error_name, ""))
        text = str(message.body[0]) if message.body else error
        if sent.to_agent:
            self._answered(sent, error if failed else None, text, None if failed else message.body)
        elif sent.member == "GetNameOwner":
            self._owned_by("" if failed else message.body[0])
        elif sent.member == "GetConnectionUnixProcessID" and sent.owner == self._asked:
            self._greet(sent.owner, 0 if failed else message.body[0])
        elif sent.member == "AddMatch" and failed:
            raise ConnectionError(f"the bus refuses to tell about {NAME}: {text}")

    def _answered(self, sent: _Sent, error: str | None, text: str, body: tuple[Any, ...] | None) -> None:
        """By the agent; ``error`` is ``None`` if it did as it was asked."""
        if error == _DENIED and os.geteuid() != self._uid:
            if sent.number is not None:
                self._to_untag.append(sent.number)
            raise ConnectionError("this process has changed its user, and connects again as the new one")
        if sent.number is not None and error in {_LIMITED, *_NOBODY}:
            # Any other error says that there is no such tag any more.
            self._untag_later.append(sent.number)
            self._ask_again = self._ask_again or time.monotonic() + _LIMITED_PAUSE
        elif sent.tag is not None and body is not None:
            self._settle(sent.tag, TAGGED, "", body[0])
        elif sent.tag is not None:
            if error == _LIMITED:
                self._limited.add(sent.tag)
                self._ask_again = self._ask_again or time.monotonic() + _LIMITED_PAUSE
            self._settle(sent.tag, ABSENT if error in _NOBODY else REFUSED, text, None)

    def _forget_limits(self) -> None:
        self._limited.clear()
        self._to_untag.extend(self._untag_later)
        self._untag_later.clear()
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
        if owner in {self._owner, self._asked}:
            return
        self._owner, self._asked = "", owner
        self._call(_Sent("GetConnectionUnixProcessID", owner=owner), _BUS, "s", (owner,))

    def _greet(self, owner: str, pid: int) -> None:
        """An agent is there, of this process."""
        with self._changed:
            self._sweep()
            self._keep_numbers()
            if pid and self._agent_pid and pid != self._agent_pid:
                # It knows nothing of what was registered with the last one.
                self._to_untag.clear()
            self._owner, self._asked, self._agent_pid, self._absent = owner, "", pid, ""
            self._clearing = bool(self._to_untag)
            self._todo = dict.fromkeys(self._tags)
            for tag in self._todo:
                tag.state, tag.reason = WAITING, ""
        if self._said_absent:
            self._said_absent = False
            log.info("a memmon agent is running: registering %d regions", len(self._todo))

    def _keep_numbers(self) -> None:
        """Has all that this process has registered taken back in the next session, in case the agent still has it.

        It keeps tags when it loses the bus. Under the lock.
        """
        self._forget_limits()
        self._to_untag.extend(sent.number for sent in self._in_flight.values() if sent.number is not None)
        self._in_flight = {serial: sent for serial, sent in self._in_flight.items() if not sent.to_agent}
        for tag in self._tags:
            if tag.id is not None:
                self._to_untag.append(tag.id)
                tag.id = None

    def _lose(self, reason: str) -> None:
        """Nobody is there to register with."""
        with self._changed:
            self._owner, self._asked, self._absent = "", "", reason
            self._todo.clear()
            self._keep_numbers()
            for tag in self._tags:
                tag.state, tag.reason = ABSENT, reason
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
                if number is None:
                    self._clearing &= any(sent.number is not None for sent in self._in_flight.values())
                tag = None if number is not None or self._clearing else next(iter(self._todo), None)
                if number is None and tag is None:
                    return
                if tag is not None:
                    del self._todo[tag]
            if number is not None:
                self._call(_Sent("UntagRegion", number=number), target, "t", (number,))
            elif tag is not None:
                self._call(_Sent("TagRegion", tag), target, "tts", (tag.start, tag.length, tag.label))

    def _call(self, sent: _Sent, to: tuple[str, str, str], signature: str, body: tuple[Any, ...]) -> None:
        from jeepney import DBusAddress, MessageFlag, new_method_call  # noqa: PLC0415

        assert self._conn is not None, "within a session"
        message = new_method_call(DBusAddress(to[1], to[0], to[2]), sent.member, signature, body)
        # The agent is started by whoever runs the host, not by its clients.
        message.header.flags |= MessageFlag.no_auto_start
        serial = next(self._conn.outgoing_serial)
        self._in_flight[serial] = sent
        self._conn.send(message, serial=serial)


def waker() -> tuple[socket.socket, socket.socket]:
    """Two ends: what is sent to the second wakes up whoever polls the first."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends


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
    from jeepney.auth import AuthenticationError  # noqa: PLC0415
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415
    from jeepney.low_level import HeaderFields  # noqa: PLC0415

    message = new_method_call(DBusAddress(PATH, NAME, INTERFACE), member, signature or None, body)
    message.header.flags |= MessageFlag.no_auto_start
    try:
        with open_dbus_connection("SYSTEM", auth_timeout=timeout) as conn:
            reply = conn.send_and_get_reply(message, timeout=timeout)
    except (OSError, KeyError, RuntimeError, AuthenticationError) as error:
        raise AgentUnavailableError(
            f"{member}: no answer on the system bus: {error}; `systemctl status memmon dbus` shows why"
        ) from error
    if reply.header.message_type is not MessageType.error:
        return tuple(reply.body)
    name = str(reply.header.fields.get(HeaderFields.error_name, ""))
    text = str(reply.body[0]) if reply.body else name
    if name in _NOBODY:
        raise AgentUnavailableError(f"{member}: no memmon agent is running: `systemctl start memmon`")
    if name == _DENIED:
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

"""An agent that only keeps books, on the bus of DBUS_SYSTEM_BUS_ADDRESS: [--refuse TEXT [--refusals NUMBER]].

As the real one, it keeps what was registered when the bus goes, and comes back with it. Writes one JSON object per
line for whatever happens; on stdin, `UNIT BYTES` has it ask for memory, and `tags` say what is registered.
"""

import json
import os
import select
import sys

from jeepney import (
    DBusAddress,
    HeaderFields,
    MessageType,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

NAME, PATH, INTERFACE = "org.omnimind.memmon1", "/org/omnimind/memmon1", "org.omnimind.memmon1.Manager"
ERROR = "org.freedesktop.DBus.Error"
REPORT = {"schema": "memmon.report/1", "system": {"situation": "high"}, "units": []}


def say(**what):
    print(json.dumps(what), flush=True)


def same_user(sender):
    """Whether a process has not changed users since it connected."""
    # A connection of its own: waiting for an answer, jeepney throws away what else comes.
    with open_dbus_connection("SYSTEM") as conn:
        (pid,) = conn.send_and_get_reply(message_bus.GetConnectionUnixProcessID(sender)).body
        (uid,) = conn.send_and_get_reply(message_bus.GetConnectionUnixUser(sender)).body
    with open(f"/proc/{pid}/status") as file:
        return f"\nUid:\t{uid}\t{uid}\t" in file.read()


class Books:
    """What outlives the bus."""

    def __init__(self):
        self.refusal = sys.argv[sys.argv.index("--refuse") + 1] if "--refuse" in sys.argv else ""
        # Calls that are refused: registrations, or with --untag those that take one back.
        self.refused = "UntagRegion" if "--untag" in sys.argv else "TagRegion"
        self.refusals = (
            int(sys.argv[sys.argv.index("--refusals") + 1]) if "--refusals" in sys.argv else sys.maxsize
        )
        self.last = 0
        self.tags = {}

    def answer(self, conn, message):
        fields = message.header.fields
        member, sender = fields[HeaderFields.member], fields[HeaderFields.sender]
        if member == self.refused and self.refusal and self.refusals:
            self.refusals -= 1
            conn.send(new_error(message, f"{ERROR}.LimitsExceeded", "s", (self.refusal,)))
        elif member in {"TagRegion", "UntagRegion"} and not same_user(sender):
            text = "its connection is another user's: connect again after changing users"
            conn.send(new_error(message, f"{ERROR}.AccessDenied", "s", (text,)))
        elif member == "TagRegion":
            self.last += 1
            start, length, label = message.body
            self.tags[self.last] = (start, length, label)
            conn.send(new_method_return(message, "t", (self.last,)))
            say(event="tag", id=self.last, start=start, length=length, label=label, sender=sender)
        elif member == "UntagRegion":
            known = self.tags.pop(message.body[0], None) is not None
            conn.send(
                new_method_return(message)
                if known
                else new_error(message, f"{ERROR}.InvalidArgs", "s", ("no such",))
            )
            say(event="untag" if known else "unknown", id=message.body[0])
        elif member == "GetReport":
            conn.send(new_method_return(message, "s", (json.dumps(REPORT),)))
        elif member == "ApplyStrategies" and not message.body[0]:
            conn.send(new_error(message, f"{ERROR}.AccessDenied", "s", ("uid 0 only",)))
        elif member == "ApplyStrategies":
            strategies = [{"action": "protect", "unit": "a.service"}, {"action": "none"}]
            conn.send(new_method_return(message, "s", (json.dumps(strategies),)))

    def serve(self, conn):
        """Until the bus goes (an error), or stdin ends (true)."""
        ready = []  # The first calls may have been read together with the answer to RequestName.
        while True:
            if sys.stdin in ready:
                commands = os.read(sys.stdin.fileno(), 4096).decode().splitlines()
                if not commands:
                    return True
                for command in commands:
                    if command == "tags":
                        say(event="tags", tags=sorted(self.tags.values()))
                        continue
                    unit, count = command.split()
                    where = DBusAddress(PATH, interface=INTERFACE)
                    conn.send(new_signal(where, "ReleaseRequested", "st", (unit, int(count))))
            while True:
                try:
                    message = conn.receive(timeout=0)
                except TimeoutError:
                    break
                if message.header.message_type is MessageType.method_call:
                    self.answer(conn, message)
            ready, _, _ = select.select([conn.sock, sys.stdin], [], [])


def main():
    books = Books()
    while True:
        try:
            conn = open_dbus_connection("SYSTEM")
            reply = conn.send_and_get_reply(message_bus.RequestName(NAME, 4))
            assert reply.body == (1,), reply.body
            say(event="ready")
            if books.serve(conn):
                return
        except (OSError, EOFError):
            ready, _, _ = select.select([sys.stdin], [], [], 0.05)
            if ready and not os.read(sys.stdin.fileno(), 4096):
                return


main()

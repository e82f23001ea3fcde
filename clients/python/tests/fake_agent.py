"""An agent that only keeps books, on the bus of DBUS_SYSTEM_BUS_ADDRESS: [--refuse TEXT [--refusals NUMBER]].

Writes one JSON object per line for whatever happens; asks for memory on `UNIT BYTES` on stdin.
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
REPORT = {"schema": "memmon.report/1", "system": {"situation": "high"}, "units": []}


def say(**what):
    print(json.dumps(what), flush=True)


def main():
    refusal = sys.argv[sys.argv.index("--refuse") + 1] if "--refuse" in sys.argv else ""
    refusals = int(sys.argv[sys.argv.index("--refusals") + 1]) if "--refusals" in sys.argv else sys.maxsize
    conn = open_dbus_connection("SYSTEM")
    reply = conn.send_and_get_reply(message_bus.RequestName(NAME, 4))
    assert reply.body == (1,), reply.body
    say(event="ready")
    last = 0
    ready = []  # The first calls may have been read together with the answer to RequestName.
    while True:
        if sys.stdin in ready:
            commands = os.read(sys.stdin.fileno(), 4096).decode().splitlines()
            if not commands:
                return
            for command in commands:
                unit, count = command.split()
                where = DBusAddress(PATH, interface=INTERFACE)
                conn.send(new_signal(where, "ReleaseRequested", "st", (unit, int(count))))
        while True:
            try:
                message = conn.receive(timeout=0)
            except TimeoutError:
                break
            fields = message.header.fields
            if message.header.message_type is not MessageType.method_call:
                continue
            member, sender = fields[HeaderFields.member], fields[HeaderFields.sender]
            if member == "TagRegion" and refusal and refusals:
                refusals -= 1
                conn.send(new_error(message, "org.freedesktop.DBus.Error.LimitsExceeded", "s", (refusal,)))
            elif member == "TagRegion":
                last += 1
                start, length, label = message.body
                conn.send(new_method_return(message, "t", (last,)))
                say(event="tag", id=last, start=start, length=length, label=label, sender=sender)
            elif member == "UntagRegion":
                conn.send(new_method_return(message))
                say(event="untag", id=message.body[0])
            elif member == "GetReport":
                conn.send(new_method_return(message, "s", (json.dumps(REPORT),)))
            elif member == "ApplyStrategies" and not message.body[0]:
                conn.send(new_error(message, "org.freedesktop.DBus.Error.AccessDenied", "s", ("uid 0 only",)))
            elif member == "ApplyStrategies":
                strategies = [{"action": "protect", "unit": "a.service"}, {"action": "none"}]
                conn.send(new_method_return(message, "s", (json.dumps(strategies),)))
        ready, _, _ = select.select([conn.sock, sys.stdin], [], [])


main()

"""The example service, in a process of its own, with an agent and with memory pressure."""

import json
import os
import socket
import sys
from pathlib import Path

from conftest import Agent, Process, wait_for

PROGRAM = Path(__file__).parent.parent / "examples" / "service.py"


def tell(path, request):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(request.encode() + b"\n")
        answer = connection.makefile().readline().strip()
    assert answer.startswith("ok"), answer
    return answer[3:]


def test_protects_registers_and_releases(bus, start, tmp_path):
    agent = start(Agent, bus)
    fifo, path = tmp_path / "pressure", tmp_path / "socket"
    os.mkfifo(fifo)
    arguments = [sys.executable, PROGRAM, "--socket", path, "--mib", "4", "--idle", "0.2"]
    process = start(Process, arguments, {**bus.env, "MEMORY_PRESSURE_WATCH": str(fifo)})
    wait_for("it listens", path.exists)

    def status():
        return json.loads(tell(path, "status"))

    def labels():
        return [guard["label"] for guard in status()["guards"]]

    assert agent.event()["label"] == "index"
    for text in range(150):
        tell(path, f"embed {text}")
    seen = status()
    assert [guard["label"] for guard in seen["guards"]].count("history") == 100
    assert seen["cached"] == 150
    # The model may have been let go while the others were looked at.
    assert all(guard["locked"] or guard["refused"] == ["released"] for guard in seen["guards"]), seen
    assert {guard["label"] for guard in seen["guards"] if guard["locked"]} >= {"index", "history"}
    wait_for("all are registered", lambda: all(guard["tagged"] for guard in status()["guards"]))
    wait_for("the model is let go", lambda: "model" not in labels())
    fifo.write_bytes(b"!")
    wait_for("the cache is given up", lambda: status()["cached"] == 0)
    assert status()["released"] == 1
    assert tell(path, "verify") == "intact"
    tell(path, "quit")
    assert process.end() == 0

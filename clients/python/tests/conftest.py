"""A bus and an agent to test against, and clients that run in processes of their own."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEADLINE = 20.0

# The tests in this process are those without a bus, whatever the machine has.
os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent/memmon-test"
for name in ("MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"):
    os.environ.pop(name, None)


def wait_for(what, probe, deadline=DEADLINE):
    """Asks until the answer is true."""
    end = time.monotonic() + deadline
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what}: not within {deadline} s"
        time.sleep(0.01)


class Process:
    """A program that speaks lines."""

    def __init__(self, arguments, env):
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **env}
        )
        self._buffer = b""

    @property
    def pid(self):
        return self._process.pid

    def tell(self, line):
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def line(self, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(end - time.monotonic(), 0))
            assert ready, f"no line within {deadline} s"
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, f"it has ended with {self._process.wait()}"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def end(self, kill=False):
        if kill:
            self._process.kill()
        self._process.stdin.close()
        try:
            return self._process.wait(DEADLINE)
        finally:
            self._process.stdout.close()


class Agent(Process):
    def __init__(self, bus, *arguments):
        super().__init__([sys.executable, HERE / "fake_agent.py", *arguments], bus.env)
        assert self.event() == {"event": "ready"}

    def event(self):
        return json.loads(self.line())


class Client(Process):
    """Runs Python expressions and statements in a process of its own, one per line."""

    LOOP = """
import json, logging, sys, memmon
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
space = {"memmon": memmon}
for line in sys.stdin:
    code = json.loads(line)
    try:
        answer = eval(code, space)
    except SyntaxError:
        answer = exec(code, space)
    print(json.dumps(answer, default=str), flush=True)
"""

    def __init__(self, bus, **env):
        super().__init__([sys.executable, "-c", self.LOOP], {**bus.env, **env})

    def run(self, code):
        self.tell(json.dumps(code))
        return json.loads(self.line())


class Bus:
    def __init__(self, directory):
        self.directory = directory
        self.address = f"unix:path={directory}/bus"
        self.env = {"DBUS_SYSTEM_BUS_ADDRESS": self.address}
        self._config = directory / "bus.conf"
        self._config.write_text(
            f"<busconfig><listen>{self.address}</listen><auth>EXTERNAL</auth><policy context='default'>"
            "<allow user='*'/><allow send_destination='*'/><allow receive_sender='*'/><allow own='*'/>"
            "</policy></busconfig>"
        )
        self.start()

    def start(self):
        Path(f"{self.directory}/bus").unlink(missing_ok=True)
        self._daemon = subprocess.Popen(
            ["dbus-daemon", "--nofork", "--print-address", f"--config-file={self._config}"],
            stdout=subprocess.PIPE,
        )
        # It prints the address once it listens.
        assert self._daemon.stdout.readline().startswith(b"unix:")

    def stop(self):
        self._daemon.kill()
        self._daemon.wait()
        self._daemon.stdout.close()


@pytest.fixture
def bus():
    with tempfile.TemporaryDirectory(prefix="memmon-bus-") as name:
        # For processes that change their user, too; pytest's own directories are for one.
        Path(name).chmod(0o755)
        bus = Bus(Path(name))
        Path(name, "bus").chmod(0o777)
        yield bus
        bus.stop()


@pytest.fixture
def start(request):
    """Starts processes that end with the test."""

    def start(kind, *arguments, **env):
        process = kind(*arguments, **env)
        request.addfinalizer(lambda: process._process.poll() is None and process.end(kill=True))
        return process

    return start

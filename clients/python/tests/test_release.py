"""Memory pressure as systemd tells of it, and the room that limits leave."""

import base64
import os
import socket
from typing import ClassVar

import pytest
from conftest import Client, wait_for

from memmon._cgroup import MIB, Cgroup, Level, limits, parse, refusal, units

WRITE = base64.b64encode(b"some 100000 1000000\0").decode()


class NoBus:
    env: ClassVar = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}


def test_a_fifo(tmp_path, start):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    client = start(Client, NoBus, MEMORY_PRESSURE_WATCH=str(path))
    client.run("asked = []")
    client.run("memmon.on_release(asked.append)")
    assert client.run("memmon.watch_pressure()") == [str(path), "$MEMORY_PRESSURE_WATCH"]
    with open(path, "wb", buffering=0) as fifo:
        fifo.write(b"!")
        assert wait_for("the callback", lambda: client.run("asked")) == [None]
    with open(path, "wb", buffering=0) as fifo:
        fifo.write(b"! " * 5000)
        assert wait_for("the second", lambda: client.run("asked[1:]")) == [None]


def test_a_socket_gets_what_is_to_be_written(tmp_path, start):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)
        client = start(Client, NoBus, MEMORY_PRESSURE_WATCH=path, MEMORY_PRESSURE_WRITE=WRITE)
        client.run("asked = []")
        client.run("memmon.forget_release(memmon.default_release)")
        client.run(
            "def bad(_): raise ValueError('a callback that fails must not stop the others')\n"
            "memmon.on_release(bad); memmon.on_release(asked.append)"
        )
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            assert connection.recv(100) == b"some 100000 1000000\0"
            connection.send(b"!")
            assert wait_for("the callback", lambda: client.run("asked")) == [None]
        # Its end is no reason to spin or to fail.
        assert client.run("memmon.release_memory(5)") is None
        assert client.run("asked") == [None, 5]


@pytest.mark.parametrize(
    ("watch", "write", "why"),
    [
        ("/dev/null", "", "switched off"),
        ("relative", "", "not an absolute path"),
        ("/proc/self/status", "?", "not Base64"),
        ("/nonexistent/file", "", "No such file"),
    ],
)
def test_what_cannot_be_watched_is_said(start, watch, write, why):
    client = start(Client, NoBus, MEMORY_PRESSURE_WATCH=watch, MEMORY_PRESSURE_WRITE=write)
    path, text = client.run("memmon.watch_pressure()")
    assert path is None
    assert why in text


def test_the_kernels_own_file(start):
    client = start(Client, NoBus)
    path, why = client.run("memmon.watch_pressure()")
    if path is None:
        pytest.skip(f"no pressure file can be opened here: {why}")
    assert path.endswith(("memory.pressure", "/proc/pressure/memory"))
    client.run("import glob, os")
    held = client.run("[os.path.realpath(file) for file in glob.glob('/proc/self/fd/*')]")
    assert path in held


def test_room_below_a_limit():
    def level(**changes):
        values = {
            "name": "memory.max of /a",
            "limit": 100 * MIB,
            "current": 95 * MIB,
            "inactive_file": 0,
            "unevictable": 0,
        }
        return Level(**{**values, **changes})

    assert refusal([], 1 << 40, 1 << 40) is None
    assert refusal([level()], 10 * MIB, 0) is None, "in RAM already and far from filling the limit"
    assert "only 5 MiB" in refusal([level()], 10 * MIB, 10 * MIB)
    assert refusal([level(inactive_file=20 * MIB)], 10 * MIB, 10 * MIB) is None, "page cache goes first"
    assert "less than 16 MiB of memory.max of /a" in refusal([level(unevictable=80 * MIB)], 10 * MIB, 0)
    assert refusal([level(), level(name="outer", unevictable=90 * MIB)], MIB, 0).count("outer") == 1
    small = level(limit=8 * MIB, current=MIB)
    assert refusal([small], 3 * MIB, 3 * MIB) is None
    assert "less than 4 MiB" in refusal([small], 5 * MIB, 0), "half of a small limit stays free"
    assert "only 0 B" in refusal([level(current=120 * MIB)], MIB, MIB)


def write_tree(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_limits_of_all_ancestors(tmp_path):
    write_tree(
        tmp_path,
        {
            "a.slice/memory.max": f"{300 * MIB}\n",
            "a.slice/memory.high": "max\n",
            "a.slice/memory.current": f"{250 * MIB}\n",
            "a.slice/memory.stat": f"anon 1\ninactive_file {7 * MIB}\nunevictable {3 * MIB}\n",
            "a.slice/b.service/memory.max": "max\n",
            "a.slice/b.service/memory.high": f"{200 * MIB}\n",
            "a.slice/b.service/memory.current": f"{100 * MIB}\n",
        },
    )
    cgroup = Cgroup(str(tmp_path), "/a.slice/b.service", v2=True)
    assert limits(cgroup, MIB) == [], "all of it fits, nothing more needs to be read"
    assert limits(cgroup, 60 * MIB) == [Level("memory.max of /a.slice", 300 * MIB, 250 * MIB, 7 * MIB, 3 * MIB)]
    assert [level.name for level in limits(cgroup, 99 * MIB)] == [
        "memory.high of /a.slice/b.service",
        "memory.max of /a.slice",
    ]


def test_limits_of_cgroup_v1(tmp_path):
    write_tree(
        tmp_path,
        {
            "memory.limit_in_bytes": "9223372036854771712\n",
            "a/memory.limit_in_bytes": f"{20 * MIB}\n",
            "a/memory.usage_in_bytes": f"{19 * MIB}\n",
            "a/memory.stat": f"inactive_file 1\ntotal_inactive_file {2 * MIB}\ntotal_unevictable 4096\n",
        },
    )
    assert limits(Cgroup(str(tmp_path), "/a", v2=False), MIB) == [
        Level("memory.limit_in_bytes of /a", 20 * MIB, 19 * MIB, 2 * MIB, 4096)
    ]


V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "36 32 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
CPU = "35 32 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
CONTAINER = "30 23 0:26 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("cgroups", "mounts", "expected"),
    [
        ("0::/a.slice/b.service\n", V2, Cgroup("/sys/fs/cgroup", "/a.slice/b.service", v2=True)),
        (
            "9:name=systemd:/x\n4:memory:/m\n0::/x\n",
            CPU + V1 + V2,
            Cgroup("/sys/fs/cgroup/memory", "/m", v2=False),
        ),
        ("0::/docker/1/sub\n", CONTAINER, Cgroup("/sys/fs/cgroup", "/sub", v2=True)),
        ("0::/docker/1\n", CONTAINER, Cgroup("/sys/fs/cgroup", "/", v2=True)),
        ("0::/docker/12\n", CONTAINER, None),
        ("0::/../other\n", V2, None),
        ("", V2, None),
        ("0::/\n", "", None),
    ],
)
def test_finds_its_cgroup(cgroups, mounts, expected):
    assert parse(cgroups, mounts) == expected


def test_units_of_this_process():
    with open("/proc/self/cgroup") as file:
        text = file.read()
    for unit in units():
        assert unit in text

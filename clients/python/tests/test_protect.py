"""Real locks in this process, without an agent."""

import ctypes
import gc
import mmap
import os
import resource
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import wait_for

import memmon
from memmon import _mm

PAGE = _mm.PAGE


@pytest.fixture(autouse=True)
def nothing_stays_locked():
    gc.collect()
    assert memmon.protected_bytes() == 0
    before = _mm.locked_bytes()
    yield
    gc.collect()
    assert memmon.protected_bytes() == 0
    assert _mm.locked_bytes() == before, "VmLck must come back to what it was"


def locked_pages(address, pages):
    """What the kernel says: for each page, whether it lies in a locked mapping (smaps, VmFlags `lo`)."""
    result = [False] * pages
    start = end = 0
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            first = line.split()[0]
            if "-" in first and not first.endswith(":"):
                start, end = (int(part, 16) for part in first.split("-"))
            elif first == "VmFlags:" and "lo" in line.split()[1:]:
                for page in range(pages):
                    result[page] |= start <= address + page * PAGE < end
    return result


def test_locks_brings_in_and_undoes():
    with mmap.mmap(-1, 64 * PAGE) as mapping:
        address = memmon._buffers.pieces(mapping)[0].place[0]
        pages = memmon._mm.PageRange(address, address + 64 * PAGE)
        assert _mm.resident(pages) == 0, "never touched"
        with memmon.protect(mapping, "mapping") as guard:
            status = guard.status()
            assert (status.locked, status.pages, status.resident_pages) == (True, 64, 64)
            assert locked_pages(address, 64) == [True] * 64
            assert guard.ranges == [pages]
        assert locked_pages(address, 64) == [False] * 64
        assert guard.status().refused == ("released",)
        assert guard.locked is False
        guard.release()


def test_pages_of_neighbours_stay_locked_until_the_last_goes():
    """Embeddings of 1.5 KiB: a page holds parts of three or four."""
    with mmap.mmap(-1, 16 * PAGE) as mapping:
        address = memmon._buffers.pieces(mapping)[0].place[0]
        view = memoryview(mapping)
        guards = [memmon.protect(view[i * 1536 : (i + 1) * 1536], f"e{i}") for i in range(40)]
        covered = -(-40 * 1536 // PAGE)
        assert locked_pages(address, 16) == [page < covered for page in range(16)]
        for i in (1, 0, 2):
            guards[i].release()
        # The first page that still holds a part of a protected one.
        first_held = 3 * 1536 // PAGE
        assert locked_pages(address, 16) == [first_held <= page < covered for page in range(16)]
        for guard in guards:
            guard.release()
        assert not any(locked_pages(address, 16))
        view.release()


def test_is_undone_by_an_exception():
    buffer = bytearray(10 * PAGE)
    with pytest.raises(ZeroDivisionError), memmon.protect(buffer, "a"):
        assert memmon.protected_bytes() >= 10 * PAGE
        raise ZeroDivisionError
    assert memmon.protected_bytes() == 0


def test_memory_unmapped_under_the_guard():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    )
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    address = libc.mmap(None, 4 * PAGE, 3, 0x22, -1, 0)
    guard = memmon.protect(memmon.Region(address, 4 * PAGE), "raw")
    assert guard.locked
    libc.munmap(address, 4 * PAGE)
    assert guard.locked is False
    assert "not in RAM" in guard.refused[0]
    guard.release()
    again = memmon.protect(memmon.Region(address, 4 * PAGE), "raw")
    assert "not mapped" in again.refused[0]
    assert memmon.protected_bytes() == 0
    again.release()


def test_shared_memory_is_said_to_be_unseen_by_the_agent():
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 4 * PAGE) as shared, mmap.mmap(-1, 4 * PAGE, flags=private) as own:
        with memmon.protect([shared, own], "both") as guard:
            assert guard.locked, "it is locked all the same"
            [why] = [why for why in guard.refused if "shared" in why]
            assert why.startswith("not seen by the agent: 4 of 8 pages are shared memory (/dev/zero)")
        with memmon.protect(own, "own") as guard:
            assert not [why for why in guard.refused if "shared" in why]
    file = os.memfd_create("weights")
    os.ftruncate(file, 4 * PAGE)
    with mmap.mmap(file, 4 * PAGE) as mapping, memmon.protect(memoryview(mapping)[: PAGE + 1], "memfd") as guard:
        assert [why for why in guard.refused if "2 of 2 pages are shared memory (/memfd:weights)" in why]
    os.close(file)


def test_shared_memory_among_the_mappings():
    text = (
        "1000-3000 rw-p 00000000 00:00 0 \n"
        "3000-5000 rw-s 00000000 00:01 7  /dev/zero (deleted)\n"
        "5000-6000 rw-s 00000000 00:19 8  /dev/shm/a b\n"
        "6000-7000 r--s 00000000 08:01 9  /var/lib/weights\n"
        "7000-8000 rw-p 00000000 00:01 7  /memfd:x (deleted)\n"
        "8000-9000 rw-s 00000000 00:01 7  /SYSV00000000 (deleted)\n"
        "9000-a000 rw-s 00000000 00:01 7  /memfd:y (deleted)\n"
    )
    one = _mm.shared([_mm.PageRange(0x2000, 0x4000), _mm.PageRange(0x5000, 0x8000)], text)
    assert one == (0x2000, {"/dev/zero", "/dev/shm/a b"})
    assert _mm.shared([_mm.PageRange(0x7000, 0xA000)], text) == (0x2000, {"/SYSV00000000", "/memfd:y"})
    assert _mm.shared([_mm.PageRange(0x1000, 0x3000)], text) == (0, set())


def test_unlocked_and_paged_out_by_somebody_else_is_not_called_locked():
    with mmap.mmap(-1, 4 * PAGE) as mapping, memmon.protect(mapping, "a") as guard:
        assert guard.locked
        [pages] = guard.ranges
        _mm.munlock(pages)
        mapping.madvise(mmap.MADV_DONTNEED)
        status = guard.status()
        assert (status.locked, status.resident_pages) == (False, 0)
        assert "4 of 4 pages are not in RAM" in status.refused[0]


def test_says_once_that_there_is_no_agent(caplog):
    code = (
        "import logging, memmon, sys, time\n"
        "logging.basicConfig(level=logging.INFO, format='%(levelname)s %(message)s', stream=sys.stdout)\n"
        "guards = [memmon.protect(bytearray(5000), 'a') for _ in range(50)]\n"
        "print(guards[0].wait_tagged(10), all(g.locked for g in guards))\n"
        "guards += [memmon.protect(bytearray(5000), 'b') for _ in range(50)]\n"
        "print(guards[-1].wait_tagged(10), guards[-1].refused)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.count("no connection to the system bus") == 2, said
    assert said.count("WARNING") == 1, said
    assert "False True" in said


OUT_OF_DESCRIPTORS = """
import logging, os, resource, sys, time, memmon
from memmon import _mm
logging.basicConfig(stream=sys.stderr)
memmon.protect(bytearray(100), "before").release() if {warm} else None
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
taken = []
try:
    while True: taken.append(os.dup(0))
except OSError: pass
buffer = bytearray(50 * 4096)
guard = memmon.protect(buffer, "a")
while not guard.refused: time.sleep(0.01)
asked = []
memmon.on_release(asked.append)
first = memmon.watch_pressure()
for number in taken: os.close(number)
assert guard.locked, guard.status()
print(guard.refused)
guard.release()
buffer.extend(b"x")
assert memmon.protected_bytes() == _mm.locked_bytes() == 0
print(first.path, first.why)
os.environ["MEMORY_PRESSURE_WATCH"] = "/dev/null"
print(memmon.watch_pressure().why)
with memmon.protect(buffer, "b") as guard:
    while not guard.refused or "Too many open files" in guard.refused[0]: time.sleep(0.01)
    print(guard.refused[0])
"""


@pytest.mark.parametrize("warm", [False, True])
def test_without_descriptors_nothing_fails_or_leaks(warm):
    code = OUT_OF_DESCRIPTORS.format(warm=warm)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    without, pressure, again, later = run.stdout.splitlines()
    assert "not tagged: no connection to the" in without
    assert pressure.startswith("None")
    assert "Too many open files" in pressure
    assert "switched off" in again, "it is tried again"
    assert "no connection to the system bus" in later


def test_an_interrupt_while_locking_leaves_nothing_locked(monkeypatch):
    buffer, real = bytearray(64 * PAGE), _mm.mlock

    def interrupted(pages):
        real(pages)
        raise KeyboardInterrupt

    monkeypatch.setattr(_mm, "mlock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        memmon.protect(buffer, "a")
    monkeypatch.undo()
    assert memmon.protected_bytes() == 0
    buffer.extend(b"nobody keeps it from growing")


def test_an_error_while_registering_leaves_nothing_locked(monkeypatch):
    buffer, agent = bytearray(64 * PAGE), memmon._agent.agent()
    monkeypatch.setattr(agent, "_wake_up", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        memmon.protect(buffer, "a")
    monkeypatch.undo()
    assert memmon.protected_bytes() == 0
    agent._sweep()
    assert not agent._tags
    buffer.extend(b"nobody keeps it from growing")


@pytest.mark.skipif(os.getuid() != 0, reason="gives up CAP_IPC_LOCK, which only root has")
def test_the_limit_on_locked_memory_is_named():
    """As an ordinary service: another uid, without CAP_IPC_LOCK."""
    code = (
        "import os, resource, memmon\n"
        f"resource.setrlimit(resource.RLIMIT_MEMLOCK, ({20 * PAGE}, {20 * PAGE}))\n"
        "os.setuid(65534)\n"
        f"small = memmon.protect(bytearray({10 * PAGE - 100}), 'small')\n"
        f"large = memmon.protect(bytearray({30 * PAGE}), 'large')\n"
        "print(small.locked, large.locked, memmon.protected_bytes(), memmon._mm.locked_bytes())\n"
        "print(large.refused[0])\n"
        "small.release()\n"
        f"print(memmon.protect(bytearray({15 * PAGE}), 'fits now').locked)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, third = run.stdout.splitlines()
    small, large, ours, kernels = first.split()
    assert (small, large) == ("True", "False")
    assert ours == kernels, "what was refused left nothing behind"
    assert "exceeds RLIMIT_MEMLOCK (80 KiB): set LimitMEMLOCK=" in second
    assert third == "True"


def test_threads():
    buffer, errors = bytearray(200 * PAGE), []
    view = memoryview(buffer)

    def work(seed):
        try:
            for i in range(300):
                start = (seed * 7919 + i * 104729) % (150 * PAGE)
                with memmon.protect(view[start : start + 5000], f"t{seed}") as guard:
                    assert guard.locked
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    view.release()


def test_the_collector_may_come_at_any_moment():
    """Guards that die within a change of the page table, on the thread that makes it."""
    gc.collect()
    old = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for i in range(300):
            cycle = [memmon.protect(bytearray(3000 + i), "a")]
            cycle.append(cycle)
    finally:
        gc.set_threshold(*old)
    del cycle
    gc.collect()
    assert memmon.protected_bytes() == 0


def test_a_fork_while_threads_lock():
    """The child must find no lock held by a thread that it does not have."""
    stop = threading.Event()

    def work():
        while not stop.is_set():
            with memmon.protect(bytearray(100 * PAGE), "a"):
                pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(30):
            child = os.fork()
            if child == 0:
                good = False
                try:
                    with memmon.protect(bytearray(PAGE), "child") as guard:
                        good = guard.locked
                finally:
                    os._exit(0 if good else 1)
            end = time.monotonic() + 20
            while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
                if time.monotonic() > end:
                    os.kill(child, 9)
                    os.waitpid(child, 0)
                    pytest.fail("the child hangs")
                time.sleep(0.001)
            assert done[1] == 0
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("label", ["", "x" * 65, "a\nb", "\0"])
def test_labels(label):
    with pytest.raises(ValueError, match="label"):
        memmon.protect(b"abc", label)


def test_advise_cold_spares_what_is_protected():
    with mmap.mmap(-1, 8 * PAGE) as mapping:
        view = memoryview(mapping)
        assert memmon.advise_cold(mapping) == 8 * PAGE
        assert memmon.advise_cold(view[1 : 3 * PAGE]) == 2 * PAGE
        assert memmon.advise_cold(view[1 : PAGE + 1]) == 0
        view[:] = bytes(range(256)) * (8 * PAGE // 256)
        with memmon.protect(view[2 * PAGE + 5 : 4 * PAGE + 5], "middle") as guard:
            assert memmon.advise_cold(mapping) == 5 * PAGE
            assert memmon.advise_cold(mapping, pageout=True) == 5 * PAGE
            assert guard.locked
        assert bytes(view) == bytes(range(256)) * (8 * PAGE // 256), "no byte is lost"
        view.release()


def test_history_keeps_the_last():
    with memmon.History(n=10, label="cycles", cold=True) as history:
        for i in range(35):
            guard = history.push(bytearray(2 * PAGE), f"cycle {i}")
            assert guard.locked
            assert len(history) == min(i + 1, 10)
        assert [guard.label for guard in history.guards()] == [f"cycle {i}" for i in range(25, 35)]
        assert all(guard.locked for guard in history.guards())
        assert memmon.protected_bytes() <= 30 * PAGE
    assert len(history) == 0
    with pytest.raises(ValueError, match="at least 1"):
        memmon.History(n=0)


def test_a_model_is_locked_while_in_use_and_a_while_longer():
    weights = bytearray(64 * PAGE)
    model = memmon.ModelInUse([weights, b"vocabulary"], "model", idle=0.2)
    assert model.guard is None
    with model as outer:
        assert outer.locked
        with model as inner:
            assert inner is outer
        time.sleep(0.4)
        assert model.guard is outer, "in use, however long"
        assert outer.locked
    assert model.guard is outer, "not idle for long enough"
    with model as again:
        assert again is outer
    begin = time.monotonic()
    wait_for("it is let go", lambda: model.guard is None)
    assert time.monotonic() - begin > 0.1
    assert outer.released
    assert memmon.protected_bytes() == 0
    with model as new:
        assert new is not outer
        assert new.locked
    model.release()
    assert new.released


def test_without_threads_a_model_stays_protected_until_there_is_one():
    code = (
        "import logging, memmon, sys, threading, time\n"
        "logging.basicConfig(format='%(message)s', stream=sys.stdout)\n"
        "real = threading.Thread.start\n"
        'def no_more(thread): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = no_more\n"
        "model = memmon.ModelInUse(bytearray(4096), 'model', idle=0.01)\n"
        "for _ in range(3):\n"
        " with model: pass\n"
        "assert model.guard.locked\n"
        "print(memmon.watch_pressure())\n"
        "threading.Thread.start = real\n"
        "print(memmon.watch_pressure() == memmon.watch_pressure())\n"
        "with model: pass\n"
        "while model.guard is not None: time.sleep(0.01)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("models stay protected: no thread to let them go: can't start new thread") == 1
    assert 'PressureSource(path=None, why="can\'t start new thread")' in run.stdout
    assert run.stdout.endswith("True\n"), run.stdout


def test_many_models_share_one_thread():
    models = [memmon.ModelInUse(bytearray(PAGE), f"m{i}", idle=0.05 + 0.01 * i) for i in range(10)]

    def use(model):
        for _ in range(50):
            with model:
                time.sleep(0.0005)

    threads = [threading.Thread(target=use, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for("all are let go", lambda: all(model.guard is None for model in models))
    assert [thread.name for thread in threading.enumerate()].count("memmon-idle") == 1


def test_a_report_that_does_not_come(tmp_path, monkeypatch):
    program = tmp_path / "memmon"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(memmon._old_api, "_REPORT_TIMEOUT", 0.2)
    with pytest.raises(memmon.AgentUnavailableError, match=r"memmon report: .*timed out"):
        memmon.get_memory_report()
    program.write_text("not a program at all")
    with pytest.raises(memmon.AgentUnavailableError, match="memmon report: "):
        memmon.get_memory_report()


def test_a_bus_that_knows_nobody(tmp_path, monkeypatch):
    """As the system bus of another container may: it refuses to say who this is."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "bus"))
        listener.listen()

        def refuse():
            connection, _ = listener.accept()
            with connection:
                while b"\n" not in connection.recv(4096):
                    pass
                connection.sendall(b"REJECTED\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus")
        with pytest.raises(memmon.AgentUnavailableError, match="no answer on the system bus"):
            memmon.apply_strategy(dry_run=True)
        thread.join()


def test_the_old_functions():
    with pytest.raises(memmon.NotYoursError, match=r"lets no process lock another's memory.*memmon\.toml"):
        memmon.protect_memory_from_swap(1, 5)
    assert issubclass(memmon.NotYoursError, PermissionError)
    with pytest.raises(ValueError, match="more than 0"):
        memmon.protect_memory_from_swap(os.getpid(), 0)
    guard = memmon.protect_memory_from_swap(os.getpid(), 3)
    assert guard.locked, guard.status()
    assert memmon.get_critical_memory_size_mb() == pytest.approx(3, abs=0.1)
    guard.release()
    assert memmon.get_critical_memory_size_mb() == 0
    for _ in range(5):
        memmon.protect_memory_from_swap(mb=1).release()
    kept = memmon.protect_memory_from_swap(mb=1)
    assert memmon._old_api._kept == [kept], "what was released is not kept"
    kept.release()
    with pytest.raises(memmon.AgentUnavailableError):
        memmon.get_memory_report()
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert _mm.lock_limit() == (None if soft == resource.RLIM_INFINITY else soft)

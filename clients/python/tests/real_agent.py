"""Against the agent of this host, as root: `python3 real_agent.py`. For a virtual machine: it needs no pytest.

What an agent that only keeps books cannot show: its limits, whose memory is whose, and who is refused.
"""

import mmap
import os
import sys
import time

import memmon

PAGE = mmap.PAGESIZE
DEADLINE = 60.0


def wait_for(what, probe):
    end = time.monotonic() + DEADLINE
    while not probe():
        assert time.monotonic() < end, f"{what}: not within {DEADLINE} s"
        time.sleep(0.05)


def known(pid=None):
    """Label and pages of what the agent has of a process."""
    regions = memmon.get_memory_report()["regions"]
    return sorted((one["label"], one["pages"]) for one in regions if one["pid"] == (pid or os.getpid()))


def private(pages):
    return mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def in_child(work):
    """Runs it in a forked child, which must end well."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"in the child: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return child


def registers_and_takes_back():
    with private(7) as buffer:
        with memmon.protect(buffer, "seven") as guard:
            assert guard.wait_tagged(DEADLINE), guard.status()
            status = guard.status()
            assert (status.locked, status.tagged, status.refused) == (True, True, ()), status
            assert known() == [("seven", 7)], known()
            inner = memmon.protect(memoryview(buffer)[PAGE : 3 * PAGE], "inner")
            assert inner.wait_tagged(DEADLINE)
            assert known() == [("seven", 7)], "a page under two tags belongs to the older one"
        wait_for("the inner one is left", lambda: known() == [("inner", 2)])
        inner.release()
    wait_for("nothing is left", lambda: known() == [])


def a_child_has_its_own():
    buffer = private(3)
    guard = memmon.protect(buffer, "parent")
    assert guard.wait_tagged(DEADLINE)

    def child():
        assert known() == []
        guard.release()
        own = memmon.protect(buffer, "child")
        assert own.wait_tagged(DEADLINE), own.status()
        assert known() == [("child", 3)]
        assert known(os.getppid()) == [("parent", 3)]

    pid = in_child(child)
    wait_for("the child's is gone", lambda: known(pid) == [])
    assert known() == [("parent", 3)]
    guard.release()
    wait_for("nothing is left", lambda: known() == [])


def a_limit_is_said_and_waited_for():
    """1,024 separate ranges are the most of a process."""
    with private(2200) as mapping:
        view = memoryview(mapping)
        parts = [view[page * PAGE : (page + 1) * PAGE] for page in range(0, 2200, 2)]
        guards = [memmon.protect(part, "sparse") for part in parts]
        refused = [guard for guard in guards if not guard.wait_tagged(DEADLINE)]
        assert len(refused) == 1100 - 1024, len(refused)
        [why] = {why for guard in refused for why in guard.refused}
        assert "1024 is the limit" in why, why
        assert all(guard.locked for guard in guards)
        for guard in guards[:100]:
            guard.release()
        # The client asks again by itself.
        wait_for("the refused ones are registered", lambda: all(guard.tagged for guard in refused))
        for guard in guards:
            guard.release()
        wait_for("nothing is left", lambda: known() == [])
        for part in parts:
            part.release()
        view.release()


def root_is_given_up():
    def child():
        first = memmon.protect(private(2), "as root")
        assert first.wait_tagged(DEADLINE)
        os.setgid(65534)
        os.setuid(65534)
        second = memmon.protect(private(2), "as nobody")
        wait_for("both are registered", lambda: first.tagged and second.tagged)
        assert known() == [("as nobody", 2), ("as root", 2)], known()
        try:
            memmon.apply_strategy()
        except memmon.NotYoursError:
            pass
        else:
            raise AssertionError("nobody may apply strategies")

    in_child(child)


def the_old_functions():
    assert memmon.analyze_memory_situation() in {"normal", "high", "critical"}
    assert isinstance(memmon.apply_strategy(dry_run=True), list)


CHECKS = (
    registers_and_takes_back,
    a_child_has_its_own,
    a_limit_is_said_and_waited_for,
    root_is_given_up,
    the_old_functions,
)

if __name__ == "__main__":
    for check in CHECKS:
        check()
        print(check.__name__, flush=True)

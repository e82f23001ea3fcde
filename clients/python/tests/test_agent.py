"""Against an agent on a bus of its own."""

import os
import signal

import pytest
from conftest import Agent, Client, wait_for

PAGE = os.sysconf("SC_PAGESIZE")


def test_a_tag_arrives_and_is_taken_back(bus, start):
    agent, client = start(Agent, bus), start(Client, bus)
    client.run("buffer = bytearray(3 * 4096)")
    client.run("guard = memmon.protect(buffer, 'embeddings')")
    assert client.run("guard.wait_tagged(10)") is True
    tag = agent.event()
    [(begin, end)] = client.run("guard.ranges")
    assert (tag["event"], tag["label"]) == ("tag", "embeddings")
    assert (tag["start"], tag["length"]) == (begin, end - begin)
    assert tag["length"] >= 3 * PAGE
    status = client.run("vars(guard.status())")
    assert (status["locked"], status["tagged"], status["refused"]) == (True, True, [])
    client.run("guard.release()")
    assert agent.event() == {"event": "untag", "id": tag["id"]}


def test_tags_are_undone_by_exceptions_and_by_the_collector(bus, start):
    agent, client = start(Agent, bus), start(Client, bus)
    client.run(
        "try:\n with memmon.protect(b'x' * 5000, 'a') as guard:\n  guard.wait_tagged(10)\n  1 / 0\n"
        "except ZeroDivisionError: pass"
    )
    number = agent.event()["id"]
    assert agent.event() == {"event": "untag", "id": number}
    client.run("guard = memmon.protect(b'x' * 5000, 'b')")
    assert client.run("guard.wait_tagged(10)") is True
    number = agent.event()["id"]
    client.run("del guard")
    assert agent.event() == {"event": "untag", "id": number}
    assert client.run("memmon.protected_bytes()") == 0


def test_registers_again_after_the_agent_was_killed(bus, start):
    first, client = start(Agent, bus), start(Client, bus)
    client.run("buffers = [bytearray(4096 * 3) for _ in range(20)]")
    client.run("guards = [memmon.protect(b, f'b{i}') for i, b in enumerate(buffers)]")
    assert client.run("all([g.wait_tagged(10) for g in guards])") is True
    before = {(e["start"], e["length"], e["label"]) for e in (first.event() for _ in range(20))}
    first.end(kill=True)
    wait_for("the loss is noticed", lambda: client.run("not any(g.tagged for g in guards)"))
    assert "no memmon agent is running" in client.run("guards[0].refused")[0]
    assert client.run("all(g.locked for g in guards)") is True, "locks do not depend on the agent"
    client.run("guards.pop().release()")
    second = start(Agent, bus)
    again = [second.event() for _ in range(19)]
    assert {event["event"] for event in again} == {"tag"}, "the numbers of another agent are not this one's"
    assert {(e["start"], e["length"], e["label"]) for e in again} < before
    wait_for("all are registered", lambda: client.run("all(g.tagged for g in guards)"))
    client.run("guards[0].release()")
    assert second.event()["event"] == "untag"


def registered(agent):
    agent.tell("tags")
    event = agent.event()
    assert event["event"] == "tags", event
    return [(start, length, label) for start, length, label in event["tags"]]


def test_no_tag_is_doubled_or_left_when_the_bus_is_killed(bus, start):
    agent, client = start(Agent, bus), start(Client, bus)
    client.run("guards = [memmon.protect(bytearray(9000), f'b{i}') for i in range(12)]")
    assert client.run("all([g.wait_tagged(10) for g in guards])") is True
    old = {agent.event()["id"] for _ in range(12)}
    bus.stop()
    wait_for("the loss is noticed", lambda: client.run("not any(g.tagged for g in guards)"))
    assert client.run("all(g.locked for g in guards)") is True
    client.run("guards.pop().release()")
    bus.start()
    assert agent.event()["event"] == "ready"
    taken_back = [agent.event() for _ in range(12)]
    assert {event["event"] for event in taken_back} == {"untag"}, "before anything is registered"
    assert {event["id"] for event in taken_back} == old
    again = [agent.event() for _ in range(11)]
    assert sorted(event["label"] for event in again) == sorted(f"b{i}" for i in range(11))
    assert client.run("all([g.wait_tagged(10) for g in guards])") is True
    assert len(registered(agent)) == 11
    client.run("for guard in guards: guard.release()")
    assert {agent.event()["event"] for _ in range(11)} == {"untag"}
    assert registered(agent) == []


def test_no_tag_is_doubled_when_only_the_connection_breaks(bus, start):
    agent, client = start(Agent, bus), start(Client, bus)
    client.run("guards = [memmon.protect(bytearray(9000), f'b{i}') for i in range(5)]")
    assert client.run("all([g.wait_tagged(10) for g in guards])") is True
    senders = {agent.event()["sender"] for _ in range(5)}
    client.run("import socket; memmon._agent.agent()._conn.sock.shutdown(socket.SHUT_RDWR)")
    assert [agent.event()["event"] for _ in range(5)] == ["untag"] * 5
    again = [agent.event() for _ in range(5)]
    assert {event["event"] for event in again} == {"tag"}
    assert not {event["sender"] for event in again} & senders, "a new connection"
    assert client.run("all([g.wait_tagged(10) for g in guards])") is True
    assert len(registered(agent)) == 5


def test_taking_back_is_tried_again_after_a_refusal(bus, start):
    agent = start(Agent, bus, "--refuse", "16 calls of user 0 are in progress", "--refusals", "2", "--untag")
    client = start(Client, bus)
    client.run("memmon._agent._LIMITED_PAUSE = 0.5")
    client.run("guards = [memmon.protect(bytearray(9000), 'a') for _ in range(3)]")
    assert client.run("all([g.wait_tagged(10) for g in guards])") is True
    assert {agent.event()["event"] for _ in range(3)} == {"tag"}
    client.run("for guard in guards: guard.release()")
    assert [agent.event()["event"] for _ in range(3)] == ["untag"] * 3
    assert registered(agent) == []


def test_an_agent_that_comes_later_is_told(bus, start):
    client = start(Client, bus)
    client.run("guard = memmon.protect(bytearray(9000), 'a')")
    assert client.run("guard.wait_tagged(10)") is False
    assert "no memmon agent is running" in client.run("guard.refused")[0]
    agent = start(Agent, bus)
    assert agent.event()["label"] == "a"
    wait_for("it is registered", lambda: client.run("guard.tagged"))


def test_a_service_with_thousands_of_descriptors(bus, start):
    agent, client = start(Agent, bus), start(Client, bus)
    client.run("import os, resource; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]")
    client.run("resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))")
    if client.run("hard") < 1500:
        pytest.skip("no process may open as many here")
    # select(2) knows none above 1,023.
    client.run("taken = [os.dup(0) for _ in range(1100)]")
    client.run("guard = memmon.protect(bytearray(9000), 'a')")
    assert client.run("guard.wait_tagged(10)") is True
    assert agent.event()["label"] == "a"


@pytest.mark.skipif(os.getuid() != 0, reason="changes its user, which only root may")
def test_a_service_that_gives_up_root_connects_again(bus, start):
    agent, client = start(Agent, bus), start(Client, bus)
    client.run("first = memmon.protect(bytearray(9000), 'as root')")
    assert client.run("first.wait_tagged(10)") is True
    of_root = agent.event()
    client.run("import os; os.setuid(65534)")
    client.run("second = memmon.protect(bytearray(9000), 'as nobody')")
    assert agent.event() == {"event": "untag", "id": of_root["id"]}
    again = [agent.event() for _ in range(2)]
    assert sorted(event["label"] for event in again) == ["as nobody", "as root"]
    assert of_root["sender"] not in {event["sender"] for event in again}
    assert client.run("second.wait_tagged(10) and first.wait_tagged(10)") is True


def test_a_refusal_is_said_and_keeps_the_lock(bus, start):
    start(Agent, bus, "--refuse", "1024 regions are the most")
    client = start(Client, bus)
    client.run("guard = memmon.protect(bytearray(9000), 'a')")
    assert client.run("guard.wait_tagged(10)") is False
    status = client.run("vars(guard.status())")
    assert (status["locked"], status["tagged"]) == (True, False)
    assert status["refused"] == ["not tagged: 1024 regions are the most"]


def test_a_stopped_agent_does_not_stop_the_service(bus, start):
    agent, client = start(Agent, bus), start(Client, bus)
    client.run("memmon.protect(bytearray(9000), 'a').wait_tagged(10)")
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        client.run(
            "import time; begin = time.monotonic()\n"
            "for i in range(500): memmon.protect(bytearray(9000), 'a').release()\n"
            "took = time.monotonic() - begin"
        )
        assert client.run("took") < 5
        client.run("guard = memmon.protect(bytearray(9000), 'last')")
        assert client.run("guard.wait_tagged(0.2)") is False
        assert client.run("guard.refused") == [], "not answered yet is not refused"
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    assert client.run("guard.wait_tagged(10)") is True
    live = set()
    while True:
        event = agent.event()
        live.add(event["id"]) if event["event"] == "tag" else live.discard(event["id"])
        if event.get("label") == "last":
            last = event["id"]
            break
    # What was taken back before the stopped agent could answer is taken back once it has.
    while live != {last}:
        event = agent.event()
        live.discard(event["id"])


def test_a_forked_child_starts_with_nothing_and_can_have_its_own(bus, start):
    agent, client = start(Agent, bus), start(Client, bus)
    client.run("buffer = bytearray(9000)")
    client.run("guard = memmon.protect(buffer, 'parent')")
    assert client.run("guard.wait_tagged(10)") is True
    parent = agent.event()
    client.run(
        """
import os, json
r, w = os.pipe()
child = os.fork()
if child == 0:
    said = {}
    try:
        said["inherited"] = vars(guard.status())
        said["bytes"] = memmon.protected_bytes()
        guard.release()
        own = memmon.protect(buffer, "child")
        own.wait_tagged(10)
        said["own"] = vars(own.status())
    except BaseException as error:
        said["error"] = repr(error)
    os.write(w, json.dumps(said, default=str).encode())
    os._exit(0)
os.close(w)
said = b""
while chunk := os.read(r, 65536): said += chunk
os.close(r)
assert os.waitpid(child, 0)[1] == 0
said = json.loads(said)
"""
    )
    said = client.run("said")
    assert "error" not in said, said
    assert (said["inherited"]["locked"], said["inherited"]["tagged"]) == (False, False)
    assert "forked" in said["inherited"]["refused"][0]
    assert said["bytes"] == 0
    assert (said["own"]["locked"], said["own"]["tagged"]) == (True, True), said["own"]
    of_child = agent.event()
    assert of_child["label"] == "child"
    assert of_child["sender"] != parent["sender"], "the child must not speak on its parent's connection"
    assert client.run("guard.status().tagged and guard.status().locked") is True
    client.run("guard.release()")
    assert agent.event() == {"event": "untag", "id": parent["id"]}


def test_a_release_request_for_the_own_unit_runs_the_callbacks(bus, start):
    agent, client = start(Agent, bus), start(Client, bus, MEMORY_PRESSURE_WATCH="/dev/null")
    units = client.run("memmon._cgroup.units()")
    if not units:
        pytest.skip("this process is in no unit's cgroup")
    client.run("asked = []")
    client.run("memmon.on_release(asked.append)")
    client.run("memmon.protect(bytearray(9), 'a').wait_tagged(10)")
    assert agent.event()["event"] == "tag", "connected, so signals are heard"
    agent.tell("somebody-else.service 1")
    agent.tell(f"{units[-1]} 1048576")
    assert wait_for("the callback", lambda: client.run("asked")) == [1048576]


def test_the_old_functions_ask_the_agent(bus, start):
    client = start(Client, bus)
    ask = "try:\n memmon.{}\nexcept Exception as e: error = [type(e).__name__, str(e)]"
    client.run(ask.format("apply_strategy()"))
    assert client.run("error")[0] == "AgentUnavailableError"
    assert "systemctl start memmon" in client.run("error")[1]
    start(Agent, bus)
    assert client.run("memmon.get_memory_report()['schema']") == "memmon.report/1"
    assert client.run("memmon.analyze_memory_situation()") == "high"
    assert client.run("memmon.apply_strategy(dry_run=True)") == [
        {"action": "protect", "unit": "a.service"},
        {"action": "none"},
    ]
    assert client.run("memmon.apply_strategy('none', dry_run=True)") == [{"action": "none"}]
    client.run(ask.format("apply_strategy()"))
    assert client.run("error")[0] == "NotYoursError"
    client.run(ask.format("apply_strategy('protect')"))
    assert client.run("error")[0] == "ValueError"


def test_what_was_refused_for_a_limit_is_asked_for_again(bus, start):
    start(Agent, bus, "--refuse", "busy", "--refusals", "1")
    client = start(Client, bus)
    client.run("memmon._agent._LIMITED_PAUSE = 0.5")
    client.run("guards = [memmon.protect(bytearray(9000), 'a') for _ in range(3)]")
    wait_for("all are registered", lambda: client.run("all(g.wait_tagged(10) for g in guards)"))

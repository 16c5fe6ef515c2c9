"""What is asked of which worker, and what the answers mean: no process, no broker, no systemd."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import control
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.control_process import Done, run_process
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.control_script import MARKER

NODE, UNIT = "default-4f2c@worker1", "shop-worker-default@4f2c.service"
BUSY = {"count": 1, "tasks": [{"id": "7d1e", "name": "shop.report"}]}
NONE = {"count": 0, "tasks": []}
ONLINE = {"queues": ["celery"], "active": BUSY, "reserved": NONE, "scheduled": NONE}


def request(action: str = "inspect", **more: Any) -> control.Request:
    nodes = more.pop("nodes", (control.Node(NODE, UNIT),))
    return control.Request(action=action, nodes=nodes, command="/opt/shop/bin/celery-run", **more)


class Host:
    """Answers as the script and systemd would, and keeps what was asked."""

    def __init__(self, answer: dict[str, Any] | Done | None = None, *states: str) -> None:
        self.done = (
            answer
            if isinstance(answer, Done)
            else Done(0, f"hello\n{MARKER}{json.dumps({'imported': True})}\n{MARKER}{json.dumps(answer)}\n")
        )
        self.states = list(states) or ["active"]
        self.commands: list[list[str]] = []
        self.asked: dict[str, Any] = {}
        self.limit = 0.0

    def run(self, command: list[str], text: str, limit: float) -> Done:
        self.commands.append(command)
        self.asked, self.limit = json.loads(text)["request"], limit
        return self.done

    def show(self, units: list[str]) -> dict[str, control.UnitState]:
        active = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {
            unit: control.UnitState("loaded", active, 0 if active in ("inactive", "failed") else 77) for unit in units
        }

    def settle(self, wanted: control.Request) -> dict[str, Any]:
        return control.settle(wanted, self.run, self.show)

    def fails(self, wanted: control.Request) -> control.ControlError:
        with pytest.raises(control.ControlError) as caught:
            self.settle(wanted)
        return caught.value


# --- the request -----------------------------------------------------------------------------------------------------


def test_a_good_request_has_no_problems() -> None:
    assert control.problems(request("add_consumers", queues=("celery",))) == []
    assert control.problems(request("revoke", task_ids=("7d1e",), terminate=True)) == []
    assert control.problems(request("cancel_consumers", minimum=1, queues=("mail",), deadline=0)) == []


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (request(nodes=(control.Node("worker1"),)), "'worker1' is not the name of a node"),
        (request(nodes=(control.Node(NODE, "shop"),)), "'shop' is not the name of a service"),
        (request(nodes=(control.Node(NODE), control.Node(NODE))), f"node {NODE} is listed twice"),
        (request(nodes=(control.Node("a@b", UNIT), control.Node("c@b", UNIT))), f"unit {UNIT} is listed for two"),
        (request("add_consumers"), "add_consumers needs its queues"),
        (request(nodes=(control.Node(NODE, UNIT, ("mail",)),)), "its queues matter for add_consumers only"),
        (request("wait_idle", queues=("mail",)), "queues means nothing for action wait_idle"),
        (request("wait_idle", minimum=1), "minimum_consumers means nothing for action wait_idle"),
        (request("inspect", must=True), "must means nothing for action inspect: it is for wait_idle"),
        (request("inspect", task_ids=("1",)), "task_ids means nothing for action inspect"),
        (request("inspect", terminate=True), "terminate means nothing for action inspect"),
        (request("revoke"), "revoke needs task_ids"),
        (request("revoke", task_ids=("",)), "revoke needs task_ids"),
        (request("cancel_consumers", minimum=-1), "minimum_consumers -1 must be at least 0"),
        (request(deadline=-1), "deadline -1 must be at least 0"),
        (request(timeout=0), "timeout 0 must be at least 0.1"),
        (request(startup_timeout=0), "startup_timeout 0 must be at least 1"),
    ],
)
def test_a_bad_request_is_explained(wanted: control.Request, message: str) -> None:
    found = control.problems(wanted)
    assert len(found) == 1
    assert message in found[0]


def test_it_runs_in_the_environment_of_the_release() -> None:
    host = Host({"nodes": {NODE: ONLINE}})
    host.settle(request(release="9c1b", identity="operator"))
    command = host.commands[0]
    assert command[:7] == ["/opt/shop/bin/celery-run", "--identity", "operator", "--release", "9c1b", "--", "python"]
    assert len(command[-1]) < 300, "the script is on standard input, not on the command line"
    assert "def main" in control.script()


# --- the condition of a node -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answered", "active", "expected"),
    [
        (True, "active", "online"),
        (True, "", "online"),
        (True, "deactivating", "stopping"),
        (False, "deactivating", "stopping"),
        (False, "active", "silent"),
        (False, "activating", "starting"),
        (False, "inactive", "dead"),
        (False, "failed", "dead"),
        (False, "", "unknown"),
    ],
)
def test_the_unit_tells_a_stopping_worker_from_a_dead_one(answered: bool, active: str, expected: str) -> None:
    assert control.condition(answered, control.UnitState("loaded", active)) == expected
    host = Host({"nodes": {NODE: ONLINE} if answered else {}}, active)
    assert host.settle(request())["nodes"][0]["condition"] == expected


def test_inspect_returns_what_the_workers_do() -> None:
    result = Host({"nodes": {NODE: ONLINE}}).settle(request())
    assert result == {
        "changed": False,
        "nodes": [{"name": NODE, "unit": UNIT, "unit_state": "active", "condition": "online", **ONLINE}],
    }


def test_a_worker_that_ended_while_it_was_asked_is_dead() -> None:
    assert Host({"nodes": {}}, "active", "inactive").settle(request())["nodes"][0]["condition"] == "dead"


@pytest.mark.parametrize("action", ["inspect", "cancel_consumers", "wait_idle", "revoke"])
def test_nobody_is_asked_where_nothing_runs(action: str) -> None:
    host = Host(None, "inactive")
    result = host.settle(request(action, task_ids=("1",)))
    assert host.commands == []
    assert (result["changed"], result["nodes"][0]["condition"]) == (False, "dead")
    assert result.get("idle", True) is True


def test_an_empty_list_starts_nothing() -> None:
    host = Host(None)
    assert host.settle(request("wait_idle", nodes=())) == {
        "changed": False,
        "nodes": [],
        "idle": True,
        "remaining": [],
        "waited": 0.0,
    }
    assert host.commands == []


def test_the_script_is_told_whom_to_wait_for() -> None:
    other = control.Node("video-4f2c@worker2")
    host = Host({"nodes": {}, "changes": []}, "deactivating")
    host.settle(request("cancel_consumers", nodes=(control.Node(NODE, UNIT), other)))
    first, second = host.asked["nodes"]
    assert (first["ask"], first["pid"]) == (False, 77)
    assert (second["ask"], second["patient"], second["pid"]) == (True, False, 0)
    host = Host({"nodes": {}, "changes": []}, "active")
    host.settle(request("cancel_consumers"))
    assert (host.asked["nodes"][0]["ask"], host.asked["nodes"][0]["patient"]) == (True, True)


def test_the_process_gets_as_long_as_the_action_may_take() -> None:
    host = Host({"nodes": {}})
    host.settle(request("wait_idle", deadline=3600, timeout=5, startup_timeout=100))
    assert host.limit == 3600 + 100 + 5 * 14 + control.CONNECT + control.MARGIN
    host.settle(request("wait_idle", deadline=3600, timeout=5, startup_timeout=100, check=True))
    assert host.limit == 100 + 5 * 14 + control.CONNECT + control.MARGIN
    assert (host.asked["deadline"], host.asked["check"]) == (0, True)


def test_units_are_read() -> None:
    output = f"Id={UNIT}\nLoadState=loaded\nActiveState=deactivating\nMainPID=815\n\nId=b\nActiveState=inactive\n"
    assert control.parse_units(output, [UNIT, "b.service"]) == {
        UNIT: control.UnitState("loaded", "deactivating", 815),
        "b.service": control.UnitState("", "inactive", 0),
    }
    with pytest.raises(control.ControlError, match="answered for 2 of 1 units"):
        control.parse_units(output, [UNIT])


# --- changes ---------------------------------------------------------------------------------------------------------

CHANGES = [{"node": NODE, "queue": "celery"}]


@pytest.mark.parametrize(("action", "key"), [("cancel_consumers", "cancelled"), ("add_consumers", "added")])
def test_consumers_change_once(action: str, key: str) -> None:
    more = {"queues": ("celery",)}
    result = Host({"nodes": {NODE: {"queues": []}}, "changes": CHANGES}).settle(request(action, **more))
    assert (result["changed"], result[key]) == (True, CHANGES)
    result = Host({"nodes": {NODE: {"queues": []}}, "changes": []}).settle(request(action, **more))
    assert (result["changed"], result[key]) == (False, [])


def test_too_few_consumers_are_a_failure_that_says_what_to_do() -> None:
    short = [{"queue": "mail", "consumers": 1, "ours": 1, "minimum": 1}]
    host = Host({"nodes": {NODE: {}}, "changes": [], "short": short, "error": {"kind": "short", "text": ""}})
    error = host.fails(request("cancel_consumers", minimum=1, deadline=30))
    assert str(error).startswith("within 30 s there were not enough other consumers to leave 1: mail has 1")
    assert "Start a worker for these queues elsewhere" in str(error)
    assert (error.result["changed"], error.result["short"]) == (False, short)


def test_a_failure_tells_what_was_cancelled_before_it() -> None:
    error = {"kind": "worker", "text": f"{NODE} still consumes mail"}
    caught = Host({"nodes": {}, "changes": CHANGES, "error": error}).fails(request("cancel_consumers"))
    assert caught.result["changed"] is True
    assert caught.result["cancelled"] == CHANGES


@pytest.mark.parametrize(
    ("state", "message"), [("inactive", f"{NODE} does not run: start {UNIT}"), ("deactivating", "is stopping")]
)
def test_nothing_can_be_added_to_a_worker_that_does_not_run(state: str, message: str) -> None:
    host = Host(None, state)
    assert message in str(host.fails(request("add_consumers", queues=("celery",))))
    assert host.commands == []


def test_a_check_counts_on_workers_that_an_earlier_task_would_start() -> None:
    host = Host(None, "inactive")
    result = host.settle(request("add_consumers", queues=("celery",), check=True))
    assert (result["changed"], result["added"]) == (True, CHANGES)
    assert host.commands == []


def test_revoke_changes_what_is_not_revoked_yet() -> None:
    rows = [{"node": NODE, "id": "7d1e", "running": True, "terminated": False}]
    wanted = request("revoke", task_ids=("7d1e",))
    assert Host({"nodes": {NODE: {}}, "changes": rows}).settle(wanted)["revoked"] == rows
    assert Host({"nodes": {NODE: {}}, "changes": []}).settle(wanted)["changed"] is False


# --- idle ------------------------------------------------------------------------------------------------------------

RUNNING = {"node": NODE, "state": "active", "id": "7d1e", "name": "shop.report"}
FREE = {**ONLINE, "queues": [], "active": NONE}


def test_idle() -> None:
    result = Host({"nodes": {NODE: FREE}, "remaining": [], "waited": 3.5}).settle(request("wait_idle", must=True))
    assert (result["idle"], result["remaining"], result["waited"], result["changed"]) == (True, [], 3.5, False)


def test_not_idle_is_no_failure_unless_it_must_be() -> None:
    seen = {**FREE, "active": {"count": 1200, "tasks": [RUNNING]}}
    answer = {"nodes": {NODE: seen}, "remaining": [RUNNING], "waited": 60.0}
    result = Host(answer).settle(request("wait_idle"))
    assert (result["idle"], result["remaining"]) == (False, [RUNNING])
    error = Host(answer).fails(request("wait_idle", must=True))
    assert str(error).startswith(f"not idle after 60 s: {NODE}: 1200 running. ")
    assert error.result["remaining"] == [RUNNING]


@pytest.mark.parametrize(
    ("before", "after", "said", "idle", "left"),
    [
        ("deactivating", "deactivating", "stopping", False, ["stopping"]),
        ("deactivating", "inactive", None, True, []),
        ("deactivating", "inactive", "stopping", True, []),
        ("deactivating", "activating", None, False, ["starting"]),
        ("active", "active", "silent", False, ["silent"]),
        ("active", "deactivating", "silent", False, ["stopping"]),
    ],
)
def test_the_unit_has_the_last_word(before: str, after: str, said: str | None, idle: bool, left: list[str]) -> None:
    remaining = [{"node": NODE, "state": said}] if said else []
    result = Host({"nodes": {}, "remaining": remaining, "waited": 1.0}, before, after).settle(request("wait_idle"))
    assert result["idle"] is idle
    assert [row["state"] for row in result["remaining"]] == left


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("import", "the application cannot be imported in release 9c1b: boom. Correct it or its environment"),
        ("refused", "the broker refuses identity worker: boom. Its user, password, certificate and permissions"),
        ("tls", "TLS with the broker failed: boom. Run verify.yml"),
        ("unreachable", "the broker cannot be reached: boom. Start it, or open its port"),
        ("stuck", "the broker or a worker let us wait: boom."),
        ("queue", "boom. Write its name as celery_workers has it"),
        ("worker", "boom. Its own log says why"),
        ("broker", "the broker cannot be used: boom"),
    ],
)
def test_every_error_has_a_remedy(kind: str, remedy: str) -> None:
    host = Host({"error": {"kind": kind, "text": "boom"}})
    assert str(host.fails(request(release="9c1b"))).startswith(remedy)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("active", f"{NODE} does not answer, though {UNIT} is active: a solo pool answers only between two tasks"),
        ("", f"no worker named {NODE} answers (those that answer: default-4f2c@worker2)"),
        ("inactive", f"{NODE} does not run: start {UNIT}"),
    ],
)
def test_silence_is_explained(state: str, message: str) -> None:
    error = {"kind": "silent", "text": "no answer", "nodes": [NODE], "others": ["default-4f2c@worker2"]}
    host = Host({"nodes": {}, "changes": [], "error": error}, "active" if state else "", state)
    assert str(host.fails(request("cancel_consumers"))).startswith(message)


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (Done(127, stderr="No such file or directory"), "cannot be started on this host (No such file or directory)"),
        (Done(66, stderr="celery-run: this host has no identity 'worker'"), "has no identity 'worker'"),
        (Done(127, stderr="setpriv: failed to execute python"), "exit code 127 and no answer:\nsetpriv: failed"),
        (Done(-9), "ended with exit code -9 and no answer. Its output says nothing"),
        (Done(-9, timed_out=True), "could not be imported within 120 s, and the process was ended"),
        (Done(-9, MARKER + '{"imported": true}\n' + MARKER + '{"no', timed_out=True), "could not be asked in time"),
        (Done(1, stderr="cannot use amqps://shop:hunter2@broker1"), "amqps://shop:***@broker1"),
    ],
)
def test_a_process_without_an_answer_is_explained(done: Done, message: str) -> None:
    text = str(Host(done).fails(request()))
    assert message in text
    assert "hunter2" not in text


# --- the process -----------------------------------------------------------------------------------------------------


def test_a_process_gets_its_input_and_gives_its_output() -> None:
    code = "import sys; print(sys.stdin.read().upper()); print('oh', file=sys.stderr); sys.exit(3)"
    assert run_process([sys.executable, "-c", code], "hello", 20) == Done(3, "HELLO\n", "oh\n")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    assert run_process([str(tmp_path / "celery-run")], "", 5).rc == 127
    (tmp_path / "celery-run").write_text("")
    assert run_process([str(tmp_path / "celery-run")], "", 5).rc == 126


def wait_until(true: Callable[[], bool]) -> bool:
    ends = time.monotonic() + 10
    while not true() and time.monotonic() < ends:
        time.sleep(0.05)
    return true()


def test_a_process_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, time; print('begun', flush=True); "
        f"open({str(child)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid)); time.sleep(60)"
    )
    done = run_process([sys.executable, "-c", code], "", 2)
    assert (done.timed_out, done.stdout) == (True, "begun\n")
    pid = child.read_text()

    def gone() -> bool:
        # An ended child of nobody may stay as a zombie where no init collects it.
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"

    assert wait_until(gone)

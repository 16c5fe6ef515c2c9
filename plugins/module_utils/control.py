# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control of the workers of a host: what is asked, of whom, and what the answers mean.

The asking itself is done by control_script in one process of the application's environment. Everything that leaves this
file goes through two injected functions, one that starts that process and one that reads units.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from . import control_script
from .control_process import Done
from .units import RUNNING, STARTING, UNIT_NAME, UnitsError, shown, trim

ACTIONS = ("inspect", "cancel_consumers", "add_consumers", "wait_idle", "revoke")
NODE_NAME = re.compile(r"[^@\s]+@[^@\s]+")
# The script is read from standard input: on a command line it would fill the screens of those who look at processes.
BOOTSTRAP = (
    "import json, sys; given = json.load(sys.stdin); scope = {'__name__': 'celery_control'}; "
    "exec(compile(given['script'], 'celery_control', 'exec'), scope); scope['main'](given['request'])"
)
# Seconds beside the deadline that the script may need to say that it did not succeed.
MARGIN = 10.0
# Seconds that it takes to find out that several brokers do not answer.
CONNECT = 60.0


class ControlError(Exception):
    """Something that cannot be done; the message says what is wrong and what to do."""

    def __init__(self, message: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.result = dict(result or {})


class Node(NamedTuple):
    name: str
    unit: str = ""
    queues: tuple[str, ...] = ()


class Request(NamedTuple):
    action: str
    nodes: tuple[Node, ...]
    command: str
    identity: str = "worker"
    release: str = ""
    queues: tuple[str, ...] = ()
    minimum: int = 0
    deadline: int = 60
    must: bool = False
    task_ids: tuple[str, ...] = ()
    terminate: bool = False
    signal: str = "SIGTERM"
    timeout: float = 5
    startup_timeout: int = 120
    check: bool = False


class UnitState(NamedTuple):
    """What systemd says about the unit of a node."""

    load: str = ""
    active: str = ""
    pid: int = 0


UNKNOWN = UnitState()
Run = Callable[[list[str], str, float], Done]
Show = Callable[[list[str]], Mapping[str, UnitState]]


def problems(request: Request) -> list[str]:
    """What is wrong with the request itself, all of it."""
    found: list[str] = []
    names = [node.name for node in request.nodes]
    units = [node.unit for node in request.nodes if node.unit]
    for node in request.nodes:
        if not NODE_NAME.fullmatch(node.name):
            found.append(f"{node.name!r} is not the name of a node: write one like default-4f2c@worker1")
        if node.unit and not UNIT_NAME.fullmatch(node.unit):
            found.append(f"{node.unit!r} is not the name of a service: write one like shop-worker-default@4f2c.service")
        if request.action == "add_consumers" and not (node.queues or request.queues):
            found.append(f"{node.name}: add_consumers needs its queues: list them in nodes or in queues")
        if node.queues and request.action != "add_consumers":
            found.append(f"{node.name}: its queues matter for add_consumers only: leave them out, or use queues")
    found.extend(f"node {name} is listed twice: list it once" for name in repeated(names))
    found.extend(f"unit {unit} is listed for two nodes: one service runs one node" for unit in repeated(units))
    for option, given, actions in (
        ("queues", bool(request.queues), ("cancel_consumers", "add_consumers")),
        ("minimum_consumers", bool(request.minimum), ("cancel_consumers",)),
        ("must", request.must, ("wait_idle",)),
        ("task_ids", bool(request.task_ids), ("revoke",)),
        ("terminate", request.terminate, ("revoke",)),
    ):
        if given and request.action not in actions:
            found.append(f"{option} means nothing for action {request.action}: it is for {' and '.join(actions)}")
    if request.action == "revoke" and not all(request.task_ids or [""]):
        found.append("revoke needs task_ids: list the ids of the tasks")
    for option, number, least in (
        ("minimum_consumers", request.minimum, 0),
        ("deadline", request.deadline, 0),
        ("timeout", request.timeout, 0.1),
        ("startup_timeout", request.startup_timeout, 1),
    ):
        if number < least:
            found.append(f"{option} {number:g} must be at least {least:g}")
    return found


def repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def parse_units(output: str, names: list[str]) -> dict[str, UnitState]:
    """What `systemctl show` tells of these units."""
    try:
        units = shown(output, names)
    except UnitsError as error:
        raise ControlError(str(error)) from error
    return {
        name: UnitState(value.get("LoadState", ""), value.get("ActiveState", ""), int(value.get("MainPID") or 0))
        for name, value in units.items()
    }


def is_dead(state: UnitState) -> bool:
    """No process of it is left, so there is nobody to ask."""
    return state.active in ("inactive", "failed")


def condition(answered: bool, state: UnitState) -> str:
    """A worker in a warm shutdown does not answer, and neither does a solo pool while it runs a task."""
    if state.active == "deactivating":
        return "stopping"
    if answered:
        return "online"
    if state.active in STARTING:
        return "starting"
    if is_dead(state):
        return "dead"
    return "silent" if state.active in RUNNING else "unknown"


def questions(request: Request, states: Mapping[str, UnitState]) -> list[dict[str, Any]]:
    """What the script is told about each node: whether to ask it, and whether a late answer may still come."""
    rows = []
    for node in request.nodes:
        state = states.get(node.unit, UNKNOWN)
        stopping = state.active == "deactivating"
        rows.append(
            {
                "name": node.name,
                "queues": list(node.queues),
                # Its answer could only be that of its last moment; what counts is when its process ends.
                "ask": not is_dead(state) and not (stopping and request.action != "inspect"),
                "patient": state.active in (*RUNNING, *STARTING, "deactivating"),
                "pid": state.pid if stopping else 0,
            }
        )
    return rows


def budget(request: Request) -> float:
    """Seconds that the script may take once the application is there."""
    waits = request.deadline if request.action != "inspect" and not request.check else 0
    return waits + CONNECT + request.timeout * (10 + 4 * len(request.nodes))


def command_line(request: Request) -> list[str]:
    release = ["--release", request.release] if request.release else []
    return [request.command, "--identity", request.identity, *release, "--", "python", "-c", BOOTSTRAP]


def script() -> str:
    """The text of the script, from the archive in which Ansible sends modules as well as from a checkout."""
    loader: Any = control_script.__spec__.loader if control_script.__spec__ else None
    text = loader.get_source(control_script.__name__) if loader else None
    if not text:
        raise ControlError("the text of module_utils/control_script.py cannot be read: it is part of this collection")
    return str(text)


def talk(request: Request, asked: list[dict[str, Any]], run: Run) -> dict[str, Any]:
    """One process in the application's environment, and its answer."""
    limit = budget(request)
    given = {
        "action": request.action,
        "nodes": asked,
        "queues": list(request.queues),
        "minimum": request.minimum,
        "deadline": 0 if request.check else request.deadline,
        "timeout": request.timeout,
        "task_ids": list(request.task_ids),
        "terminate": request.terminate,
        "signal": request.signal,
        "check": request.check,
        "budget": limit,
    }
    text = json.dumps({"script": script(), "request": given})
    done = run(command_line(request), text, request.startup_timeout + limit + MARGIN)
    answers = parse_answers(done.stdout)
    final = next((answer for answer in answers if "nodes" in answer or "error" in answer), None)
    if final is None:
        raise ControlError(no_answer(request, done, bool(answers)))
    return final


def parse_answers(output: str) -> list[dict[str, Any]]:
    found = []
    for line in output.splitlines():
        if line.startswith(control_script.MARKER):
            try:
                found.append(json.loads(line[len(control_script.MARKER) :]))
            except ValueError:
                continue  # cut off when the process was ended
    return found


def no_answer(request: Request, done: Done, imported: bool) -> str:
    said = trim(done.stderr)
    says = f":\n{said}" if said else ""
    if done.timed_out and not imported:
        return (
            f"the application could not be imported within {request.startup_timeout} s, and the process was ended. "
            f"Raise startup_timeout, or look at what its import waits for{says}"
        )
    if done.timed_out:
        return f"the workers could not be asked in time, and the process was ended. Look at the broker{says}"
    if done.rc in (126, 127) and not said.startswith("setpriv"):
        return (
            f"{request.command} cannot be started on this host ({said or f'exit code {done.rc}'}). The role celery "
            "puts it there: run site.yml for this host, or set command to its path"
        )
    return f"{request.command} ended with exit code {done.rc} and no answer{says or '. Its output says nothing'}"


def remedy(request: Request, error: Mapping[str, Any]) -> str:
    """What to do about an error that the script met."""
    text = error["text"]
    of_release = f"release {request.release}" if request.release else "the current release"
    if error["kind"] == "import":
        return (
            f"the application cannot be imported in {of_release}: {text}. Correct it or its environment; the same "
            f"error comes from: {request.command} --identity {request.identity} -- python -c 'import celery_agent'"
        )
    if error["kind"] == "refused":
        return (
            f"the broker refuses identity {request.identity}: {text}. Its user, password, certificate and permissions "
            "come from site.yml: run it for the brokers and this host"
        )
    if error["kind"] == "tls":
        return (
            f"TLS with the broker failed: {text}. Run verify.yml, which tells the link, or site.yml, which renews what "
            "is wrong with certificates"
        )
    if error["kind"] == "unreachable":
        return f"the broker cannot be reached: {text}. Start it, or open its port to this host; verify.yml tells more"
    if error["kind"] == "stuck":
        return f"the broker or a worker let us wait: {text}. See what is wrong with verify.yml, and run again"
    if error["kind"] == "queue":
        return f"{text}. Write its name as celery_workers has it, or let site.yml make it"
    if error["kind"] == "worker":
        return f"{text}. Its own log says why"
    return f"the broker cannot be used: {text}"


def short_message(request: Request, short: Iterable[Mapping[str, Any]]) -> str:
    parts = [
        f"{row['queue']} has {row['consumers']} as the broker counts, {row['ours']} of them to be cancelled here"
        for row in short
    ]
    return (
        f"within {request.deadline} s there were not enough other consumers to leave {request.minimum}: "
        f"{'; '.join(parts)}. The nodes consume as before. Start a worker for these queues elsewhere, wait for it with "
        "a longer deadline, or lower minimum_consumers"
    )


def silence(request: Request, nodes: Iterable[Mapping[str, Any]], others: Iterable[str]) -> str:
    """Why nodes that should have answered did not, one sentence each."""
    parts = []
    for node in nodes:
        name, unit = node["name"], node["unit"]
        if node["condition"] == "unknown":
            answering = ", ".join(others) or "none"
            parts.append(
                f"no worker named {name} answers (those that answer: {answering}): write the name that its unit has "
                "after --hostname, or give its unit"
            )
        elif node["condition"] == "dead":
            parts.append(f"{name} does not run: start {unit}")
        elif node["condition"] == "stopping":
            parts.append(f"{name} is stopping and takes no more orders: wait until {unit} has ended")
        else:
            parts.append(
                f"{name} does not answer, though {unit} is {node['unit_state']}: a solo pool answers only between two "
                f"tasks, so give it a longer deadline; any other is stuck, see systemctl status {unit}"
            )
    return "; ".join(parts)


def view(request: Request, states: Mapping[str, UnitState], answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes as the module returns them, in the order in which they were given."""
    seen = answer.get("nodes", {})
    rows = []
    for node in request.nodes:
        state = states.get(node.unit, UNKNOWN)
        found = dict(seen.get(node.name, {}))
        rows.append(
            {
                "name": node.name,
                "unit": node.unit,
                "unit_state": state.active,
                "condition": condition(node.name in seen, state),
                **found,
            }
        )
    return rows


def settle(request: Request, run: Run, show: Show) -> dict[str, Any]:
    """Carries the request out and returns the module's result."""
    units = [node.unit for node in request.nodes if node.unit]
    before = show(units) if units else {}
    asked = questions(request, before)
    unable = [row for row in view(request, before, {}) if row["condition"] in ("dead", "stopping")]
    if request.action == "add_consumers" and unable and not request.check:
        raise ControlError(silence(request, unable, ()), {"nodes": unable})
    needed = any(row["ask"] for row in asked) or (request.action == "wait_idle" and any(row["pid"] for row in asked))
    answer = talk(request, asked, run) if needed else {"nodes": {}, "changes": []}
    after = show(units) if units and needed else before
    nodes = view(request, after, answer)
    result: dict[str, Any] = {"changed": False, "nodes": nodes}
    changes = answer.get("changes", [])
    error = answer.get("error")
    if request.action == "wait_idle":
        result.update(idleness(request, nodes, answer))
    elif request.action == "cancel_consumers":
        result.update(cancelled=changes, short=answer.get("short", []))
    elif request.action == "add_consumers":
        result.update(added=changes + (expected(request, unable) if request.check else []))
    elif request.action == "revoke":
        result.update(revoked=changes)
    result["changed"] = any(result.get(key) for key in ("cancelled", "added", "revoked"))
    if error:
        raise ControlError(failure(request, error, nodes, result), result)
    if request.action == "wait_idle" and request.must and not result["idle"] and not request.check:
        raise ControlError(busy(request, result), result)
    return result


def expected(request: Request, unable: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What a run would add to nodes that do not run yet."""
    names = {row["name"] for row in unable}
    return [
        {"node": node.name, "queue": queue}
        for node in request.nodes
        if node.name in names
        for queue in node.queues or request.queues
    ]


def failure(request: Request, error: Mapping[str, Any], nodes: list[dict[str, Any]], result: Mapping[str, Any]) -> str:
    if error["kind"] == "short":
        return short_message(request, result.get("short", []))
    if error["kind"] != "silent":
        return remedy(request, error)
    quiet = [node for node in nodes if node["name"] in error.get("nodes", ())]
    # It was asked, and in the meantime it ended or answered another question: the script's own words then.
    if not quiet or any(node["condition"] == "online" for node in quiet):
        return f"{error['text']}. Run again; if it stays so, its own log says why"
    return silence(request, quiet, error.get("others", ()))


def idleness(request: Request, nodes: list[dict[str, Any]], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Whether nothing is left, judged with the units as they are at the end."""
    states = {node["name"]: node["condition"] for node in nodes}
    gone = [name for name, state in states.items() if state == "dead"]
    remaining = [
        {**row, "state": states[row["node"]]} if row["state"] in ("silent", "stopping") else dict(row)
        for row in answer.get("remaining", [])
        if row["node"] not in gone
    ]
    listed = {row["node"] for row in remaining}
    # One that was started again while it was waited for.
    remaining += [
        {"node": name, "state": state}
        for name, state in states.items()
        if state not in ("online", "dead") and name not in listed
    ]
    return {"idle": not remaining, "remaining": remaining, "waited": answer.get("waited", 0.0)}


def busy(request: Request, result: Mapping[str, Any]) -> str:
    counts = Counter((row["node"], row["state"]) for row in result["remaining"])
    for node in result["nodes"]:
        for state in ("active", "reserved", "scheduled"):
            if (node["name"], state) in counts:
                counts[node["name"], state] = node[state]["count"]
    words = {"consuming": "queues consumed", "active": "running", "silent": "no answer"}
    parts = [f"{name}: {count} {words.get(state, state)}" for (name, state), count in counts.items()]
    return (
        f"not idle after {request.deadline} s: {'; '.join(parts)}. Give it a longer deadline, cancel its consumers "
        "first, or do without must"
    )

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with services: workers, beat, Flower, broker and database as systemd and they themselves see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .status_seen import Finding, Seen, Service, duration, is_running, size

#: The agent answers systemd at least so often (seconds), however long the watchdog waits.
PULSE = 10.0
MISSED = 3
#: A service that was restarted so often and has not run for long since will be again.
RESTARTS, SETTLED = 3, 600.0
#: The broker's own view may be some seconds behind.
YOUNG = 30.0
#: What the agent says of a worker that takes nothing; see status_line in celery_agent.py.
TAKES_NOTHING = re.compile(r"reconnecting|not consuming|no process in the pool|no queues")
STALLED = re.compile(r"event loop stalled")
FROZEN_CHILDREN = re.compile(r"(\d+) child(?:ren)? frozen")
ACTIVE_TASKS = re.compile(r"(\d+) active\b")
LAST_TICK = re.compile(r"last tick (\d+) s ago")
ORDER = ("silent", "stopped", "standby")
DRAINED = "no queues (drained)"


def findings(seen: Seen) -> Iterator[Finding]:
    only_beat = len(seen.beat_hosts()) == 1
    for service in seen.services():
        found = service_findings(seen, service) if service.host in seen.answers else ()
        # That the only beat does not run is told as what it means: no beat is active.
        yield from (row for row in found if not (only_beat and service.role == "beat" and row.code == "CS201"))
    yield from beats(seen)


def service_findings(seen: Seen, service: Service) -> Iterator[Finding]:
    unit, host = seen.unit(service), service.host
    if unit is not None and unit["sub"] == "auto-restart":
        yield _restarts(seen, service, unit)
        return
    if unit is None or not is_running(unit):
        yield _not_running(seen, service, unit)
        return
    if unit["restarts"] >= RESTARTS and (unit["up"] or 0) < SETTLED:
        yield _restarts(seen, service, unit)
    frozen = list(_frozen(seen, service, unit))
    yield from frozen
    if service.role == "worker" and not frozen:
        yield from _takes_nothing(seen, service, unit)
    if unit["memory"] is not None and unit["memory_max"]:
        percent = 100 * unit["memory"] / unit["memory_max"]
        if percent >= seen.limits.memory_percent:
            what = f"{service.title} has {size(unit['memory'])} of its {size(unit['memory_max'])} of memory"
            yield Finding("CS205", host, what, _less_memory(seen, service))


def _less_memory(seen: Seen, service: Service) -> str:
    """Where the limit stands, and what makes a worker need less."""
    if service.role != "worker":
        return seen.playbook("site") + f" # after raising MemoryMax in {service.role}_unit_options"
    place = f"celery_workers.{service.kind}"
    return f"{seen.playbook('deploy')} # after raising {place}.memory_max, or lowering {place}.concurrency"


def _not_running(seen: Seen, service: Service, unit: Mapping[str, Any] | None) -> Finding:
    name = seen.expected_unit(service)
    if unit is None or unit["load"] == "not-found":
        return Finding("CS201", service.host, f"{service.title}: {name} is not there", seen.playbook("site"))
    state = unit["active"] + (f" ({unit['result']})" if unit["active"] == "failed" and unit["result"] else "")
    what = f"{service.title}: {name} is {state}"
    return Finding("CS201", service.host, what, seen.on(service.host, "systemctl start", name))


def _restarts(seen: Seen, service: Service, unit: Mapping[str, Any]) -> Finding:
    what = f"{service.title}: {unit['name']} was restarted {unit['restarts']} times"
    return Finding("CS202", service.host, what, seen.log(service.host, unit["name"]))


def _frozen(seen: Seen, service: Service, unit: Mapping[str, Any]) -> Iterator[Finding]:
    kill = seen.on(service.host, "systemctl kill --signal=SIGKILL", unit["name"])
    if unit["stopped"]:
        pids = " ".join(map(str, unit["stopped"]))
        who = "its main process" if unit["main"] in unit["stopped"] else f"{len(unit['stopped'])} of its processes"
        what = f"{service.title}: a signal stopped {who}"
        yield Finding("CS203", service.host, what, seen.on(service.host, "kill -s CONT", pids))
        return
    silent = unit["watchdog_age"] if unit["watchdog"] else None
    pulse = min(unit["watchdog"] / 3, PULSE)
    if silent is not None and silent > MISSED * pulse and (unit["up"] or 0) > MISSED * pulse:
        what = f"{service.title}: it has not answered systemd for {duration(silent)}"
        yield Finding("CS203", service.host, what, kill)
    elif STALLED.search(unit["status"]) or FROZEN_CHILDREN.search(unit["status"]):
        yield Finding("CS203", service.host, f"{service.title}: it says '{unit['status']}'", kill)


def _takes_nothing(seen: Seen, service: Service, unit: Mapping[str, Any]) -> Iterator[Finding]:
    host, status = service.host, unit["status"]
    if TAKES_NOTHING.match(status):
        remedy = seen.log(host, unit["name"])
        if status.startswith(DRAINED):
            remedy = seen.playbook("drain", f"-e undrain={host}")
        yield Finding("CS204", host, f"{service.title}: it says '{status}'", remedy)
        return
    missing = missing_queues(seen, service, unit)
    if missing and (unit["up"] or 0) > YOUNG:
        what = f"{service.title}: the broker has no consumer of it for {', '.join(missing)}"
        yield Finding("CS208", host, what, seen.on(host, "systemctl restart", unit["name"]))


def consumed(seen: Seen, unit: Mapping[str, Any]) -> list[str] | None:
    """The queues a unit consumes as the broker sees it. None where that cannot be known.

    A consumer is known by its end of the connection. Where addresses are translated on the way, no end is.
    """
    broker = seen.broker
    if broker is None:
        return None
    ends = {(entry["host"], entry["port"]) for entry in broker["consumers"]}
    ours = {
        (address, port)
        for answer in seen.answers.values()
        for other in answer["units"]
        for address, port in other["connections"]
    }
    if ends and not ends & ours:
        return None
    mine = set(map(tuple, unit["connections"]))
    return [entry["queue"] for entry in broker["consumers"] if (entry["host"], entry["port"]) in mine]


def missing_queues(seen: Seen, service: Service, unit: Mapping[str, Any]) -> list[str]:
    """Those that others consume, and this unit does not. One that nobody consumes is a finding of its own."""
    found, broker = consumed(seen, unit), seen.broker
    if found is None or broker is None:
        return []
    served = {entry["queue"] for entry in broker["consumers"]}
    return [queue for queue in seen.model["workers"][service.kind]["queues"] if queue in served and queue not in found]


def active_tasks(unit: Mapping[str, Any]) -> int | None:
    """What the agent says last, at most ten seconds ago."""
    found = ACTIVE_TASKS.search(unit["status"])
    return int(found[1]) if found else None


def reserved_tasks(seen: Seen, unit: Mapping[str, Any]) -> int | None:
    """Messages a worker holds beyond those it works on. A task that was acknowledged early is not among them."""
    broker, active = seen.broker, active_tasks(unit)
    if broker is None or active is None or consumed(seen, unit) is None:
        return None
    mine = set(map(tuple, unit["connections"]))
    held = sum(row["unacknowledged"] for row in broker["channels"] if (row["host"], row["port"]) in mine)
    return max(0, int(held) - active)


# --- beat ------------------------------------------------------------------------------------------------------------


def beat_state(seen: Seen, unit: Mapping[str, Any] | None) -> str:
    """active, standby or stopped, as the first word of its status says; without one, what systemd says."""
    if unit is None or not is_running(unit):
        return "stopped"
    word = str(unit["status"]).partition(",")[0]
    if word not in ("active", "standby", "stopped"):
        return "active"
    ticked = LAST_TICK.search(unit["status"])
    if word == "active" and ticked and int(ticked[1]) > seen.limits.beat_silent:
        return "silent"
    return word


def beats(seen: Seen) -> Iterator[Finding]:
    hosts = seen.beat_hosts()
    states, units = {}, {}
    for service in seen.services():
        if service.role == "beat" and service.host in seen.answers:
            units[service.host] = seen.unit(service)
            states[service.host] = beat_state(seen, units[service.host])
    active = [host for host, state in states.items() if state == "active"]
    if len(active) > 1:
        spare = active[-1]
        what = f"beat is active on {', '.join(active)}"
        yield Finding("CS207", spare, what, seen.on(spare, "systemctl stop", str((units[spare] or {}).get("name"))))
    if active or not states or len(states) < len(hosts):
        # Of a host that was not asked, or does not answer, nobody knows whether it is the one.
        return
    # One that stands by has nothing wrong with it.
    host = min(states, key=lambda name: ORDER.index(states[name]))
    unit = units[host]
    told = f": {host} says '{unit['status']}'" if unit and is_running(unit) and unit["status"] else ""
    name = seen.expected_unit(Service(host, "beat", "", f"{seen.name}-beat@"))
    yield Finding("CS206", host, f"no beat is active{told}", seen.on(host, "systemctl restart", name))

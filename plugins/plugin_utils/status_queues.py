# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with queues, brokers, the database and the last proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .queues import dead_letters
from .status_seen import Finding, Seen, duration

HOUR = 3600
#: Seconds over which a queue has to have grown.
LEAST_WINDOW = 120.0
#: Of the connections that clients may have.
DATABASE_PERCENT = 90


def findings(seen: Seen, troubled: Collection[str] = ()) -> Iterator[Finding]:
    """troubled: hosts whose workers were found wanting already, so that a missing consumer is no news."""
    yield from brokers(seen)
    yield from queues(seen, troubled)
    yield from database(seen)
    yield from proof(seen)


# --- brokers ---------------------------------------------------------------------------------------------------------


def brokers(seen: Seen) -> Iterator[Finding]:
    first = seen.model["brokers"][0]
    told = seen.broker
    if told is None:
        host, answer = next(iter(seen.brokers.items()), (first, {}))
        if host not in seen.hosts or seen.hosts[host].get("answered"):
            why = answer.get("why") or "its host does not answer"
            remedy = seen.on(host, "systemctl restart rabbitmq-server.service")
            yield Finding("CS407", host, f"the management API does not answer: {why}", remedy)
        return
    names = {node: host for host, node in seen.model["broker_nodes"].items()}
    for node in told["members"]:
        if node not in told["running"]:
            host = names.get(node, "")
            remedy = seen.on(host or first, "systemctl start rabbitmq-server.service")
            yield Finding("CS406", host, f"the node {node} does not run", remedy)
    for text in told["partitions"]:
        # The one that is cut off comes back with what the others have.
        host = names.get(text.split(" ", 1)[0], first)
        yield Finding("CS406", host, text, seen.on(host, "systemctl restart rabbitmq-server.service"))
    for text in told["alarms"]:
        host = names.get(text.partition(":")[0], first)
        what = f"the broker blocks publishers, alarm {text}"
        yield Finding("CS405", host, what, seen.on(host, "rabbitmq-diagnostics status"))
    for (user, address), count in Counter((row["user"], row["host"]) for row in told["plaintext"]).items():
        what = f"{count} connections without TLS, of {user} from {address}"
        remedy = seen.on(first, f"rabbitmqctl close_all_user_connections {user} no-TLS")
        yield Finding("CS408", first, what, remedy)


# --- queues ----------------------------------------------------------------------------------------------------------


def queues(seen: Seen, troubled: Collection[str] = ()) -> Iterator[Finding]:
    told = seen.broker
    if told is None:
        return
    host = seen.model["brokers"][0]
    counts = Counter(entry["queue"] for entry in told["consumers"])
    for name, consumers in seen.model["queues"].items():
        queue = told["queues"].get(name)
        planned = {(consumer["worker"], consumer["host"]) for consumer in consumers}
        if not counts[name]:
            waiting = f", {queue['ready']} messages wait" if queue and queue["ready"] else ""
            there = "" if queue else " (there is no such queue)"
            what = f"nobody consumes {name}{there}{waiting}"
            yield Finding("CS401", host, what, _start(seen, name))
        elif counts[name] < len(planned) and not {where for _kind, where in planned}.intersection(troubled):
            what = f"{name} has {counts[name]} consumers, {len(planned)} are planned"
            yield Finding("CS402", host, what, _start(seen, name))
        if queue and grows(queue, seen.limits.growth):
            now = queue["ready"] + queue["unacknowledged"]
            gain = f"from {queue['before']:.0f} to {now} messages in {duration(queue['window'])}"
            rates = f"{queue['in_rate']:g}/s come, {queue['out_rate']:g}/s are done"
            yield Finding("CS403", host, f"{name} grew {gain} ({rates})", _more(seen, name))
    dead = told["queues"].get(dead_letters(seen.name))
    count = (dead["ready"] + dead["unacknowledged"]) if dead else 0
    if count:
        command = f"rabbitmqctl list_queues -p {seen.settings.get('celery_vhost', seen.name)} name messages"
        yield Finding("CS404", host, f"{dead_letters(seen.name)} keeps {count} messages", seen.on(host, command))


def grows(queue: Mapping[str, Any], least: int) -> bool:
    """Longer than at the first look, still longer than at the second, and more comes than goes."""
    if queue["before"] is None or queue["window"] < LEAST_WINDOW:
        return False
    now = queue["ready"] + queue["unacknowledged"]
    return bool(now - queue["before"] >= least and now > queue["recent"] and queue["in_rate"] > queue["out_rate"])


def _kinds(seen: Seen, queue: str) -> list[str]:
    return list(dict.fromkeys(consumer["worker"] for consumer in seen.model["queues"][queue]))


def _hosts(seen: Seen, queue: str) -> str:
    return ",".join(dict.fromkeys(consumer["host"] for consumer in seen.model["queues"][queue])) or "celery_workers"


def _start(seen: Seen, queue: str) -> str:
    release = seen.release()
    if not release:
        return seen.playbook("deploy")
    units = [f"{seen.name}-worker-{kind}@{release}.service" for kind in _kinds(seen, queue)]
    return seen.on(_hosts(seen, queue), "systemctl restart", *units)


def _more(seen: Seen, queue: str) -> str:
    kinds = ", ".join(f"celery_workers.{kind}.concurrency" for kind in _kinds(seen, queue))
    return f"{seen.playbook('deploy')} # after raising {kinds}, or with more hosts of this kind in the inventory"


# --- database --------------------------------------------------------------------------------------------------------


def database(seen: Seen) -> Iterator[Finding]:
    for host, told in seen.databases.items():
        if not told.get("answered"):
            if host not in seen.hosts or seen.hosts[host].get("answered"):
                remedy = seen.on(host, "systemctl restart postgresql.service")
                yield Finding("CS503", host, f"the database does not answer: {told.get('why')}", remedy)
            continue
        used, planned = sum(told["roles"].values()), planned_connections(seen)
        most = ", ".join(f"{address} has {count}" for address, count in told["clients"][:3])
        look = seen.on(host, "ps -C postgres -o pid,etime,args")
        if planned is not None and used > planned:
            what = f"the cluster has {used} database connections, {planned} are planned ({most})"
            yield Finding("CS501", host, what, look)
        free = told["limit"] - told["reserved"]
        if told["used"] * 100 >= DATABASE_PERCENT * free:
            yield Finding("CS502", host, f"{told['used']} of {free} database connections are used", look)
        remedy = seen.playbook("site", "--tags postgresql")
        for rule in told["open_rules"]:
            what = (
                f"pg_hba.conf lets {rule['address'] or 'others'} in without TLS (line {rule['line']}, {rule['type']})"
            )
            yield Finding("CS504", host, what, remedy)
        if not told["ssl"]:
            yield Finding("CS504", host, "the server has TLS switched off", remedy)
        if told["plaintext"]:
            yield Finding("CS504", host, f"{told['plaintext']} connections of the cluster are without TLS", remedy)


def planned_connections(seen: Seen) -> int | None:
    """What the server sees of the cluster at most: with a pooler, what the pooler opens."""
    planned = (seen.budget or {}).get("server")
    return int(planned) if planned is not None else seen.model.get("database_connections") or None


# --- the last proof --------------------------------------------------------------------------------------------------


def proof(seen: Seen) -> Iterator[Finding]:
    host = seen.model["submitter"]
    answer = seen.answers.get(host)
    if answer is None:
        return
    remedy = seen.playbook("verify")
    canary = answer["canary"]
    if canary is None:
        if seen.limits.canary_hours:
            yield Finding("CS602", host, "no task was ever sent to prove the cluster", remedy)
        return
    failed = [row for row in canary["results"] if not row["ok"]]
    age = duration(answer["time"] - canary["time"])
    if failed:
        places = ", ".join(f"{row['queue']} on {row['host']}" for row in failed[:5])
        yield Finding("CS601", host, f"{len(failed)} tasks of the proof {age} ago failed: {places}", remedy)
    elif seen.limits.canary_hours and answer["time"] - canary["time"] > seen.limits.canary_hours * HOUR:
        yield Finding("CS602", host, f"the last proof is {age} old", remedy)


def canary_of(seen: Seen, queue: str) -> dict[str, Any] | None:
    """Of a queue in the last proof: the slowest answer, and when that was."""
    answer = seen.answers.get(seen.model["submitter"])
    canary = answer["canary"] if answer else None
    rows = [row for row in canary["results"] if row["queue"] == queue] if canary else []
    if answer is None or canary is None or not rows:
        return None
    seconds = [row["seconds"] for row in rows if isinstance(row["seconds"], (int, float))]
    return {
        "ok": all(row["ok"] for row in rows),
        "seconds": max(seconds, default=None),
        "age": answer["time"] - canary["time"],
    }

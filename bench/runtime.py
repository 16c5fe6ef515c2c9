"""What is deployed: tasks per second and latency beside hand-started workers, and the time a broker's death costs.

Makes the containers of the scenario `broker_cluster`, with the collection's default worker units, measures, writes
.cache/bench/runtime.json, and removes them. From the root of a checkout after `make setup`:
    .venv/bin/python bench/runtime.py [--tasks N] [--rounds N] [--kills N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import containers
import results
from common import CACHE, CHECKOUT, UserError, main, say
from process import logged, tail, termination_as_exit, tools_environment
from runtime_cluster import (
    BROKERS,
    SCENARIO,
    SUBMITTER,
    UNITS,
    VARIABLES,
    Fleet,
    consumed_at,
    container,
    is_whole,
    kill,
    lead,
    offer_plaintext,
    on,
    started_by_hand,
    units,
    wait_until,
)
from runtime_figures import milliseconds, of_numbers, per_second, seconds_after

LOG = CACHE / "logs" / "bench-runtime.log"
Figures = dict[str, list[float]]

SAME = (
    "Both: the same release, hosts and brokers, concurrency 2 on each of two hosts, prefork with Celery's own "
    "prefetch, log level INFO, a quorum queue of three members with the same leader and delivery limit, "
    "persistent messages, publisher confirms, late acknowledgement with reject_on_worker_lost, no result."
)
DIFFERENT = (
    "Ours only: TLS with verified names, the agent, the unit with its hardening, journal and watchdog. By hand only: "
    "gossip and mingle, and a file as log."
)


def molecule(*argv: str) -> None:
    if logged(["molecule", *argv], LOG, env=tools_environment({"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"})):
        raise UserError(f"molecule {' '.join(argv)} failed:\n{tail(LOG, 40)}")


def make() -> None:
    molecule("create", "-s", SCENARIO)
    containers.put(container(SUBMITTER), str(CHECKOUT / "bench" / "pace"), "/srv/ledger/pace")
    molecule("converge", "-s", SCENARIO, "--", "-e", json.dumps(VARIABLES))
    # Who watches the workers makes them send events for every task: here nobody does, of either kind.
    on(SUBMITTER, "systemctl", "stop", "ledger-flower*", "ledger-beat*")


# --- throughput -------------------------------------------------------------------------------------------------------


def filled_and_emptied(fleet: Fleet, tasks: int) -> tuple[float, float]:
    """Tasks per second into a queue that nobody consumes, and out of it."""
    fleet.tell("cancel_consumer", queue="celery")
    fleet.records()
    first = fleet.numbers(tasks)
    sent = fleet.publish(first, tasks)
    if sent["faults"]:
        raise UserError(f"{fleet.kind}: {len(sent['faults'])} tasks were not sent: {sent['faults'][:3]}")
    # All workers begin at once.
    fleet.tell("add_consumer", queue="celery")
    fleet.wait(tasks)
    return tasks / sent["seconds"], per_second(of_numbers(fleet.records(), first, tasks))


def delays(fleet: Fleet, count: int) -> tuple[float, float]:
    """One task after the other on an idle system."""
    fleet.records()
    first = fleet.numbers(count)
    sent = fleet.publish(first, count, every=0.05)
    if sent["faults"]:
        raise UserError(f"{fleet.kind}: {len(sent['faults'])} tasks were not sent: {sent['faults'][:3]}")
    fleet.wait(count)
    return milliseconds(of_numbers(fleet.records(), first, count))


def compared(fleets: list[Fleet], tasks: int, rounds: int) -> dict[str, Figures]:
    found: dict[str, Figures] = {
        name: {fleet.kind: [] for fleet in fleets} for name in ("publish", "consume", "p50", "p95")
    }
    for number in range(rounds):
        # Who begins has the machine in another state than who follows.
        for fleet in fleets if number % 2 == 0 else fleets[::-1]:
            published, consumed = filled_and_emptied(fleet, tasks)
            half, most = delays(fleet, 200)
            for name, value in (("publish", published), ("consume", consumed), ("p50", half), ("p95", most)):
                found[name][fleet.kind].append(round(value, 2))
            say(
                f"{fleet.kind:<8} {published:8.0f} sent/s {consumed:8.0f} executed/s "
                f"{half:6.1f} ms half {most:6.1f} ms 95 %"
            )
    return found


# --- a broker dies ----------------------------------------------------------------------------------------------------


def death(fleet: Fleet) -> float:
    """Kill the one broker that the one worker consumes at, and that leads its queue."""
    wait_until(is_whole, "all brokers and queues are whole")
    wait_until(lambda: len(consumed_at(fleet.vhost)) == 1, "one consumer")
    (victim,) = consumed_at(fleet.vhost)
    lead(fleet.vhost, victim)
    fleet.records()
    count = 200
    first = fleet.numbers(count)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(fleet.publish, first, count, every=0.1)
        # It flows.
        fleet.wait(20)
        killed = kill(victim)
        sent = sending.result()
    unsure = {int(fault.partition(":")[0]) for fault in sent["faults"]}
    fleet.wait(count - len(unsure))
    records = fleet.records()
    for number in range(first, first + count):
        if number not in unsure:
            of_numbers(records, number, 1)
    seconds = seconds_after(records, killed)
    say(f"{victim} killed: {seconds:.2f} s until the next task; not sent: {len(unsure)}")
    return round(seconds, 3)


def deaths(fleet: Fleet, kills: int) -> list[float]:
    away = fleet.workers.pop()
    on(away, "systemctl", "stop", UNITS)
    return [death(fleet) for _kill in range(kills)]


# --- all of it --------------------------------------------------------------------------------------------------------


def cases(found: dict[str, Figures], seconds: list[float], tasks: int) -> list[dict[str, Any]]:
    ratio = [{"figure": "ours", "against": "plain", "at_least": 0.9}]
    note = f"{SAME} {DIFFERENT}"
    told = [
        ("Default units: publish", "tasks/s", found["publish"], ratio, f"{tasks} tasks by one process. {note}"),
        (
            "Default units: consume",
            "tasks/s",
            found["consume"],
            ratio,
            f"{tasks} waiting tasks that do nothing, first to last execution. {note}",
        ),
        ("Default units: latency, half", "ms", found["p50"], [], "From sending to the first line of the task, idle."),
        ("Default units: latency, 95 of 100", "ms", found["p95"], [], "200 tasks in each round, one every 50 ms."),
        (
            "Broker killed → next task executed",
            "s",
            {"ours": seconds},
            [{"figure": "ours", "against": None, "at_most": 5}],
            "One worker, a task every 100 ms. The victim is the broker it consumes at, which leads the queue. "
            "Until a task begins that was sent after the SIGKILL; no task was lost.",
        ),
    ]
    keys = ("case", "unit", "figures", "goals", "note")
    return [dict(zip(keys, case, strict=True)) for case in told if any(case[2].values())]


def benchmark(tasks: int, rounds: int, kills: int) -> None:
    LOG.unlink(missing_ok=True)
    facts = results.machine()
    try:
        make()
        ours, plain = units(), started_by_hand(offer_plaintext())
        for fleet in (ours, plain):
            # Whatever Flower asked for before.
            fleet.tell("disable_events")
            lead(fleet.vhost, BROKERS[0])
        found = compared([ours, plain], tasks, rounds)
        # They would look for brokers that came back without the port.
        plain.end()
        seconds = deaths(ours, kills)
    finally:
        logged(["molecule", "destroy", "-s", SCENARIO], LOG, env=tools_environment())
    for name, figures in found.items():
        median = {kind: statistics.median(values) for kind, values in figures.items()}
        ratio = median["ours"] / median["plain"]
        say(f"{name:<8} ours {median['ours']:8.1f} plain {median['plain']:8.1f} ratio {ratio:.2f}")
    results.write("runtime", cases(found, seconds, tasks), facts)


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=5)
    given = parser.parse_args()
    with termination_as_exit():
        benchmark(given.tasks, given.rounds, given.kills)


if __name__ == "__main__":
    main(command)

"""Part `scale`: what each further worker costs, on one cluster that grows.

    bench/scale.py [--sizes 2,10,25,50] [--rounds 3]
One host is everything else. The workers are small, because many share one machine here.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import limits
import reference
import results
import testbed
from common import main, say
from process import termination_as_exit

SOURCE = "/srv/fileshelf"
NOTHING, FULL, DEPLOY, PING = "nothing to change", "nothing to change, in full", "deploy.yml", "a ping"
#: Seconds for each further worker with nothing to change.
GOAL = 1.2
#: From 10 to 50 hosts the cost of one more stays what it is: its spread on a machine that shares two processors.
FLAT = 1.3

#: These take minutes, and are measured once; in full only as far as the line goes on as it began.
LARGEST_IN_FULL = 10
ONCE = (FULL, DEPLOY)


def growth(seconds: dict[int, list[float]]) -> dict[str, list[float]]:
    """Seconds for each further worker, from one size to the next; one figure for each repetition."""
    return {
        f"{small} to {large}": [
            round((there - here) / (large - small), 4)
            for here, there in zip(seconds[small], seconds[large], strict=False)
        ]
        for small, large in pairwise(sorted(seconds))
    }


def cases(found: dict[str, dict[int, list[float]]]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for what, seconds in found.items():
        figures = {f"{size} workers": values for size, values in sorted(seconds.items())}
        note = "one repetition" if what in ONCE else ""
        told.append({"case": f"{what}, by workers", "unit": "s", "figures": figures, "goals": [], "note": note})
    for what, seconds in found.items():
        figures = growth(seconds)
        goals: list[dict[str, Any]] = []
        if what == NOTHING and figures:
            goals = [{"figure": step, "against": None, "at_most": GOAL} for step in figures]
            last = list(figures)[-2:]
            if len(last) == 2:
                goals.append({"figure": last[1], "against": last[0], "at_most": FLAT})
        told.append(
            {"case": f"{what}, each further worker", "unit": "s", "figures": figures, "goals": goals, "note": ""}
        )
    return told


class Growing:
    """The cluster, and what was measured on it."""

    def __init__(self, rounds: int) -> None:
        self.cluster = testbed.Cluster("scale")
        self.rounds = rounds
        self.found: dict[str, dict[int, list[float]]] = {}

    def describe(self, size: int) -> None:
        everything = ("rabbitmq", "postgresql", "celery_source", "celery_beat", "flower")
        groups = {name: ["core1"] for name in everything}
        groups["celery_workers"] = [f"worker{number}" for number in range(1, size + 1)]
        kinds = {"small": {"queues": ["celery", "intake", "text", "reports"], "concurrency": 1, "pool": "solo"}}
        variables = {
            **{"celery_name": "fileshelf", "celery_app": "fileshelf.celery:app", "celery_workers": kinds},
            **{"code_source_path": SOURCE, "testbed_source": "examples/fileshelf", "testbed_variant": testbed.VARIANT},
            # The same at every size: another number restarts the database.
            "postgresql_max_connections": 400,
        }
        self.cluster.describe(testbed.inventory(self.cluster, groups, variables))

    def measure(self, what: str, size: int, seconds: float) -> None:
        say(f"  {size} workers, {what}: {seconds:.1f} s")
        self.found.setdefault(what, {}).setdefault(size, []).append(round(seconds, 3))

    def deploy(self) -> float:
        self.cluster.on("core1", "sh", "-c", f"date +'# %s.%N' >> {SOURCE}/fileshelf/text.py")
        return self.cluster.play("playbooks/deploy.yml")

    def grow(self, size: int) -> None:
        self.describe(size)
        self.cluster.up()
        say(f"  {size} workers, site.yml: {self.cluster.play('site.yml'):.1f} s")
        # As in the part `site`: a run after the one that grew may still have something to write down.
        self.cluster.play("site.yml")
        for _round in range(self.rounds):
            self.measure(PING, size, self.cluster.play("bench/ping.yml"))
            self.measure(NOTHING, size, self.cluster.play("site.yml", unchanged=True))
        if size <= LARGEST_IN_FULL:
            self.measure(FULL, size, self.cluster.play("site.yml", *reference.IN_FULL, unchanged=True))
        # Last: it is a change, after which the next run has something to learn.
        self.measure(DEPLOY, size, self.deploy())


def benchmark(sizes: list[int], rounds: int) -> None:
    facts = results.machine()
    testbed.preinstalled()
    growing = Growing(rounds)
    growing.cluster.log.unlink(missing_ok=True)
    try:
        growing.cluster.begin()
        for number, size in enumerate(sorted(sizes), 1):
            growing.grow(size)
            # Of a run that is interrupted, or finds no room for more, the smaller sizes are kept.
            results.write("scale", cases(growing.found), {**facts, "sizes": sorted(sizes)[:number]})
    finally:
        growing.cluster.down()
    say(results.table(cases(growing.found)))


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="2,10,25,50")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")]
    # The workers, and the host that is everything else.
    with termination_as_exit(), limits.room_for(max(sizes) + 1):
        benchmark(sizes, given.rounds)


if __name__ == "__main__":
    main(command)

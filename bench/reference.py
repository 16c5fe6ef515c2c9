"""Part `site`: the reference cluster of five hosts, by site.yml, by a shell script, and the conventional way.

    bench/reference.py [--rounds N] [--without-bare] [--ways ours,floor,conventional]
bench/README.md says what is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import results
import testbed
from common import CHECKOUT, UserError, main, say
from process import termination_as_exit

BENCH = CHECKOUT / "bench"
SOURCE = "/srv/fileshelf"
QUEUES = ["celery", "intake", "reports", "text"]
WORKERS = ["worker1", "worker2"]
ADDED = "worker3"
OURS, FLOOR, CONVENTIONAL, PING, FULL = "ours", "floor", "conventional", "ping", "ours, in full"
#: site.yml without the short way that its own record allows.
IN_FULL = ("-e", "celery_receipt_hours=0")
PUBLISHER = (
    "set -a; . /opt/fileshelf/config/producer.env; cd /var/lib/fileshelf; "
    "exec setpriv --reuid=fileshelf --regid=fileshelf --init-groups /opt/fileshelf/venv/bin/python -"
)
#: How the application is started by hand, as the account and with the environment of a publisher.
COMMANDS = {
    OURS: ["/opt/fileshelf/bin/celery-run", "python", "-"],
    FLOOR: ["sh", "-c", PUBLISHER],
    CONVENTIONAL: ["sh", "-c", PUBLISHER],
}
KINDS = {
    "intake": {"queues": ["celery", "intake"], "concurrency": 2},
    "text": {"queues": ["text", "reports"], "concurrency": 2, "prefetch_multiplier": 1, "max_tasks_per_child": 200},
}


class Way:
    """One of the three ways to the same end state, on containers of its own."""

    def __init__(self, name: str, part: str = "site", more: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.more = more or {}
        self.cluster = testbed.Cluster(part)

    def describe(self, variant: str, workers: list[str]) -> None:
        groups = {
            **{"rabbitmq": ["broker1"], "postgresql": ["db1"], "celery_source": ["app1"], "celery_beat": ["app1"]},
            **{"flower": ["app1"], "celery_workers": workers},
        }
        ours = {"celery_name": "fileshelf", "celery_app": "fileshelf.celery:app", "celery_workers": KINDS}
        variables = {**ours, "code_source_path": SOURCE, "testbed_source": "examples/fileshelf"}
        content = testbed.inventory(self.cluster, groups, {**variables, "testbed_variant": variant, **self.more})
        self.cluster.describe(content)

    def begin(self, variant: str) -> None:
        self.cluster.begin()
        self.describe(variant, WORKERS)
        self.cluster.up()

    def run(self, *arguments: str, unchanged: bool = False, workers: list[str] | None = None) -> float:
        """Seconds until the cluster is what it shall be."""
        if self.name == OURS:
            return self.cluster.play("site.yml", *arguments, unchanged=unchanged)
        if self.name == CONVENTIONAL:
            return self.cluster.play("bench/conventional/site.yml", *arguments, unchanged=unchanged)
        index = testbed.index_variables()
        more = {
            "FLOOR_ANCHOR": "".join(index["celery_extra_trust_anchors"]),
            "FLOOR_INDEX": str(index["code_index_url"]),
        }
        work = str(self.cluster.directory / "floor")
        script = str(BENCH / "floor" / "floor.sh")
        argv = ["bash", script, self.cluster.container(""), work, SOURCE, *(workers or WORKERS)]
        return self.cluster.logged(argv, env={**os.environ, **more})

    def prove(self) -> None:
        answered = json.loads(self.cluster.on("app1", *COMMANDS[self.name], given=BENCH / "proof.py"))
        if answered != QUEUES:
            raise UserError(f"{self.name}: only {answered} of the queues {QUEUES} answered")

    def ping(self) -> float:
        return self.cluster.play("bench/ping.yml")


class Figures:
    """Case -> figure -> seconds, told as they come."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, list[float]]] = {}

    def add(self, case: str, figure: str, seconds: float) -> None:
        say(f"  {case}, {figure}: {seconds:.1f} s")
        self.found.setdefault(case, {}).setdefault(figure, []).append(round(seconds, 3))

    def of(self, case: str, *order: str) -> dict[str, list[float]]:
        """In one order, whatever was measured first."""
        figures = self.found.get(case, {})
        return {name: figures[name] for name in order if name in figures}


BARE, FIRST, NOTHING = "first run, bare base", "first run, preinstalled image", "nothing to change, 5 hosts"
ADDING, DEPLOY, STATUS = "one worker more", "code-only deploy, small tree", "status.yml"


def bare(way: Way, figures: Figures) -> None:
    way.begin("")
    figures.add(BARE, way.name, way.run())
    way.prove()


def preinstalled(way: Way, figures: Figures, rounds: int) -> None:
    way.begin(testbed.VARIANT)
    figures.add(FIRST, way.name, way.run())
    way.prove()
    # Not measured: a run after the first one may still have something to write down.
    way.run()
    for _round in range(rounds):
        # Ping stands beside ours, in the same minute.
        if way.name == OURS:
            figures.add(NOTHING, PING, way.ping())
        figures.add(NOTHING, way.name, way.run(unchanged=True))
    if way.name == OURS:
        only_ours(way, figures, rounds)
    grown = [*WORKERS, ADDED]
    way.describe(testbed.VARIANT, grown)
    # This puts the application on its host once more: without the files that the deploys changed.
    way.cluster.up()
    if way.name == OURS:
        # Not measured: after the deploys no receipt is true, and the code is another one again.
        way.describe(testbed.VARIANT, WORKERS)
        way.run()
        way.describe(testbed.VARIANT, grown)
    figures.add(ADDING, way.name, way.run(workers=grown))
    way.prove()


def only_ours(way: Way, figures: Figures, rounds: int) -> None:
    for _round in range(rounds):
        figures.add(NOTHING, FULL, way.run(*IN_FULL, unchanged=True))
    for case, measure in ((STATUS, lambda: way.cluster.play("playbooks/status.yml")), (DEPLOY, lambda: deploy(way))):
        for _round in range(rounds):
            figures.add(case, PING, way.ping())
            figures.add(case, OURS, measure())


def change(way: Way) -> None:
    """One file of the application is another one."""
    way.cluster.on("app1", "sh", "-c", f"date +'# %s.%N' >> {SOURCE}/fileshelf/text.py")


def deploy(way: Way) -> float:
    change(way)
    return way.cluster.play("playbooks/deploy.yml")


def cases(figures: Figures) -> list[dict[str, Any]]:
    def limit(against: str, at_most: float, figure: str = OURS) -> dict[str, Any]:
        return {"figure": figure, "against": against, "at_most": at_most}

    quarter, twelve, double = limit(CONVENTIONAL, 0.25), limit(PING, 12), limit(FLOOR, 2)
    told: list[tuple[str, list[str], list[dict[str, Any]], str]] = [
        (BARE, [OURS, FLOOR, CONVENTIONAL], [double], "one repetition"),
        (FIRST, [OURS, FLOOR, CONVENTIONAL], [], "one repetition; every package is in the image"),
        (NOTHING, [OURS, FULL, FLOOR, CONVENTIONAL, PING], [quarter, twelve], "in full: celery_receipt_hours=0"),
        (ADDING, [OURS, FLOOR, CONVENTIONAL], [], "one repetition, after a run over everything"),
        (DEPLOY, [OURS, PING], [], "one changed file of the example"),
        (STATUS, [OURS, PING], [], ""),
    ]
    return [
        {"case": case, "unit": "s", "figures": found, "goals": goals, "note": note}
        for case, order, goals, note in told
        if (found := figures.of(case, *order))
    ]


def benchmark(rounds: int, ways: list[str], with_bare: bool) -> None:
    facts, figures = results.machine(), Figures()
    testbed.preinstalled()
    steps: list[Callable[[Way], None]] = [lambda way: bare(way, figures)] if with_bare else []
    steps.append(lambda way: preinstalled(way, figures, rounds))
    testbed.Cluster("site").log.unlink(missing_ok=True)
    for name in ways:
        way = Way(name)
        for step in steps:
            say(name)
            try:
                step(way)
            finally:
                way.cluster.down()
    say(results.table(cases(figures)))
    if set(ways) == set(COMMANDS) and with_bare:
        results.write("site", cases(figures), facts)
    else:
        say("a part of the ways alone is told and not written down: ratios are those of one run")


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=f"{FLOOR},{CONVENTIONAL},{OURS}")
    parser.add_argument("--without-bare", action="store_true")
    given = parser.parse_args()
    begun = time.monotonic()
    with termination_as_exit():
        benchmark(given.rounds, given.ways.split(","), not given.without_bare)
    say(f"{(time.monotonic() - begun) / 60:.0f} min")


if __name__ == "__main__":
    main(command)

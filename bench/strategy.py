"""Part `strategy`: a first run, a run in full and a deploy under Mitogen's strategies, beside Ansible's own.

    bench/strategy.py [--rounds N]
Mitogen is never required. It is installed below .cache for this alone; when it does not run, its own words are told.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import reference
import results
import testbed
from bootstrap import installer_environment
from common import CACHE, CHECKOUT, UserError, main, must, say
from process import termination_as_exit

VERSION = "0.3.54"
DIRECTORY = CACHE / "bench" / "mitogen"
ADAPTED = CACHE / "bench" / "mitogen-playbooks"
OWN, MITOGEN = "linear and free", "mitogen"


def install() -> None:
    if (DIRECTORY / "ansible_mitogen").is_dir() and list(DIRECTORY.glob(f"mitogen-{VERSION}.dist-info")):
        return
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    uv = [str(CHECKOUT / ".venv" / "bin" / "uv"), "pip", "install", "--quiet", "--target", str(DIRECTORY)]
    must([*uv, f"mitogen=={VERSION}"], attempts=2, env=installer_environment(), hint="is the package index reachable?")


def adapted(source: Path, target: Path) -> Path:
    """The playbooks as they would be written for it: plays that name a strategy name Mitogen's."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    for file in target.glob("*.yml"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("strategy: ansible.builtin.free", "strategy: mitogen_free"), encoding="utf-8")
    return target


def environment() -> dict[str, str]:
    return {
        "ANSIBLE_STRATEGY_PLUGINS": str(DIRECTORY / "ansible_mitogen" / "plugins" / "strategy"),
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "PYTHONPATH": os.pathsep.join([str(DIRECTORY), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


class Comparison:
    """One case under both. What Mitogen cannot run is told in its own words, and not tried again."""

    def __init__(self, cluster: testbed.Cluster, name: str, playbook: str, *arguments: str) -> None:
        self.cluster, self.name, self.playbook, self.arguments = cluster, name, playbook, arguments
        self.found: dict[str, list[float]] = {MITOGEN: [], OWN: []}
        self.refused = ""

    def measure(self, what: str, before: Callable[[], None]) -> None:
        if what == MITOGEN and self.refused:
            return
        before()
        directory, env = (ADAPTED, environment()) if what == MITOGEN else (CHECKOUT / "playbooks", None)
        try:
            seconds = self.cluster.play(str(directory / self.playbook), *self.arguments, env=env)
        except UserError as refusal:
            if what == OWN:
                raise
            # Its result: the first words of the failure.
            self.refused = reason(str(refusal))
            say(f"  {self.name}: Mitogen {VERSION} does not run: {self.refused}")
            return
        self.add(what, seconds)

    def add(self, what: str, seconds: float) -> None:
        say(f"  {self.name}, {what}: {seconds:.1f} s")
        self.found.setdefault(what, []).append(round(seconds, 3))

    def case(self) -> dict[str, Any]:
        figures = {what: values for what, values in self.found.items() if values}
        note = f"Mitogen {VERSION} fails: {self.refused}" if self.refused else f"Mitogen {VERSION}"
        return {"case": f"{self.name}, Mitogen", "unit": "s", "figures": figures, "goals": [], "note": note}


def measured(way: reference.Way, rounds: int) -> list[dict[str, Any]]:
    def nothing() -> None:
        """What runs is what the run before it left."""

    first = Comparison(way.cluster, reference.BARE, "site.yml")
    in_full = Comparison(way.cluster, f"{reference.NOTHING}, in full", "site.yml", *reference.IN_FULL)
    deploy = Comparison(way.cluster, reference.DEPLOY, "deploy.yml")
    floor = reference.Way(reference.FLOOR, "strategy", way.more)
    floor.begin("")
    first.add(reference.FLOOR, floor.run())
    # Ansible's own comes last: the cluster that it makes is the one for what follows.
    for what in (MITOGEN, OWN):
        first.measure(what, lambda: way.begin(""))
    way.run()
    for comparison, before in ((in_full, nothing), (deploy, lambda: reference.change(way))):
        for _round in range(rounds):
            for what in (OWN, MITOGEN):
                comparison.measure(what, before)
    return [comparison.case() for comparison in (first, in_full, deploy)]


def reason(text: str) -> str:
    """The line of a failed run that says why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "[ERROR]", "ERROR", "failed:")) or "Error" in line]
    return (telling or lines or ["no output"])[0][:300]


def benchmark(rounds: int) -> None:
    facts = results.machine()
    install()
    adapted(CHECKOUT / "playbooks", ADAPTED)
    # Both are told the interpreter: Mitogen does not find it with the shipped `interpreter_python = auto_silent`.
    # By this name it takes the connection over; through community.docker.docker it would only cost its start.
    known = {"ansible_python_interpreter": "/usr/bin/python3", "ansible_connection": "docker"}
    way = reference.Way(reference.OURS, "strategy", known)
    way.cluster.log.unlink(missing_ok=True)
    try:
        cases = measured(way, rounds)
    finally:
        way.cluster.down()
    results.write("strategy", cases, {**facts, "mitogen": VERSION})
    say(results.table(cases))


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with termination_as_exit():
        benchmark(given.rounds)


if __name__ == "__main__":
    main(command)

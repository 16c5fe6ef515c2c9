"""Part `strategy`: site.yml and deploy.yml under Mitogen's strategies, beside Ansible's own.

    bench/strategy.py [--rounds N]
Mitogen is never required. It is installed below .cache for this alone; when it does not run, its own words are told.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
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
OWN, MITOGEN = "linear and free", "mitogen"
NOTHING, DEPLOY = "nothing to change, in full", "code-only deploy, small tree"


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


def case(name: str, found: dict[str, list[float]], note: str) -> dict[str, Any]:
    figures = {what: [round(value, 3) for value in found[what]] for what in (MITOGEN, OWN) if found.get(what)}
    return {"case": f"{name}, Mitogen", "unit": "s", "figures": figures, "goals": [], "note": note}


def measured(way: reference.Way, playbooks: Path, rounds: int) -> list[dict[str, Any]]:
    cluster, cases = way.cluster, []

    def change() -> None:
        path = f"{reference.SOURCE}/fileshelf/text.py"
        cluster.on("app1", "sh", "-c", f"date +'# %s.%N' >> {path}")

    for name, playbook, more in ((NOTHING, "site.yml", reference.IN_FULL), (DEPLOY, "deploy.yml", ())):
        found: dict[str, list[float]] = {}
        note = ""
        for _round in range(rounds):
            for what, directory in ((OWN, CHECKOUT / "playbooks"), (MITOGEN, playbooks)):
                if note and what == MITOGEN:
                    continue
                if name == DEPLOY:
                    change()
                try:
                    env = environment() if what == MITOGEN else None
                    seconds = cluster.play(str(directory / playbook), *more, env=env)
                except UserError as refusal:
                    if what == OWN:
                        raise
                    # Its result: the first words of the failure.
                    note = reason(str(refusal))
                    say(f"  {name}: Mitogen {VERSION} does not run: {note}")
                    continue
                say(f"  {name}, {what}: {seconds:.1f} s")
                found.setdefault(what, []).append(seconds)
        cases.append(case(name, found, f"Mitogen {VERSION} fails: {note}" if note else f"Mitogen {VERSION}"))
    return cases


def reason(text: str) -> str:
    """The line of a failed run that says why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "[ERROR]", "ERROR", "failed:")) or "Error" in line]
    return (telling or lines or ["no output"])[0][:300]


def benchmark(rounds: int) -> None:
    facts = results.machine()
    install()
    testbed.preinstalled()
    # Both are told the interpreter: Mitogen does not find it with the shipped `interpreter_python = auto_silent`.
    # By this name it takes the connection over; through community.docker.docker it would only cost its start.
    known = {"ansible_python_interpreter": "/usr/bin/python3", "ansible_connection": "docker"}
    way = reference.Way(reference.OURS, "strategy", known)
    way.cluster.log.unlink(missing_ok=True)
    try:
        way.begin(testbed.VARIANT)
        way.run()
        way.run()
        playbooks = adapted(CHECKOUT / "playbooks", way.cluster.directory / "playbooks")
        cases = measured(way, playbooks, rounds)
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

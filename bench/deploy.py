"""A deploy of one changed file in a large tree to two hosts, beside the bare rsync of the same tree.

Part `deploy`: makes the containers of the scenario `deploy`, measures, and removes them.
    bench/deploy.py [--files N] [--megabytes N] [--rounds N]
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import results
from common import CACHE, CHECKOUT, UserError, main, run, say
from process import logged, tail, termination_as_exit, tools_environment

SCENARIO = "deploy"
SOURCE, WORKERS = "core1", ("worker1", "worker2")
NAME, ROOT, TREE = "ledger", "/opt/ledger", "/srv/ledger"
LOG = CACHE / "logs" / "bench-deploy.log"
BARE, DEPLOY, START = "bare rsync", "deploy.yml", "worker start"
#: What the goal speaks of: a worker starts as long as its application imports.
OURS = "deploy.yml without worker start"
# Random content: neither rsync nor a file system makes less of it.
FILL = """
import os, pathlib, sys
files, size = int(sys.argv[1]), int(sys.argv[2])
for number in range(files):
    directory = pathlib.Path(sys.argv[3], f"{number // 100:04d}")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{number % 100:02d}.bin").write_bytes(os.urandom(size))
"""


def on(host: str, *argv: str) -> str:
    done = run(["docker", "exec", "-i", f"taskfleet-{SCENARIO}-{host}", *argv], timeout=1800)
    if done.returncode:
        raise UserError(f"{host}: {' '.join(argv)[:200]}: {done.stdout}{done.stderr}")
    return done.stdout


def logged_or_refused(*argv: str) -> float:
    begun = time.monotonic()
    if logged(argv, LOG, env=tools_environment({"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"})):
        raise UserError(f"{' '.join(argv)} failed:\n{tail(LOG, 40)}")
    return time.monotonic() - begun


def deploy() -> float:
    """A deploy with one more changed file."""
    on(SOURCE, "sh", "-c", f"date +'# %s.%N' >> {TREE}/ledger/edition.py")
    # A checkout that was moved has molecule's notes of the place before, too.
    found = (CHECKOUT / ".ansible" / "tmp").glob(f"molecule.*.{SCENARIO}")
    notes = max(found, key=lambda directory: directory.stat().st_mtime)
    return logged_or_refused("ansible-playbook", "-i", str(notes / "inventory"), "playbooks/deploy.yml")


def bare_rsync(host: str) -> None:
    """What an operator would type: the tree over SSH, with what did not change as links into the release before."""
    keys = f"{ROOT}/ssh/known_hosts"
    address = on(host, "cut", "-d", " ", "-f1", keys).split()[0]
    on(host, "mkdir", "-p", f"{ROOT}/bench/old", f"{ROOT}/bench/new")
    ssh = f"ssh -i {ROOT}/ssh/source_key -o IdentitiesOnly=yes -o UserKnownHostsFile={keys}"
    # Into a copy of its own: a release has other modes, and rsync links only what has the same.
    options = ["-rlpt", "--hard-links", "--delete", "--link-dest=../old", f"--rsh={ssh}"]
    # The key is bound to the tree: it is the root of what is asked for.
    on(host, "rsync", *options, f"{NAME}-source@{address}:./", f"{ROOT}/bench/new/")


def bare() -> float:
    """Seconds until both hosts have it."""
    begun = time.monotonic()
    with ThreadPoolExecutor(len(WORKERS)) as pool:
        list(pool.map(bare_rsync, WORKERS))
    seconds = time.monotonic() - begun
    for host in WORKERS:
        on(host, "sh", "-c", f"cd {ROOT}/bench && rm -rf old && mv new old")
    return seconds


def worker_start() -> float:
    """The slowest worker of the current release, from its start until it was ready (systemd's clock)."""
    found = []
    for host in WORKERS:
        release = Path(on(host, "readlink", f"{ROOT}/current").strip()).name
        text = on(
            host,
            "systemctl",
            "show",
            "-p",
            "InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic",
            f"{NAME}-worker-*@{release}.service",
        )
        for block in text.strip().split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines())
            found.append(int(values["ActiveEnterTimestampMonotonic"]) - int(values["InactiveExitTimestampMonotonic"]))
    return max(found) / 1e6


def measured(rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {OURS: [], BARE: [], DEPLOY: [], START: []}
    # What the first one copies.
    bare()
    for _round in range(rounds):
        found[DEPLOY].append(deploy())
        found[START].append(worker_start())
        found[OURS].append(found[DEPLOY][-1] - found[START][-1])
        # Once more what has just changed, against the release before.
        on(SOURCE, "sh", "-c", f"date +'# %s.%N' >> {TREE}/ledger/edition.py")
        found[BARE].append(bare())
    return found


def case(tree: str, found: dict[str, list[float]], limit: float | None) -> dict[str, Any]:
    figures = {what: [round(value, 3) for value in seconds] for what, seconds in found.items()}
    goals = [{"figure": OURS, "against": BARE, "at_most": limit}] if limit else []
    return {"case": f"one changed file, {tree}", "unit": "s", "figures": figures, "goals": goals, "note": "two hosts"}


def benchmark(files: int, megabytes: int, rounds: int) -> None:
    LOG.unlink(missing_ok=True)
    facts, cases = results.machine(), []
    try:
        logged_or_refused("molecule", "create", "-s", SCENARIO)
        logged_or_refused("molecule", "converge", "-s", SCENARIO)
        cases.append(case("the application alone", measured(rounds), None))
        size = megabytes * 1_000_000 // files
        on(SOURCE, "python3", "-c", FILL, str(files), str(size), f"{TREE}/assets")
        say(f"first deploy of {files} files, {megabytes} MB: {deploy():.1f} s")
        cases.append(case(f"{files:,} files, {megabytes} MB", measured(rounds), 2))
    finally:
        logged(["molecule", "destroy", "-s", SCENARIO], LOG, env=tools_environment())
    results.write("deploy", cases, facts)
    say(results.table(cases))


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with termination_as_exit():
        benchmark(given.files, given.megabytes, given.rounds)


if __name__ == "__main__":
    main(command)

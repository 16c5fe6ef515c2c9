"""A deploy of one changed file in a large tree to two hosts, beside the bare rsync of the same tree.

Makes the containers of the scenario `deploy`, measures, prints a table, writes .cache/bench/deploy.json, and removes
them. From the root of a checkout after `make setup`:
    .venv/bin/python bench/deploy.py [--files N] [--megabytes N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from common import CACHE, CHECKOUT, UserError, main, run, say
from process import logged, tail, termination_as_exit, tools_environment

SCENARIO = "deploy"
SOURCE, WORKERS = "core1", ("worker1", "worker2")
NAME, ROOT, TREE = "ledger", "/opt/ledger", "/srv/ledger"
LOG = CACHE / "logs" / "bench-deploy.log"
RESULT = CACHE / "bench" / "deploy.json"
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
    (notes,) = (CHECKOUT / ".ansible" / "tmp").glob(f"molecule.*.{SCENARIO}")
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
    found: dict[str, list[float]] = {"bare rsync": [], "deploy.yml": [], "worker start": []}
    # What the first one copies.
    bare()
    for _round in range(rounds):
        found["deploy.yml"].append(deploy())
        found["worker start"].append(worker_start())
        # Once more what has just changed, against the release before.
        on(SOURCE, "sh", "-c", f"date +'# %s.%N' >> {TREE}/ledger/edition.py")
        found["bare rsync"].append(bare())
    return found


def told(tree: str, found: dict[str, list[float]]) -> dict[str, float]:
    median = {what: statistics.median(seconds) for what, seconds in found.items()}
    median["ratio"] = (median["deploy.yml"] - median["worker start"]) / median["bare rsync"]
    for what, seconds in found.items():
        say(f"{tree:<28} {what:<14} {median[what]:8.1f} s   ({min(seconds):.1f} to {max(seconds):.1f})")
    say(f"{tree:<28} {'ratio':<14} {median['ratio']:8.1f}     (without worker start / bare; goal 2)")
    return median


def benchmark(files: int, megabytes: int, rounds: int) -> None:
    LOG.unlink(missing_ok=True)
    try:
        logged_or_refused("molecule", "create", "-s", SCENARIO)
        logged_or_refused("molecule", "converge", "-s", SCENARIO)
        small = told("the application alone", measured(rounds))
        size = megabytes * 1_000_000 // files
        on(SOURCE, "python3", "-c", FILL, str(files), str(size), f"{TREE}/assets")
        say(f"first deploy of {files} files, {megabytes} MB: {deploy():.1f} s")
        large = told(f"{files} files, {megabytes} MB", measured(rounds))
    finally:
        logged(["molecule", "destroy", "-s", SCENARIO], LOG, env=tools_environment())
    machine = {"processors": os.cpu_count(), "system": platform.platform(), "load": os.getloadavg()}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    given = {"files": files, "megabytes": megabytes, "rounds": rounds}
    RESULT.write_text(json.dumps({**given, "machine": machine, "small": small, "large": large}, indent=2) + "\n")


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

"""All parts of the benchmark, one after the other: `run.py [PART...]`.

Each part makes and removes its own containers, and writes .cache/bench/PART.json. A part that fails is told, the others
go on, and the exit code is 1. At the end the table of all parts that ever ran here is printed, and docs/performance.md
gets its tables and its chart.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import chart
import results
from common import CACHE, CHECKOUT, UserError, main, say
from process import clock, logged, tail, termination_as_exit, tools_environment

BENCH = CHECKOUT / "bench"
#: Part -> its file. The names of standard modules and packages are no names for files beside it.
FILES = {
    "site": "reference.py",
    "scale": "scale.py",
    "deploy": "deploy.py",
    "runtime": "runtime.py",
    "model": "model.py",
    "strategy": "strategy.py",
}


def parts(asked: Sequence[str]) -> list[str]:
    if unknown := sorted(set(asked) - set(FILES)):
        raise UserError(f"there is no part {', '.join(unknown)}: choose from {', '.join(FILES)}")
    return [name for name in FILES if not asked or name in asked]


def run(part: str) -> bool:
    """Whether the part succeeded; its output is kept, and shown when it failed."""
    log = CACHE / "logs" / f"bench-run-{part}.log"
    log.unlink(missing_ok=True)
    say(f"{part} (output: {log.relative_to(CHECKOUT)})")
    begun = time.monotonic()
    argv = [str(CHECKOUT / ".venv" / "bin" / "python"), str(BENCH / FILES[part])]
    code = logged(argv, log, env=tools_environment({"PYTHONUNBUFFERED": "1"}))
    say(f"{part}: {'done' if code == 0 else 'FAILED'} after {clock(time.monotonic() - begun)}")
    if code:
        say(tail(log, 15))
    return code == 0


def report() -> None:
    found = results.read()
    for part, content in found.items():
        facts = content["machine"]
        say(f"\n{part} ({facts.get('date', '')}, load {facts.get('load', ['?'])[0]})")
        say(results.table(content["cases"]))
    chart.update(found)


def command() -> None:
    wanted = parts(sys.argv[1:])
    with termination_as_exit():
        failed = [part for part in wanted if not run(part)]
    report()
    if failed:
        raise UserError(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main(command)

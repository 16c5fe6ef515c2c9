"""Everything that has to hold, one line per step; the last line counts. `test.py [SCENARIO…]` limits the scenarios."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import scenario
from common import CACHE, CHECKOUT, UserError, main, say
from process import logged, tail, termination_as_exit, tools_environment

# Two at a time: more only makes each of them slower on the two cores that CI machines have.
AT_ONCE = 2
# The longest ones begin, so that none of them is left over for the end; what is not named here comes last.
LONGEST_FIRST = ("broker_cluster", "database", "deploy", "operations", "default")
TAIL_LINES = 60
LAST_LINES = 25
# Everything within an hour on two cores. A scenario that is run by itself, or THOROUGH=1, leaves nothing out.
IS_THOROUGH = bool(os.environ.get("THOROUGH"))
LEFT_OUT = {} if IS_THOROUGH else {"PYTEST_ADDOPTS": "-m 'not thorough'"}
TOOLS = CHECKOUT / "tools"


class Step(NamedTuple):
    name: str
    argv: Sequence[str]


PREPARATION = [Step(name, [sys.executable, str(TOOLS / f"{name}.py")]) for name in ("engine", "images")]
CHECKS = [Step(name, ["make", "--no-print-directory", name]) for name in ("unit", "lint", "sanity")]


def of_scenario(name: str) -> Step:
    return Step(f"scenario {name}", [sys.executable, str(TOOLS / "scenario.py"), name])


def turn(name: str) -> int:
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)


def log_of(name: str) -> Path:
    return CACHE / "logs" / f"test-{name.replace(' ', '-')}.log"


class Stopped(BaseException):
    """This run was told to end: whatever runs now is ended, and its containers are removed."""


class Runner:
    def __init__(self) -> None:
        self.results: dict[str, bool] = {}
        self.stopping = threading.Event()
        self.terminal = threading.Lock()

    def go_on(self) -> None:
        if self.stopping.is_set():
            raise Stopped

    def failed(self) -> list[str]:
        return [name for name, passed in self.results.items() if not passed]

    def run(self, step: Step) -> None:
        self.go_on()
        log = log_of(step.name)
        log.unlink(missing_ok=True)
        begun = time.monotonic()
        passed = logged(step.argv, log, env=tools_environment(LEFT_OUT), meanwhile=self.go_on) == 0
        with self.terminal:
            self.results[step.name] = passed
            say(f"{step.name:<28} {'ok' if passed else 'FAILED':<6} {time.monotonic() - begun:6.0f} s")
            if not passed:
                say(f"{tail(log, TAIL_LINES)}\n--- full output: {log}")

    def run_side_by_side(self, steps: Sequence[Step]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            futures = [pool.submit(self.run, step) for step in steps]
            try:
                for future in futures:
                    future.result()
            finally:
                # Only matters when the wait was cut short: the steps then end themselves.
                self.stopping.set()


def command() -> None:
    names = sys.argv[1:] or scenario.names()
    if unknown := sorted(set(names) - set(scenario.names())):
        raise UserError(f"there is no scenario {', '.join(unknown)}: choose from {', '.join(scenario.names())}")
    runner = Runner()
    with termination_as_exit():
        for step in PREPARATION:
            runner.run(step)
        runner.run_side_by_side(CHECKS + [of_scenario(name) for name in sorted(names, key=turn)])
    # Once more and last, where somebody looks who sees only the end of the output.
    failed = runner.failed()
    for name in failed:
        say(f"--- {name} failed:\n{tail(log_of(name), LAST_LINES)}")
    if not IS_THOROUGH:
        say("left out: what is marked thorough (make test THOROUGH=1)")
    say(f"{len(runner.results) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(command)

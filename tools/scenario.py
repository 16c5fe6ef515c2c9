"""Run one molecule scenario: `scenario.py NAME [--quiet]`.

The log is kept; on failure the logs of all hosts are collected before the containers are removed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import containers
from common import CACHE, CHECKOUT, UserError, main, say
from process import logged, termination_as_exit, tools_environment

# Enough lines for each test to see the reason; the rest is in the log.
MOST_ERRORS = 6
LONGEST_LINE = 300


def names() -> list[str]:
    return sorted(file.parent.name for file in (CHECKOUT / "molecule").glob("*/molecule.yml"))


def failures(progress: Path) -> list[str]:
    """The failing tasks with host and message, out of the lines that the callback `phases` wrote."""
    lines = progress.read_text(encoding="utf-8").splitlines() if progress.exists() else []
    first = next((number for number, line in enumerate(lines) if "  FAILED  " in line), len(lines))
    return lines[first:]


def tests_that_failed(log: Path) -> list[str]:
    """What pytest says of its failures: the lines of each error (those with `E`), then its summary, a line per test."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    summary = next((number for number, line in enumerate(lines) if "short test summary info" in line), None)
    if summary is None:
        return []
    end = next((number for number in range(summary + 1, len(lines)) if lines[number].startswith("==")), len(lines))
    errors: list[str] = []
    of_this_test = 0
    for line in lines[:summary]:
        if re.match(r"_{3,} .+ _{3,}$", line):
            of_this_test = 0
        elif re.match(r"E  ", line):
            of_this_test += 1
        else:
            continue
        if of_this_test <= MOST_ERRORS:
            errors.append(line)
    return [line[:LONGEST_LINE] for line in (*errors, *lines[summary + 1 : end])]


class Echo:
    """Shows on the terminal what arrives in the log."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.shown = 0

    def __call__(self) -> None:
        if self.log.exists():
            with self.log.open("rb") as file:
                file.seek(self.shown)
                new = file.read()
            self.shown += len(new)
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()


def scenario(name: str, *, quiet: bool) -> None:
    if name not in names():
        raise UserError(f"there is no scenario {name!r}: choose from {', '.join(names())}")
    logs = {part: CACHE / "logs" / f"{name}.{part}" for part in ("log", "ansible.log", "cleanup.log", "progress")}
    for file in logs.values():
        file.unlink(missing_ok=True)
    log = logs["log"]
    echo = (lambda: None) if quiet else Echo(log)
    env = tools_environment(
        {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "CELERY_CLUSTER_PROGRESS": str(logs["progress"])},
    )

    def molecule(*arguments: str, log: Path = log) -> bool:
        return logged(["molecule", arguments[0], "-s", name, *arguments[1:]], log, env=env, meanwhile=echo) == 0

    passed, folder = False, None
    try:
        # Not `molecule test` alone: it would remove the hosts before their logs are read.
        passed = molecule("destroy") and molecule("test", "--destroy=never")
        folder = None if passed else containers.collect(name)
    finally:
        # Also resets molecule's own notes; an interrupted run leaves at least no container.
        if not molecule("destroy", log=logs["cleanup.log"]):
            containers.remove(name)
    if not passed:
        # Tests also run playbooks that must fail: the progress tells the reason only when no test failed.
        for line in tests_that_failed(log) or failures(logs["progress"]):
            say(line)
        hosts = f"; logs of all hosts: {folder}" if folder else ""
        raise UserError(f"the scenario {name} failed{hosts}; full output: {log}")


def command() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--quiet"]
    if len(arguments) != 1:
        raise UserError(f"usage: scenario.py NAME [--quiet], where NAME is one of {', '.join(names())}")
    with termination_as_exit():
        scenario(arguments[0], quiet="--quiet" in sys.argv)


if __name__ == "__main__":
    main(command)

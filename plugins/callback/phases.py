# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the time of a run went, and what is happening right now."""

from __future__ import annotations

DOCUMENTATION = """
name: phases
type: notification
short_description: Times the phases of a run and names its slowest tasks
version_added: 0.1.0
author: The taskfleet developers (@taskfleet)
description:
  - At the end of a run of several plays, prints every play with the time it took, and the slowest tasks.
  - Optionally writes one line into a file when a play starts, and the failing task, its host and its message when
    the run fails. A driver can show these lines while the full output goes to a log.
  - Loads the collection's filters once, before the first task. Without it every task that uses one compiles them anew.
requirements:
  - enable it in the configuration, with C(callbacks_enabled)
options:
  progress:
    description:
      - The file that the progress lines are appended to. V(/dev/fd/3) is a descriptor that the caller opened.
      - Nothing is written when it is empty.
    type: str
    default: ""
    env:
      - name: CELERY_CLUSTER_PROGRESS
    ini:
      - section: callback_phases
        key: progress
  slowest:
    description:
      - How many of the slowest tasks are named, one line for each host.
      - With V(100000) the list is the profile of a run.
    type: int
    default: 10
    env:
      - name: CELERY_CLUSTER_SLOWEST
    ini:
      - section: callback_phases
        key: slowest
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import filter_loader

# Runs of one or two plays are helpers; their recap says enough.
FEWEST_PLAYS = 3
MESSAGE_LINES = 30
# One of each file: with it the others of the file, and the model that they use, are loaded.
FILTERS = ("plan", "rabbitmq_boot_definitions", "survey_needs", "table", "upgrade_problems", "wanted_certificates")


class TaskTime(NamedTuple):
    seconds: float
    host: str
    task: str


class Failure(NamedTuple):
    task: str
    message: str


def clock(seconds: float) -> str:
    """Minutes and seconds, the way a person reads a stopwatch."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def messages(result: Mapping[str, Any]) -> Iterator[str]:
    """What a failed result says, without the data around it."""
    if result.get("_ansible_no_log"):
        return
    failed_items = [item for item in result.get("results") or [] if isinstance(item, Mapping) and item.get("failed")]
    if failed_items:
        for item in failed_items:
            yield from messages(item)
        return
    yield str(result.get("msg") or "").strip()
    # A command's own words are worth more than "non-zero return code".
    yield str(result.get("stderr") or result.get("module_stderr") or result.get("stdout") or "").strip()


def failure_message(result: Mapping[str, Any], *, hidden: bool) -> str:
    """The message of a failed task; a task with `no_log` keeps its secret here as well."""
    if hidden or result.get("_ansible_no_log") or "censored" in result:
        return "(the task handles secrets, so its message is hidden)"
    lines = "\n".join(dict.fromkeys(text for text in messages(result) if text)).splitlines()
    return "\n".join(line for line in lines[-MESSAGE_LINES:] if line.strip()) or "(the task gave no message)"


def phase_report(phases: list[tuple[str, float]]) -> list[str]:
    total = sum(seconds for _name, seconds in phases)
    return [
        "Phases",
        *(f"  {clock(seconds)}  {name}" for name, seconds in phases),
        f"  {clock(total)}  together",
    ]


def task_report(tasks: list[TaskTime], most: int) -> list[str]:
    slowest = sorted(tasks, reverse=True)[:most]
    width = max((len(timed.host) for timed in slowest), default=0)
    return [
        "Slowest tasks",
        *(f"  {timed.seconds:7.1f} s  {timed.host:<{width}}  {timed.task}" for timed in slowest),
    ]


def load_filters() -> None:
    """Ansible keeps no bytecode of a collection, so that each task's process would compile again what it uses.

    Those processes are forks of this one: what is loaded here is there in all of them.
    """
    for name in FILTERS:
        filter_loader.get(f"taskfleet.celery_cluster.{name}")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "taskfleet.celery_cluster.phases"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display: Any = None) -> None:
        super().__init__(display=display)
        self._begun = time.monotonic()
        self._plays: list[tuple[str, float]] = []
        self._running: dict[tuple[str, str], float] = {}
        self._tasks: list[TaskTime] = []
        self._failures: dict[str, Failure] = {}
        load_filters()

    def _progress(self, text: str) -> None:
        if path := self.get_option("progress"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"{text}\n")

    def _end(self, result: Any) -> None:
        # The strategy `free` runs different tasks at once: what identifies a run of a task is the pair.
        host, task = result.host.get_name(), result.task
        begun = self._running.pop((host, task._uuid), None)
        if begun is not None:
            self._tasks.append(TaskTime(time.monotonic() - begun, host, task.get_name()))

    def _fail(self, result: Any) -> None:
        self._end(result)
        message = failure_message(result.result, hidden=bool(result.task.no_log))
        self._failures[result.host.get_name()] = Failure(result.task.get_name(), message)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        now = time.monotonic()
        self._plays.append((play.get_name(), now))
        self._progress(f"{clock(now - self._begun)}  {play.get_name()}")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._running[host.get_name(), task._uuid] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._end(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._end(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if ignore_errors:
            self._end(result)
        else:
            self._fail(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._fail(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        now = time.monotonic()
        # A rescued failure is not in the statistics: only what really ended a host is told.
        for host in sorted({*stats.failures, *stats.dark}):
            failure = self._failures.get(host, Failure("(no task)", "(no message)"))
            self._progress(f"{clock(now - self._begun)}  FAILED  {host}: {failure.task}")
            for line in failure.message.splitlines():
                self._progress(f"         {line}")
        if len(self._plays) < FEWEST_PLAYS:
            return
        ends = [*(begun for _name, begun in self._plays[1:]), now]
        phases = [(name, end - begun) for (name, begun), end in zip(self._plays, ends, strict=True)]
        for line in ["", *phase_report(phases), "", *task_report(self._tasks, self.get_option("slowest")), ""]:
            self._display.display(line)

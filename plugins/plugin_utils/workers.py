# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One kind of worker: its options, checked and completed, and the command line they become."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .text import environment_problems

POOLS = ("prefork", "threads", "gevent", "eventlet", "solo")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

#: A celery command line separates queues by commas; the rest is what AMQP and shells carry without quoting.
QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,200}")
MEMORY = re.compile(r"[1-9][0-9]*[KMGT]?")

#: option -> (type, default). None as default: the option is left to Celery.
OPTIONS: dict[str, tuple[type, Any]] = {
    "queues": (list, None),
    "pool": (str, "prefork"),
    "concurrency": (int, 2),
    "autoscale": (list, None),
    "hosts": (str, "celery_workers"),
    "prefetch_multiplier": (int, None),
    "time_limit": (int, None),
    "soft_time_limit": (int, None),
    "max_tasks_per_child": (int, None),
    "max_memory_per_child": (int, None),
    "memory_max": (str, None),
    "stop_timeout": (int, None),
    "log_level": (str, "INFO"),
    "environment": (dict, None),
    "arguments": (list, None),
}

#: How long a stopping worker may finish its tasks when neither stop_timeout nor time_limit says it (seconds).
STOP_TIMEOUT = 600
#: Time between the end of the last task and the end of the process (seconds).
STOP_MARGIN = 60


def normalize_worker(place: str, options: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """The completed options of one kind of worker, or None, and the problems found (all of them)."""
    if not isinstance(options, Mapping):
        return None, [f"{place} is {options!r}: write a mapping, for example {{queues: [celery], concurrency: 4}}"]
    problems = [
        f"{place}.{key}: unknown option; the options are {', '.join(sorted(OPTIONS))}"
        for key in options
        if key not in OPTIONS
    ]
    worker: dict[str, Any] = {}
    for key, (kind, default) in OPTIONS.items():
        value = options.get(key)
        if value is None:
            worker[key] = default
            continue
        if not isinstance(value, _accepted(kind)) or isinstance(value, bool):
            # An environment may hold secrets, in whatever form it was written.
            shown = "of another kind" if key == "environment" else repr(value)
            problems.append(f"{place}.{key} is {shown}: write {_article(kind)}")
            continue
        worker[key] = value
    if problems:
        return None, problems
    problems = _problems(place, worker)
    if problems:
        return None, problems
    worker["queues"] = [str(queue) for queue in worker["queues"]]
    worker["pattern"] = worker.pop("hosts")
    worker["environment"] = {str(key): str(value) for key, value in (worker["environment"] or {}).items()}
    worker["arguments"] = [str(item) for item in (worker["arguments"] or [])]
    if worker["stop_timeout"] is None:
        worker["stop_timeout"] = worker["time_limit"] + STOP_MARGIN if worker["time_limit"] else STOP_TIMEOUT
    return worker, []


def _accepted(kind: type) -> tuple[type, ...]:
    # Ansible hands over its own string, list and mapping types: test the protocol, not the class.
    return {list: (list, tuple), dict: (Mapping,), str: (str,), int: (int,)}[kind]


def _article(kind: type) -> str:
    return {list: "a list", dict: "a mapping", str: "a text", int: "a whole number"}[kind]


def _is_word(value: Any) -> bool:
    # YAML reads `on` and `null` as no text at all, and str() would make names of them that nobody wrote.
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _problems(place: str, worker: Mapping[str, Any]) -> list[str]:
    problems = []
    if not worker["queues"]:
        problems.append(f"{place}.queues is missing: write the queues this worker consumes, for example [celery]")
    queues = worker["queues"] or []
    for queue in queues:
        if not _is_word(queue) or not QUEUE.fullmatch(str(queue)):
            problems.append(f"{place}.queues has {queue!r}: a queue name is letters, digits and . _ : - only")
    for queue in dict.fromkeys(str(queue) for queue in queues):
        if sum(str(other) == queue for other in queues) > 1:
            problems.append(f"{place}.queues has {queue!r} more than once: write it once")
    if worker["pool"] not in POOLS:
        problems.append(f"{place}.pool is {worker['pool']!r}: write one of {', '.join(POOLS)}")
    if worker["log_level"] not in LOG_LEVELS:
        problems.append(f"{place}.log_level is {worker['log_level']!r}: write one of {', '.join(LOG_LEVELS)}")
    if worker["memory_max"] is not None and not MEMORY.fullmatch(worker["memory_max"]):
        problems.append(f"{place}.memory_max is {worker['memory_max']!r}: write a size such as 512M or 8G")
    if not worker["hosts"].strip():
        problems.append(f"{place}.hosts is empty: write an inventory pattern, or remove it for all of celery_workers")
    for key, (kind, _default) in OPTIONS.items():
        # That goes for prefetch_multiplier too: Celery's command line takes 0 (no limit) as "not given".
        if kind is int and worker[key] is not None and worker[key] < 1:
            problems.append(f"{place}.{key} is {worker[key]}: write 1 or more")
    problems += [f"{place}.environment: {problem}" for problem in environment_problems(worker["environment"] or {})]
    for argument in worker["arguments"] or []:
        if not _is_word(argument) or "\0" in str(argument):
            problems.append(f"{place}.arguments has {argument!r}: write a text, quoted if in doubt")
    autoscale = worker["autoscale"]
    if autoscale is not None:
        low_high = [item for item in autoscale if isinstance(item, int) and not isinstance(item, bool) and item >= 0]
        if len(autoscale) != 2 or len(low_high) != 2 or autoscale[0] > autoscale[1] or autoscale[1] < 1:
            problems.append(f"{place}.autoscale is {autoscale!r}: write [least, most], for example [2, 8]")
        if worker["pool"] != "prefork":
            problems.append(f"{place}.autoscale works with the prefork pool only: write concurrency instead")
    if worker["stop_timeout"] and worker["time_limit"] and worker["stop_timeout"] < worker["time_limit"]:
        problems.append(
            f"{place}.stop_timeout ({worker['stop_timeout']} s) is shorter than time_limit ({worker['time_limit']} s): "
            "a stop would kill tasks that are still allowed to run; write at least the time limit"
        )
    return problems


def worker_arguments(worker: Mapping[str, Any]) -> list[str]:
    """What follows ``celery worker`` on the command line, without node name and state file."""
    arguments = ["--queues", ",".join(worker["queues"]), "--pool", worker["pool"]]
    if worker["autoscale"]:
        least, most = worker["autoscale"]
        arguments += ["--autoscale", f"{most},{least}"]
    else:
        arguments += ["--concurrency", str(worker["concurrency"])]
    for key, flag in (
        ("prefetch_multiplier", "--prefetch-multiplier"),
        ("time_limit", "--time-limit"),
        ("soft_time_limit", "--soft-time-limit"),
        ("max_tasks_per_child", "--max-tasks-per-child"),
        ("max_memory_per_child", "--max-memory-per-child"),
    ):
        if worker[key] is not None:
            arguments += [flag, str(worker[key])]
    # Gossip and mingle cost three connections per worker and events that grow as the square of the workers.
    arguments += ["--without-gossip", "--without-mingle", "--heartbeat-interval", "10"]
    arguments += ["--loglevel", worker["log_level"]]
    return arguments + list(worker["arguments"])

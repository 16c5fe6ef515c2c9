# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of workers: their options, checked and completed, and the command line they become."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from .budget import size
from .groups import NAME
from .model import GROUPS, Inventory, Worker
from .problems import Problems, did_you_mean
from .queue_type import quorum_place
from .text import environment_problems
from .unit_options import DECIDED_FOR_KINDS, read_unit_options

POOLS = ("prefork", "threads", "gevent", "eventlet", "solo")
#: How a new release takes the place of the one that runs.
STRATEGIES = ("overlap", "rolling", "restart")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

#: A celery command line separates queues by commas; the rest is what AMQP and shells carry without quoting.
QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,200}")
MEMORY = re.compile(r"[1-9][0-9]{0,17}[KMGT]?")
QUOTA = re.compile(r"[1-9][0-9]{0,5}%")
#: No number of the model is larger: what it adds up to can always be written and compared.
MOST = 10**9

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
    "memory_high": (str, None),
    "cpu_quota": (str, None),
    "tasks_max": (int, None),
    "stop_timeout": (int, None),
    "log_level": (str, "INFO"),
    "environment": (dict, None),
    "arguments": (list, None),
    "unit_options": (dict, None),
    "strategy": (str, "overlap"),
}

#: Limit -> the pools that enforce it; every other pool takes it and ignores it. A task of gevent is stopped when it
#: next waits for something.
ENFORCED_BY = {
    "time_limit": ("prefork", "gevent"),
    "soft_time_limit": ("prefork",),
    "max_tasks_per_child": ("prefork",),
    "max_memory_per_child": ("prefork",),
}

#: How long a stopping worker may finish its tasks when neither stop_timeout nor time_limit says it (seconds).
STOP_TIMEOUT = 600
#: Time between the end of the last task and the end of the process (seconds).
STOP_MARGIN = 60

#: Arguments of `celery worker` that are an option of the kind -> that option. The model reads the option only.
AS_OPTION = {
    "--queues": "queues",
    "--exclude-queues": "queues",
    "--pool": "pool",
    "--concurrency": "concurrency",
    "--autoscale": "autoscale",
    "--prefetch-multiplier": "prefetch_multiplier",
    "--time-limit": "time_limit",
    "--soft-time-limit": "soft_time_limit",
    "--max-tasks-per-child": "max_tasks_per_child",
    "--max-memory-per-child": "max_memory_per_child",
    "--loglevel": "log_level",
}
#: Arguments that the collection decides for every kind -> why.
DECIDED = {
    "--hostname": "a node is named after kind, release and host, so that no two have one name",
    "--statedb": "each instance keeps its state in a file of its own",
    "--detach": "systemd runs the worker in the foreground",
    "--pidfile": "systemd knows the process, and the instances of two releases run side by side",
    "--logfile": "the log goes to the journal",
    "--uid": "celery_user says which account runs the worker",
    "--gid": "celery_user says which account runs the worker",
    "--beat": "every worker with it would send every periodic task; the group celery_beat says where beat runs",
}
#: Of those, the ones that are not given at all when their value is empty.
EMPTY_IS_NONE = ("--pidfile", "--logfile", "--uid", "--gid")
#: Arguments that throw away all waiting tasks whenever the worker starts.
PURGING = ("--purge", "--discard")
SHORT = {
    "n": "--hostname",
    "S": "--statedb",
    "l": "--loglevel",
    "c": "--concurrency",
    "P": "--pool",
    "Q": "--queues",
    "X": "--exclude-queues",
    "f": "--logfile",
    "D": "--detach",
    "B": "--beat",
    "E": "--task-events",
}
#: Short arguments without a value: another one may follow in the same word.
FLAGS = "DBE"

#: Tells a problem: code, option (may be empty), what is wrong, what to write instead.
Wrong = Callable[[str, str, str, str], None]


def read_workers(wanted: Any, inventory: Inventory, problems: Problems) -> dict[str, Worker]:
    """The value of celery_workers, kind by kind."""
    workers: dict[str, Worker] = {}
    example = "for example {default: {queues: [celery], concurrency: 4}}"
    if wanted is None:
        problems.add("CC107", "celery_workers", "is not set", f"name the kinds of workers and their queues, {example}")
        return workers
    if not isinstance(wanted, Mapping):
        problems.add(
            "CC203", "celery_workers", f"is {_sort(wanted)}", f"write a mapping of names to options, {example}"
        )
        return workers
    if not wanted:
        problems.add("CC107", "celery_workers", "is empty", f"name the kinds of workers and their queues, {example}")
    for key, options in wanted.items():
        kind = _label(key)
        place = f"celery_workers.{kind}"
        if not isinstance(key, str) or not NAME.fullmatch(key):
            problems.add(
                "CC201",
                place,
                "is no name for a kind of worker",
                "write a lower-case letter followed by up to 24 of a-z, 0-9 and _",
            )
        if kind in workers:
            problems.add("CC202", place, "is the name of two kinds of workers", "give each of them a name of its own")
        workers[kind] = read_worker(kind, options, inventory, problems)
    return workers


def read_worker(kind: str, options: Any, inventory: Inventory, problems: Problems) -> Worker:
    """One kind of worker.

    A wrong option is told and read as if it were not there: the rest can still be checked, and nothing else is told
    because of it. A kind whose queues cannot be read has none.
    """
    place = f"celery_workers.{kind}"

    def wrong(code: str, option: str, what: str, instead: str) -> None:
        problems.add(code, f"{place}.{option}" if option else place, what, instead)

    given = _of_right_type(options, wrong)
    _drop_wrong_values(given, wrong)
    pool = given.get("pool", OPTIONS["pool"][1])
    _check_pool(given, pool, wrong)
    _check_autoscale(given, pool, quorum_place(inventory), wrong)
    _check_times(given, wrong)
    _check_memory(given, wrong)
    for problem in _environment_problems(given.get("environment", {})):
        what, _colon, instead = problem.rpartition(": ")
        wrong("CC210", "environment", f"has a wrong entry ({what})", instead)
    time_limit = given.get("time_limit")
    pattern = str(given.get("hosts", OPTIONS["hosts"][1]))
    return Worker(
        kind=str(kind),
        queues=_queues(given, wrong),
        hosts=_hosts(given, pattern, inventory, problems, wrong),
        pattern=pattern,
        pool=pool,
        # Concurrency also says how many messages a worker reserves, so it must be true for solo.
        concurrency=given.get("concurrency", 1 if pool == "solo" else OPTIONS["concurrency"][1]),
        autoscale=given.get("autoscale"),
        prefetch_multiplier=given.get("prefetch_multiplier"),
        time_limit=time_limit,
        soft_time_limit=given.get("soft_time_limit"),
        max_tasks_per_child=given.get("max_tasks_per_child"),
        max_memory_per_child=given.get("max_memory_per_child"),
        memory_max=given.get("memory_max"),
        memory_high=given.get("memory_high"),
        cpu_quota=given.get("cpu_quota"),
        tasks_max=given.get("tasks_max"),
        stop_timeout=given.get("stop_timeout", time_limit + STOP_MARGIN if time_limit else STOP_TIMEOUT),
        log_level=given.get("log_level", OPTIONS["log_level"][1]),
        arguments=_arguments(given, wrong),
        unit_options=_unit_options(given, wrong),
        strategy=given.get("strategy", OPTIONS["strategy"][1]),
    )


def _of_right_type(options: Any, wrong: Wrong) -> dict[str, Any]:
    """The known options that are set and have the right type; null is as good as not there."""
    if not isinstance(options, Mapping):
        wrong("CC203", "", f"is {_sort(options)}", "write a mapping, for example {queues: [celery], concurrency: 4}")
        return {}
    for key in options:
        if key not in OPTIONS:
            near = did_you_mean(_label(key), OPTIONS)
            known = f"write one of {', '.join(sorted(OPTIONS))}"
            wrong("CC204", _label(key), "is no option of a worker", f"write {near}" if near else known)
    if options.get("queues") is None:
        wrong("CC207", "queues", "is missing", "write the queues this kind consumes, for example [celery]")
    given = {}
    for key, (kind, _default) in OPTIONS.items():
        value = options.get(key)
        if value is None:
            continue
        # Ansible hands over its own string, list and mapping types: test the protocol, not the class.
        accepted = {list: (list, tuple), dict: (Mapping,), str: (str,), int: (int,)}[kind]
        if isinstance(value, accepted) and not isinstance(value, bool):
            given[key] = value
            continue
        article = {list: "a list", dict: "a mapping", str: "a text", int: "a whole number"}[kind]
        # An environment may hold secrets, in whatever form it was written.
        wrong("CC203", key, f"is {_sort(value) if key == 'environment' else _shown(value)}", f"write {article}")
    return given


def _drop_wrong_values(given: dict[str, Any], wrong: Wrong) -> None:
    """Texts and numbers, each by itself."""
    told: dict[str, str] = {}
    for key, choices in (("pool", POOLS), ("log_level", LOG_LEVELS), ("strategy", STRATEGIES)):
        if given.get(key, choices[0]) not in choices:
            near = did_you_mean(_label(given[key]), choices) or did_you_mean(_label(given[key]).upper(), choices)
            told[key] = f"write {near}" if near else f"write one of {', '.join(choices)}"
    for key in ("memory_max", "memory_high"):
        if not MEMORY.fullmatch(given.get(key, "1")):
            told[key] = "write a size such as 512M or 8G"
    if not QUOTA.fullmatch(given.get("cpu_quota", "1%")):
        told["cpu_quota"] = "write a percentage of one processor, such as 150%"
    if not given.get("hosts", "all").strip():
        told["hosts"] = "write an inventory pattern, or remove it for all of celery_workers"
    for key, instead in told.items():
        wrong("CC205", key, f"is {_shown(given.pop(key))}", instead)
    for key, (kind, _default) in OPTIONS.items():
        # That goes for prefetch_multiplier too: Celery's command line takes 0 (no limit) as "not given".
        if kind is int and not 1 <= given.get(key, 1) <= MOST:
            value = given.pop(key)
            wrong("CC206", key, f"is {_shown(value)}", "write 1 or more" if value < 1 else f"write at most {MOST}")


def _check_pool(given: dict[str, Any], pool: str, wrong: Wrong) -> None:
    for option, pools in ENFORCED_BY.items():
        if option in given and pool not in pools:
            del given[option]
            wrong(
                "CC219",
                option,
                f"is set, and the pool {pool} ignores it",
                f"remove it, or write pool: {' or '.join(pools)}",
            )
    if pool == "solo" and given.get("concurrency", 1) > 1:
        wrong(
            "CC218",
            "concurrency",
            f"is {given.pop('concurrency')}, and the pool solo runs one task at a time",
            "remove it, or write another pool",
        )


def _check_autoscale(given: dict[str, Any], pool: str, quorum: str, wrong: Wrong) -> None:
    if "autoscale" not in given:
        return
    if pool != "prefork":
        wrong("CC215", "autoscale", f"is set, and the pool is {pool}", "write concurrency instead, or pool: prefork")
    if quorum:
        instead = f"write concurrency instead, or write classic into {quorum}"
        wrong("CC216", "autoscale", f"is set, and {quorum} asks for quorum queues", instead)
    if "concurrency" in given and pool == "prefork":
        wrong("CC217", "concurrency", "is set beside autoscale, which wins", "remove one of them")
    autoscale = given.pop("autoscale")
    numbers = [item for item in autoscale if isinstance(item, int) and not isinstance(item, bool)]
    if len(numbers) == len(autoscale) == 2 and 0 <= numbers[0] <= numbers[1] <= MOST and numbers[1] >= 1:
        given["autoscale"] = (numbers[0], numbers[1])
    else:
        wrong("CC214", "autoscale", f"is {_shown(autoscale)}", "write [least, most], for example [2, 8]")


def _check_times(given: dict[str, Any], wrong: Wrong) -> None:
    limit, soft, stop = (given.get(key) for key in ("time_limit", "soft_time_limit", "stop_timeout"))
    if limit and soft and soft >= limit:
        wrong(
            "CC220",
            "soft_time_limit",
            f"({soft} s) is not shorter than time_limit ({limit} s), so that tasks are killed without a warning",
            "write less than the time limit, or remove it",
        )
    if limit and stop and stop < limit:
        wrong(
            "CC221",
            "stop_timeout",
            f"({stop} s) is shorter than time_limit ({limit} s), so that a stop would kill tasks that may still run",
            "write at least the time limit",
        )


def _check_memory(given: dict[str, Any], wrong: Wrong) -> None:
    high, most = size(given.get("memory_high")), size(given.get("memory_max"))
    if high is not None and most is not None and high >= most:
        wrong(
            "CC224",
            "memory_high",
            f"is {given['memory_high']}, and memory_max ({given['memory_max']}) is reached before it does anything",
            "write less than memory_max, or remove it",
        )


def _unit_options(given: Mapping[str, Any], wrong: Wrong) -> dict[str, str]:
    def below(code: str, key: str, what: str, instead: str) -> None:
        wrong(code, f"unit_options.{key}" if key else "unit_options", what, instead)

    return read_unit_options(given.get("unit_options", {}), DECIDED_FOR_KINDS, below)


def _environment_problems(environment: Mapping[Any, Any]) -> list[str]:
    try:
        return environment_problems(environment)
    except ValueError:
        return ["a number has thousands of digits: write it as a text, in quotes"]


def _queues(given: Mapping[str, Any], wrong: Wrong) -> tuple[str, ...]:
    if "queues" in given and not given["queues"]:
        wrong("CC207", "queues", "is empty", "write the queues this kind consumes, for example [celery]")
    found: list[str] = []
    for item in given.get("queues", ()):
        queue = _word(item)
        if queue is None or not QUEUE.fullmatch(queue):
            wrong("CC208", "queues", f"has {_shown(item)}", "write a name of letters, digits and . _ : - only")
        elif queue in found:
            wrong("CC209", "queues", f"has {queue!r} more than once", "write it once")
        else:
            found.append(queue)
    return tuple(found)


def _hosts(
    given: Mapping[str, Any], pattern: str, inventory: Inventory, problems: Problems, wrong: Wrong
) -> tuple[str, ...]:
    hosts = tuple(str(host) for host in inventory.match(pattern))
    known = {*GROUPS, *inventory.groups, *inventory.hosts}
    unknown = [name for name in _names(pattern, known) if name not in known]
    for name in unknown:
        near = did_you_mean(name, known)
        what = f"names {_shown(name)}, which is neither a group nor a host of the inventory"
        wrong("CC110", "hosts", what, f"write {near}" if near else "write a group or a host of the inventory")
    if not hosts and "hosts" not in given:
        problems.add(
            "CC108",
            "group celery_workers",
            "is empty, and kinds of workers without `hosts` run on its hosts",
            "add the worker nodes to the group, or write hosts for each kind",
        )
    elif not hosts and not unknown:
        wrong("CC108", "hosts", f"is {_shown(pattern)} and matches no host", "write a pattern that matches a host")
    members = {host for group in GROUPS for host in inventory.groups.get(group, ())}
    for host in hosts:
        if host not in members:
            problems.add(
                "CC109",
                "celery_workers",
                "places a worker on it, and it is in none of the cluster's groups",
                "add it to the group celery_workers, or write a narrower pattern",
                host,
            )
    return hosts


def _names(pattern: str, known: set[str]) -> Iterator[str]:
    """The names of groups and hosts in a pattern, split as Ansible does it; what matches by its form is left out."""
    if "," in pattern:
        parts = pattern.split(",")
    elif pattern.strip() in known or _is_address(pattern):
        parts = [pattern]
    else:
        parts = re.findall(r"(?:[^\s:\[\]]|\[[^\]]*\])+", pattern)
    for part in parts:
        name = part.strip()
        if name.startswith(("!", "&")):
            name = name[1:]
        # A subscript picks from what the name before it matches.
        name = re.sub(r"\[(-?[0-9]+|[0-9]+[:-][0-9]*)\]$", "", name)
        if name and name not in ("all", "ungrouped") and not name.startswith("~") and not re.search(r"[*?\[]", name):
            yield name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        return False
    return True


def _arguments(given: Mapping[str, Any], wrong: Wrong) -> tuple[str, ...]:
    words = []
    for item in given.get("arguments", ()):
        word = _word(item)
        # An argument may be a secret, though it should not: only its name is told.
        if word is None:
            wrong("CC211", "arguments", f"has an item that is {_sort(item)}", "write texts, quoted if in doubt")
        elif "\0" in word:
            wrong("CC211", "arguments", "has a text with a NUL character", "remove the character")
        else:
            words.append(word)
    for name, value in _parsed(words):
        if name in AS_OPTION:
            wrong("CC212", "arguments", f"has {name}", f"write the option {AS_OPTION[name]} of this kind instead")
        elif name in DECIDED and not (name in EMPTY_IS_NONE and value == ""):
            wrong("CC212", "arguments", f"has {name}", f"remove it: {DECIDED[name]}")
        elif name in PURGING:
            wrong("CC213", "arguments", f"has {name}", "remove it, and purge by hand when you want it")
    return tuple(words)


def _parsed(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Name and value of each option, as the command line is read; the value is the next word unless it is attached."""
    for word, following in zip_longest(words, words[1:]):
        if word == "--":
            return
        if word.startswith("--"):
            name, attached, value = word.partition("=")
            yield name, value if attached else following
        elif word.startswith("-"):
            for position, letter in enumerate(word[1:], start=2):
                yield SHORT.get(letter, ""), word[position:] or following
                if letter not in FLAGS:
                    break


def _word(value: Any) -> str | None:
    """A text or a number as a text. YAML reads `on` and `null` as neither, and str() would make names of them."""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return None
    try:
        return str(value)
    except ValueError:
        # Python writes no number of thousands of digits.
        return None


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return _sort(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _label(key: Any) -> str:
    """A key as a part of a path."""
    text = key if isinstance(key, str) else _shown(key)
    return str(text) if text and text.isprintable() and len(text) <= 100 else _shown(text)


def _sort(value: Any) -> str:
    """What sort of value it is, for values that are not to be printed."""
    for kinds, name in (
        ((bool,), "true or false"),
        ((str,), "a text"),
        ((int, float), "a number"),
        ((list, tuple), "a list"),
        ((Mapping,), "a mapping"),
    ):
        if isinstance(value, kinds):
            return name
    return "empty" if value is None else f"a {type(value).__name__}"


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

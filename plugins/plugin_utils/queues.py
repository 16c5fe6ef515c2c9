# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queues of the cluster: what they may be called, who consumes them, and who sends to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..module_utils.rabbitmq_permissions import permissions
from .model import Inventory, Worker
from .problems import Problems, did_you_mean
from .queue_type import celery_setting, quorum_place

#: Where Celery sends a task without a route.
DEFAULT_QUEUE = "celery"
#: Besides the names that the permissions know: RabbitMQ keeps amq. for itself, delayed delivery celery_delayed_.
RESERVED = re.compile(r"amq\..*|celery_delayed_.*")


def dead_letters(name: str) -> str:
    """The exchange and the queue of messages that were delivered too often, in the cluster of this name."""
    return f"{name}.dead"


def check_queues(workers: Mapping[str, Worker], inventory: Inventory, problems: Problems) -> None:
    """What is wrong with the queues that the kinds of workers consume, and with what is sent to others."""
    consumers: dict[str, list[Worker]] = {}
    for worker in workers.values():
        for queue in worker.queues:
            consumers.setdefault(queue, []).append(worker)
    for queue, kinds in consumers.items():
        place = f"celery_workers.{kinds[0].kind}.queues"
        if _is_reserved(queue):
            problems.add(
                "CC301", place, f"has {queue!r}, a name that Celery or the broker uses itself", "write another"
            )
        if not any(worker.hosts for worker in kinds):
            problems.add(
                "CC307", place, f"has {queue!r}, which is consumed on no host", "let a kind that has hosts consume it"
            )
    _check_suffixes(consumers, inventory, problems)
    _check_dead_letters(consumers, inventory, problems)
    # A kind without queues was refused for it: what it should consume is unknown, so nothing is missing for certain.
    if workers and all(worker.queues for worker in workers.values()):
        _check_routes(consumers, inventory, problems)
        _check_default(consumers, inventory, problems)
    _check_consumer_timeout(workers, inventory, problems)


def _is_reserved(queue: str) -> bool:
    try:
        permissions("worker", [queue])
    except ValueError:
        return True
    return bool(RESERVED.fullmatch(queue))


def _check_suffixes(consumers: Mapping[str, list[Worker]], inventory: Inventory, problems: Problems) -> None:
    quorum = quorum_place(inventory)
    code = "CC302" if quorum else "CC303"
    for queue, kinds in consumers.items():
        words = queue.split(".")
        for suffix in (".".join(words[start:]) for start in range(1, len(words))):
            if suffix in consumers:
                problems.add(
                    code,
                    f"celery_workers.{kinds[0].kind}.queues",
                    f"has {queue!r}, which ends in the name of the queue {suffix!r}, so that delayed messages for the "
                    "first reach the second, too",
                    f"rename one of them, for example to {queue.replace('.', '-')!r}"
                    + (f", or write classic into {quorum}" if quorum else ""),
                )


def _check_dead_letters(consumers: Mapping[str, list[Worker]], inventory: Inventory, problems: Problems) -> None:
    """Messages that were delivered too often go to a queue of the broker's policy, which nobody may consume."""
    dead = dead_letters(str(inventory.settings.get("celery_name", "")))
    if dead in consumers:
        problems.add(
            "CC310",
            f"celery_workers.{consumers[dead][0].kind}.queues",
            f"has {dead!r}, the queue that keeps the messages no worker could finish",
            "write another name",
        )


def _check_routes(consumers: Mapping[str, list[Worker]], inventory: Inventory, problems: Problems) -> None:
    place, routes = celery_setting(inventory, "task_routes")
    for pattern, queue in _routes(routes):
        if queue not in consumers:
            problems.add(
                "CC304",
                place,
                f"sends {pattern!r} to the queue {queue!r}, which no kind of worker consumes",
                _consume(queue, consumers),
            )


def _consume(queue: str, consumers: Mapping[str, list[Worker]]) -> str:
    near = did_you_mean(queue, consumers)
    add = f"add {queue!r} to the queues of a kind in celery_workers"
    return f"write {near!r}, or {add}" if near else add


def _routes(routes: Any) -> Iterator[tuple[str, str]]:
    """Task name or pattern, and queue. A text in a list names a router class, which nobody can ask here."""
    if isinstance(routes, Mapping):
        for pattern, route in routes.items():
            yield from _route(pattern, route)
    for item in routes if isinstance(routes, (list, tuple)) else ():
        if isinstance(item, Mapping):
            yield from _routes(item)
        elif isinstance(item, (list, tuple)):
            for pair in [item] if _is_pair(item) else item:
                if _is_pair(pair):
                    yield from _route(*pair)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


def _route(pattern: Any, route: Any) -> Iterator[tuple[str, str]]:
    queue = route.get("queue") if isinstance(route, Mapping) else route
    if isinstance(pattern, str) and isinstance(queue, str):
        yield pattern, queue


def _check_default(consumers: Mapping[str, list[Worker]], inventory: Inventory, problems: Problems) -> None:
    place, queue = celery_setting(inventory, "task_default_queue")
    if queue is None and DEFAULT_QUEUE not in consumers:
        problems.add(
            "CC306",
            place,
            f"is not set, and no kind of worker consumes {DEFAULT_QUEUE!r}, where Celery sends tasks without a route",
            f"add {DEFAULT_QUEUE!r} to the queues of a kind, or write here which queue the application uses instead",
        )
    elif isinstance(queue, str) and queue not in consumers:
        problems.add("CC305", place, f"is {queue!r}, which no kind of worker consumes", _consume(queue, consumers))


def _check_consumer_timeout(workers: Mapping[str, Worker], inventory: Inventory, problems: Problems) -> None:
    place, timeout = _consumer_timeout(inventory)
    longest = max(workers.values(), key=_held, default=None)
    if timeout is None or longest is None or timeout >= _held(longest):
        return
    problems.add(
        "CC308",
        place,
        f"gives a delivered task {timeout:g} s, and a worker of the kind {longest.kind} may hold one for "
        f"{_held(longest)} s (its time limit and stop_timeout)",
        "remove it, so that it is computed"
        if place == "rabbitmq_settings.consumer_timeout"
        else f"write at least {_held(longest)}, or remove it, so that it is computed",
    )


def _held(worker: Worker) -> int:
    """How long a worker may keep a message without acknowledging it: the longest task and the longest stop."""
    return (worker.time_limit or worker.soft_time_limit or 0) + worker.stop_timeout


def _consumer_timeout(inventory: Inventory) -> tuple[str, float | None]:
    """Where it is set, and its seconds. The lines of rabbitmq_settings come last and are in milliseconds."""
    lines = inventory.settings.get("rabbitmq_settings")
    if isinstance(lines, Mapping) and lines.get("consumer_timeout") is not None:
        milliseconds = _number(lines["consumer_timeout"])
        return "rabbitmq_settings.consumer_timeout", None if milliseconds is None else milliseconds / 1000
    return "rabbitmq_consumer_timeout", _number(inventory.settings.get("rabbitmq_consumer_timeout"))


def _number(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    # A number beyond that has no meaning, and as a float no value.
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18 else None

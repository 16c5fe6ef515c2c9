# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quorum or classic queues: what celery_queue_type and celery_settings together make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .model import Inventory
from .problems import Problems, did_you_mean, shown

QUORUM, CLASSIC = "quorum", "classic"
TYPES = (QUORUM, CLASSIC)

#: Celery's settings that make quorum queues of all that it declares. Only a topic exchange lets a message with an ETA
#: wait in the broker instead of in a worker.
QUORUM_SETTINGS = {
    "task_default_queue_type": QUORUM,
    "task_default_exchange_type": "topic",
    "task_create_missing_queue_type": QUORUM,
    "task_create_missing_queue_exchange_type": "topic",
    "broker_native_delayed_delivery_queue_type": QUORUM,
}
#: Of those, the ones that say what the cluster's own queues are.
QUEUE_TYPES = ("task_default_queue_type", "task_create_missing_queue_type")
EXCHANGE_TYPES = ("task_default_exchange_type", "task_create_missing_queue_exchange_type")

#: Variable -> its code, what it counts, its default, and the most. RabbitMQ counts 2^32 milliseconds, and not one more.
NUMBERS = {
    "celery_delivery_limit": ("CC312", "how often one message may be delivered", 20, 10**6),
    "celery_dead_letter_days": ("CC313", "how many days the dead-letter queue keeps a message", 14, 49),
}


def celery_setting(inventory: Inventory, name: str) -> tuple[str, Any]:
    """The path and the value of a setting in celery_settings, by its new or its old name; None: not set."""
    settings = inventory.settings.get("celery_settings")
    if isinstance(settings, Mapping):
        for spelling in (name, f"CELERY_{name.removeprefix('task_').upper()}"):
            if settings.get(spelling) is not None:
                return f"celery_settings.{spelling}", settings[spelling]
    return f"celery_settings.{name}", None


def queue_type(inventory: Inventory) -> str:
    """What celery_queue_type says: ``quorum`` unless it says ``classic``."""
    return CLASSIC if inventory.settings.get("celery_queue_type") == CLASSIC else QUORUM


def queue_settings(inventory: Inventory) -> dict[str, str]:
    """What Celery must be told of the queue type."""
    return dict(QUORUM_SETTINGS) if queue_type(inventory) == QUORUM else {}


def quorum_place(inventory: Inventory) -> str:
    """The variable that asks for quorum queues, empty when none does: celery_settings first, then celery_queue_type.

    One quorum queue changes how a worker treats all of its queues.
    """
    return next((place for place, kind in _types(inventory) if kind == QUORUM), "")


def _types(inventory: Inventory) -> Iterator[tuple[str, Any]]:
    """Every variable that decides the type of queues, and the type."""
    decided = 0
    for setting in QUEUE_TYPES:
        place, kind = celery_setting(inventory, setting)
        if kind is not None:
            decided += 1
            yield place, kind
    place, queues = celery_setting(inventory, "task_queues")
    for queue in queues.values() if isinstance(queues, Mapping) else ():
        arguments = queue.get("queue_arguments") if isinstance(queue, Mapping) else None
        if isinstance(arguments, Mapping):
            yield place, arguments.get("x-queue-type")
    if decided < len(QUEUE_TYPES):
        yield "celery_queue_type", queue_type(inventory)


# --------------------------------------------------------------------------------------------------
# What is wrong


def check_queue_type(inventory: Inventory, problems: Problems) -> None:
    """The type itself, what celery_settings says against it, and the numbers that belong to it."""
    wanted = inventory.settings.get("celery_queue_type", QUORUM)
    if wanted not in TYPES:
        near = did_you_mean(wanted, TYPES) if isinstance(wanted, str) else ""
        instead = f"write {near}" if near else f"write one of {', '.join(TYPES)}"
        problems.add("CC311", "celery_queue_type", f"is {shown(wanted)}", instead)
    else:
        _check_settings(queue_type(inventory), inventory, problems)
    for variable, (code, what, example, most) in NUMBERS.items():
        value = inventory.settings.get(variable, example)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            instead = f"write {what}, from 1 to {most}, for example {example}"
            problems.add(code, variable, f"is {shown(value)}", instead)
    if wanted == CLASSIC and "celery_delivery_limit" in inventory.own:
        problems.add(
            "CC314",
            "celery_delivery_limit",
            "is set, and celery_queue_type is classic: a classic queue does not count deliveries",
            "remove it, or write quorum into celery_queue_type",
        )


def _check_settings(wanted: str, inventory: Inventory, problems: Problems) -> None:
    for setting in QUEUE_TYPES:
        place, kind = celery_setting(inventory, setting)
        if kind in TYPES and kind != wanted:
            problems.add(
                "CC309",
                place,
                f"is {kind}, and celery_queue_type is {wanted}",
                f"remove it, and write {kind} into celery_queue_type if that is what you want",
            )
    for setting in EXCHANGE_TYPES if wanted == QUORUM else ():
        place, kind = celery_setting(inventory, setting)
        if kind == "direct":
            problems.add(
                "CC309",
                place,
                "is direct, and celery_queue_type is quorum: tasks with an ETA or countdown would block the workers",
                "remove it, or write classic into celery_queue_type",
            )

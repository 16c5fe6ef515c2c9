# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state the broker shall have: vhost, identities and permissions, and where messages go that no worker finishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..module_utils.rabbitmq_permissions import broker_user, escape
from .broker_users import CERTIFICATE
from .queue_type import QUORUM
from .queues import dead_letters

_DAY = 24 * 60 * 60 * 1000


def rabbitmq_desired(
    model: Mapping[str, Any], settings: Mapping[str, Any], passwords: Mapping[str, str]
) -> dict[str, Any]:
    """What the rabbitmq_definitions module takes: ``owner``, ``vhosts``, ``users``, ``policies``, ``exchanges``,
    ``queues`` and ``bindings``.

    settings: ``celery_vhost``, ``celery_producers_declare``, ``celery_delivery_limit`` and ``celery_dead_letter_days``.
    passwords: name of a user -> its password; users who log in by certificate only have none.

    The cluster's queues are not among them: workers declare them, because the application may give them arguments.
    """
    vhost, dead = str(settings["celery_vhost"]), dead_letters(model["name"])
    # In one order, whatever the inventory's is.
    queues = sorted(model["queues"])
    common = {"vhost": vhost, "name": dead, "durable": True, "auto_delete": False}
    return {
        "owner": model["name"],
        "vhosts": [{"name": vhost}],
        "users": [
            _user(user, queues, settings, passwords, model["queue_type"] == QUORUM) for user in model["broker_users"]
        ],
        "policies": _policies(model, queues, settings),
        "exchanges": [{**common, "type": "fanout", "internal": False, "arguments": {}}],
        "queues": [{**common, "arguments": {"x-queue-type": QUORUM}}],
        "bindings": [
            {
                "vhost": vhost,
                "source": dead,
                "destination": dead,
                "destination_type": "queue",
                "routing_key": "",
                "arguments": {},
            }
        ],
    }


def _user(
    user: Mapping[str, Any],
    queues: Sequence[str],
    settings: Mapping[str, Any],
    passwords: Mapping[str, str],
    topic_exchanges: bool,
) -> dict[str, Any]:
    name, by_certificate = user["name"], user["login"] == CERTIFICATE
    if not by_certificate and not passwords.get(name):
        raise ValueError(f"passwords lacks the password of the broker user {name!r}")
    # Celery names the exchange of a queue like the queue, so one set of names serves both.
    return broker_user(
        user["identity"],
        name,
        None if by_certificate else passwords[name],
        settings["celery_vhost"],
        queues,
        queues,
        settings["celery_producers_declare"],
        topic_exchanges=topic_exchanges,
    )


def _policies(model: Mapping[str, Any], queues: Sequence[str], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    name, dead = model["name"], dead_letters(model["name"])
    letters = {"dead-letter-exchange": dead}
    tasks = {"pattern": f"^({'|'.join(map(escape, queues))})$", "apply_to": "queues"}
    limit = {"delivery-limit": int(settings["celery_delivery_limit"])}
    found: list[dict[str, Any]] = [
        {
            **tasks,
            "name": f"{name}-tasks",
            "priority": 1,
            "definition": {**letters, **limit} if model["queue_type"] == QUORUM else letters,
        },
        {
            "name": f"{name}-dead",
            "pattern": f"^{escape(dead)}$",
            "apply_to": "queues",
            "priority": 1,
            "definition": {"message-ttl": int(settings["celery_dead_letter_days"]) * _DAY},
        },
    ]
    if model["queue_type"] == QUORUM:
        # RabbitMQ passes over a policy with a limit for a queue that the application declares as a classic one.
        found.append({**tasks, "name": f"{name}-classic-tasks", "priority": 0, "definition": letters})
    return [{"vhost": settings["celery_vhost"], **policy} for policy in found]

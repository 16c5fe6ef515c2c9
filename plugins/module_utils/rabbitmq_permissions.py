# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the identities of a Celery cluster may do on the broker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

# Permissions. Only plain alternations and escaped literals: Erlang and Python read them alike.

_PIDBOX_REPLIES = (r"reply\.celery\.pidbox", r".+\.reply\.celery\.pidbox")
_EVENTS = (r"celeryev(\..+)?",)
_INTERNAL = (r"celery\.pidbox", *_PIDBOX_REPLIES, r".+\.celery\.pidbox", *_EVENTS)
_DELAYED = (r"celery_delayed_([0-9]+|delivery)",)
_DEFAULT_EXCHANGE = (r"amq\.default",)
# Messages with an ETA enter the delay at the highest level; the broker itself moves them on.
_DELAY_ENTRANCE = (r"celery_delayed_27",)
_EVENT_EXCHANGE = (r"celeryev",)
_NOTHING = "^$"

ROLES = ("worker", "producer", "flower", "admin")
_TAGS: dict[str, list[str]] = {"worker": [], "producer": [], "flower": ["monitoring"], "admin": ["administrator"]}


def escape(name: str) -> str:
    """A name as a regular expression that matches exactly this name, in Erlang and in Python."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", name)


def _any_of(patterns: Iterable[str]) -> str:
    found = list(patterns)
    return f"^({'|'.join(found)})$" if found else _NOTHING


def permissions(
    role: str,
    queues: Iterable[str],
    exchanges: Iterable[str] = (),
    producer_declares: bool = True,
    topic_exchanges: bool = False,
) -> dict[str, str]:
    """The configure, write and read expressions of one identity of the cluster.

    A producer never reaches celery.pidbox: who writes there can shut workers down.
    With producer_declares it may do what an unmodified application does when it publishes: declare the
    queue and its exchange and bind them (RabbitMQ wants configure on both, write on the queue, read on
    the exchange). Without, the queues must exist and the application must not declare; where all queues hang on
    topic exchanges, a producer then needs no default exchange either.
    """
    if role not in ROLES:
        raise ValueError(f"unknown role {role!r}: use one of {', '.join(ROLES)}")
    names = sorted({*queues, *exchanges} - {""})
    own = re.compile(_any_of((*_INTERNAL, *_DELAYED, *_DEFAULT_EXCHANGE)))
    taken = [name for name in names if own.match(name)]
    if taken:
        raise ValueError(
            f"{', '.join(taken)}: Celery itself uses this name on the broker; give the queue or exchange another one"
        )
    cluster = [escape(name) for name in names]
    if role == "admin":
        return {"configure": ".*", "write": ".*", "read": ".*"}
    if role == "flower":
        inspect = _any_of((r"celery\.pidbox", *_PIDBOX_REPLIES, *_EVENTS))
        return {"configure": inspect, "write": inspect, "read": inspect}
    if role == "worker":
        everything = _any_of((*cluster, *_INTERNAL, *_DELAYED))
        write = _any_of((*cluster, *_DEFAULT_EXCHANGE, *_INTERNAL, *_DELAYED))
        return {"configure": everything, "write": write, "read": everything}
    outgoing = (*cluster, *_DELAY_ENTRANCE, *_EVENT_EXCHANGE)
    if not producer_declares and topic_exchanges:
        # Nothing of Celery's goes through the default exchange then, which leads to any queue, a worker's ear included.
        return {"configure": _NOTHING, "write": _any_of(outgoing), "read": _NOTHING}
    write = _any_of((*_DEFAULT_EXCHANGE, *outgoing))
    if not producer_declares:
        return {"configure": _NOTHING, "write": write, "read": _NOTHING}
    # celeryev: with task_send_sent_event every publish declares the event exchange, too.
    return {"configure": _any_of((*cluster, *_EVENT_EXCHANGE)), "write": write, "read": _any_of(cluster)}


def broker_user(
    role: str,
    name: str,
    password: str | None,
    vhost: str,
    queues: Iterable[str],
    exchanges: Iterable[str] = (),
    producer_declares: bool = True,
    topic_exchanges: bool = False,
) -> dict[str, Any]:
    """One identity of the cluster, as rabbitmq_definitions and boot_definitions take it.

    Without a password it logs in by its certificate only.
    """
    allowed = permissions(role, queues, exchanges, producer_declares, topic_exchanges)
    login = {"certificate": True} if password is None else {"password": password}
    return {"name": name, **login, "tags": list(_TAGS[role]), "permissions": [{"vhost": vhost, **allowed}]}

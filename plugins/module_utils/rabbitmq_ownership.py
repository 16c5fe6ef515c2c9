# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record, on the broker, of what an owner manages there: what is in it and no longer wanted may be removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .rabbitmq_state import KINDS, Items, Key, Wanted, name_of

PREFIX = "celery_cluster.owned."
#: Permissions, topic permissions and limits of a named user are complete in themselves: they need no record.
RECORDED = (
    "vhosts",
    "vhost_limits",
    "users",
    "policies",
    "parameters",
    "global_parameters",
    "exchanges",
    "queues",
    "bindings",
)
# RabbitMQ turns the name of a global parameter into an Erlang atom, which has at most 255 characters.
LONGEST_OWNER = 255 - len(PREFIX)

Record = frozenset[tuple[str, Key]]


class RecordError(ValueError):
    """A record that was not written by this module."""


def parameter_name(owner: str) -> str:
    return PREFIX + owner


def wanted_record(wanted: Wanted) -> Record:
    return frozenset((kind, key) for kind in RECORDED for key in wanted.items[kind])


def to_value(record: Record) -> dict[str, list[Any]]:
    """A record as the value of a global parameter; names of one part as plain strings."""
    value: dict[str, list[Any]] = {}
    for kind, key in sorted(record):
        value.setdefault(kind, []).append(key[0] if len(key) == 1 else list(key))
    return value


def from_value(name: str, value: Any) -> Record:
    try:
        found = frozenset(
            (kind, (entry,) if isinstance(entry, str) else tuple(entry))
            for kind, entries in dict(value or {}).items()
            for entry in entries
        )
    except (TypeError, ValueError) as error:
        raise RecordError(_foreign(name)) from error
    for kind, key in found:
        if kind not in RECORDED or len(key) != len(KINDS[kind]) or not all(isinstance(part, str) for part in key):
            raise RecordError(_foreign(name))
    return found


def _foreign(name: str) -> str:
    return (
        f"global parameter {name!r} is not a record this module wrote, so nothing is changed: look at it with"
        f" 'rabbitmqctl list_global_parameters', then 'rabbitmqctl clear_global_parameter {name}'; what the owner"
        " still names is recorded anew, what it no longer names stays"
    )


def recorded(items: Items, owner: str) -> Record:
    """What is recorded for this owner."""
    name = parameter_name(owner)
    return from_value(name, items["global_parameters"].get((name,)))


def recorded_by_others(items: Items, owner: str) -> Record:
    """What other owners manage: it is never removed, whatever our record says."""
    own = parameter_name(owner)
    found: set[tuple[str, Key]] = set()
    for (name,), value in items["global_parameters"].items():
        if name.startswith(PREFIX) and name != own:
            found |= from_value(name, value)
    return frozenset(found)


def described(record: Iterable[tuple[str, Key]]) -> list[str]:
    return [name_of(kind, key) for kind, key in sorted(record)]

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The requests that lead from what a broker has to what is wanted, in an order that never opens a gap."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .rabbitmq_ownership import Record, parameter_name, recorded, recorded_by_others, to_value, wanted_record
from .rabbitmq_requests import FULL, Operation, delete, put, put_user, put_vhost, user_changes
from .rabbitmq_state import Key, State, Wanted, name_of, same

#: What the API does as the user itself, with that user's permissions on the vhost.
_NEEDS_ACCESS = ("exchanges", "queues", "bindings")
_MADE = ("vhost_limits", "exchanges", "queues", "bindings", "parameters", "global_parameters", "policies")
_REMOVED = ("bindings", "policies", "parameters", "global_parameters", "queues", "exchanges", "vhost_limits", "vhosts")


class Kept(NamedTuple):
    """What is no longer wanted and cannot be removed yet."""

    kind: str
    key: Key
    reason: str

    def told(self) -> dict[str, str]:
        return {"kind": self.kind, "name": name_of(self.kind, self.key), "reason": self.reason}


class Plan(NamedTuple):
    operations: list[Operation]
    # What takes back, after a failure, the access that creating a vhost or a change on it gave: vhost -> request.
    restores: dict[str, Operation]
    removed: Record
    before: Record
    after: Record


def leaving(state: State, wanted: Wanted) -> Record:
    """What is recorded for the owner, is still there, is wanted neither here nor by another owner."""
    if not wanted.owner:
        return frozenset()
    ours = recorded(state.items, wanted.owner) - wanted_record(wanted)
    # A user that is to be absent goes whether it is recorded or not.
    absent = {("users", (name,)) for name in wanted.absent_users}
    found = ours - recorded_by_others(state.items, wanted.owner) - absent
    return frozenset((kind, key) for kind, key in found if key in state.items[kind])


def plan(state: State, wanted: Wanted, acting_user: str, kept: Iterable[Kept] = ()) -> Plan:
    """Access is taken away first and given last.

    What is owned is recorded before anything is made, and what is removed leaves the record after it is gone: a run
    that stops half-way forgets nothing. Whoever this module logs in as is changed last, because its old password
    must serve until then.
    """
    staying = {(item.kind, item.key) for item in kept}
    removed = leaving(state, wanted) - staying
    before = recorded(state.items, wanted.owner) if wanted.owner else frozenset()
    after = wanted_record(wanted) | staying if wanted.owner else frozenset()
    access = _Access(state, wanted, acting_user, removed)

    operations = _take_away(state, wanted, acting_user, removed, access)
    operations += record(wanted.owner, before, before | after)
    operations += _make(state, wanted, access)
    operations += _remove(state, removed, access)
    operations += _give(state, wanted, acting_user, access)
    operations += record(wanted.owner, before | after, after, last=True)
    if (acting_user,) in wanted.items["users"] and (changes := user_changes(state, wanted, acting_user)):
        operations.append(put_user(state, wanted, acting_user, changes))
    return Plan(operations, access.restores, removed, before, after)


def record(owner: str, there: Record, wanted: Record, last: bool = False) -> list[Operation]:
    """Write down what an owner manages, if that differs."""
    if there == wanted:
        return []
    path = ("global-parameters", parameter_name(owner))
    if not wanted:
        return [Operation("DELETE", path, None, f"forget the owner {owner}", records=last)]
    verb = "no longer record" if wanted < there else "record"
    text = f"{verb} {_count(there ^ wanted)} as owned by {owner}"
    return [Operation("PUT", path, {"value": to_value(wanted)}, text, records=last)]


def _count(items: Record) -> str:
    return f"{len(items)} thing{'s' if len(items) > 1 else ''}"


class _Access:
    """The permissions that the user this module logs in as needs, for a while, on the vhosts it changes.

    The API lets it declare and delete only what its permissions cover, and gives it everything on a vhost it makes.
    """

    def __init__(self, state: State, wanted: Wanted, acting_user: str, removed: Record) -> None:
        self.user = acting_user
        self.new = {key[0] for key in wanted.items["vhosts"] if key not in state.items["vhosts"]}
        self._there = state.items["permissions"]
        self._leaving = {key[0] for kind, key in removed if kind == "vhosts"}
        changed = {
            key[0]
            for kind in _NEEDS_ACCESS
            for key, value in wanted.items[kind].items()
            if key not in state.items[kind]
        }
        changed |= {key[0] for kind, key in removed if kind == "queues"}
        changed |= {key[0] for kind, key in removed if kind in _NEEDS_ACCESS and key[0] not in self._leaving}
        self.vhosts = changed | self.new
        named = (acting_user,) in wanted.items["users"]
        self.restores: dict[str, Operation] = {}
        for vhost in sorted(self.vhosts):
            key = (acting_user, vhost)
            final = wanted.items["permissions"].get(key) if named else self._there.get(key)
            if final != FULL:
                self.restores[vhost] = self._restore(vhost, final)

    def _restore(self, vhost: str, final: Mapping[str, str] | None) -> Operation:
        path = ("permissions", vhost, self.user)
        if final is not None:
            text = f"give the user {self.user} its own permissions on vhost {vhost}"
            return Operation("PUT", path, dict(final), text, closes=vhost)
        what = f"that creating vhost {vhost} gave it" if vhost in self.new else f"on vhost {vhost} again"
        text = f"take from user {self.user} the permissions {what}"
        return Operation("DELETE", path, None, text, closes=vhost)

    def open(self) -> list[Operation]:
        return [
            Operation(
                "PUT",
                ("permissions", vhost, self.user),
                dict(FULL),
                f"give user {self.user} all permissions on vhost {vhost}"
                + (" while it changes" if vhost in self.restores else ""),
                opens=vhost,
            )
            for vhost in sorted(self.vhosts - self.new)
            if self._there.get((self.user, vhost)) != FULL
        ]

    def close(self) -> list[Operation]:
        # With a vhost its permissions go.
        return [operation for vhost, operation in self.restores.items() if vhost not in self._leaving]

    def covers(self, key: Key) -> bool:
        """Whether these permissions are ours to put right, not one of the others' changes."""
        return key[0] == self.user and key[1] in self.vhosts


def _take_away(state: State, wanted: Wanted, acting_user: str, removed: Record, access: _Access) -> list[Operation]:
    items, there = wanted.items, state.items
    gone = [name for name in wanted.absent_users if (name,) in there["users"]]
    gone += sorted(key[0] for kind, key in removed if kind == "users")
    operations = [Operation("DELETE", ("users", name), None, f"delete the user {name}") for name in gone]
    operations += [
        Operation("DELETE", ("permissions", key[1], key[0]), None, f"take away the {name_of('permissions', key)}")
        for key in sorted(there["permissions"])
        if (key[0],) in items["users"] and key not in items["permissions"] and not access.covers(key)
    ]
    operations += _permissions(state, wanted, access, narrowing=True)
    # Without a topic permission everything that the permissions cover is allowed: a new one narrows.
    operations += [
        put("topic_permissions", key, value, "set")
        for key, value in items["topic_permissions"].items()
        if _narrows_topic(there, key, value)
    ]
    for (name,) in items["users"]:
        if (name,) in there["users"] and name != acting_user and (changes := user_changes(state, wanted, name)):
            operations.append(put_user(state, wanted, name, changes))
    operations += [
        put("user_limits", key, value, "set")
        for key, value in items["user_limits"].items()
        if (key[0],) in there["users"] and there["user_limits"].get(key) != value
    ]
    return operations


def _make(state: State, wanted: Wanted, access: _Access) -> list[Operation]:
    operations = []
    for key, metadata in wanted.items["vhosts"].items():
        there = state.items["vhosts"].get(key)
        if there is None or any(there.get(name) != value for name, value in metadata.items()):
            operations.append(put_vhost(key, there, metadata))
    operations += access.open()
    for kind in _MADE:
        for key, value in wanted.items[kind].items():
            exists = key in state.items[kind]
            if kind in _NEEDS_ACCESS and exists:
                continue  # what differs there is a conflict, found before
            if not exists or not same(state.items[kind][key], value):
                operations.append(put(kind, key, value, "change" if exists else "create"))
    return operations


def _remove(state: State, removed: Record, access: _Access) -> list[Operation]:
    vhosts = {key[0] for kind, key in removed if kind == "vhosts"}
    operations = []
    for kind in _REMOVED:
        if kind == "vhosts":
            operations += access.close()
        for other, key in sorted(removed):
            # Everything but the queues, which are looked at one by one, goes with its vhost.
            with_vhost = kind not in ("queues", "vhosts", "global_parameters") and key[0] in vhosts
            if other == kind and not with_vhost:
                operations.append(delete(kind, key, state))
    return operations


def _give(state: State, wanted: Wanted, acting_user: str, access: _Access) -> list[Operation]:
    items, there = wanted.items, state.items
    new = [name for (name,) in items["users"] if (name,) not in there["users"]]
    operations = [
        put_user(state, wanted, name, user_changes(state, wanted, name)) for name in new if name != acting_user
    ]
    operations += [
        put("user_limits", key, value, "set") for key, value in items["user_limits"].items() if key[0] in new
    ]
    operations += [
        put("topic_permissions", key, value, "set")
        for key, value in items["topic_permissions"].items()
        if there["topic_permissions"].get(key) != value and not _narrows_topic(there, key, value)
    ]
    operations += _permissions(state, wanted, access, narrowing=False)
    for kind in ("topic_permissions", "user_limits"):
        operations += [
            delete(kind, key, state)
            for key in sorted(there[kind])
            if (key[0],) in items["users"] and key not in items[kind]
        ]
    return operations


def _permissions(state: State, wanted: Wanted, access: _Access, narrowing: bool) -> list[Operation]:
    """Permissions to write. First those that narrow what a user already has, later those that may widen it."""
    return [
        put("permissions", key, value, "set")
        for key, value in wanted.items["permissions"].items()
        if not access.covers(key)
        and (there := state.items["permissions"].get(key)) != value
        and _narrows(there, value) == narrowing
    ]


def _narrows(there: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    """Whether a change takes something away and certainly gives nothing.

    In general two expressions cannot be compared. Ours are alternations of literals: fewer of them is less.
    """
    if there is None:
        return False
    return all(there[what] == ".*" or _parts(wanted[what]) <= _parts(there[what]) for what in wanted)


def _narrows_topic(there: Mapping[str, Mapping[Key, Any]], key: Key, wanted: Mapping[str, str]) -> bool:
    before = there["topic_permissions"].get(key)
    if before is None:
        return (key[0],) in there["users"] and (key[1],) in there["vhosts"]
    return before != wanted and _narrows(before, wanted)


def _parts(expression: str) -> set[str]:
    if expression in ("", "^$"):
        return set()
    inner = re.match(r"^\^\((.*)\)\$$", expression)
    return set(inner.group(1).split("|")) if inner else {expression}

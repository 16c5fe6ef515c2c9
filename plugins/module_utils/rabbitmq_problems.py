# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with what is wanted of a broker, each with what to write instead. Found before any change."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .rabbitmq_ownership import LONGEST_OWNER, PREFIX
from .rabbitmq_state import QUEUE_TYPE, VHOST_LIMITS, Items, Key, State, Wanted, name_of, queue_type, same, text

_LIMITS = {"vhost_limits": ("max-connections", "max-queues"), "user_limits": ("max-connections", "max-channels")}
# Policies for one type of queue came with 3.12, a default queue type that can be changed with 3.11.
_TYPED_POLICIES = (3, 12)
_CHANGEABLE_QUEUE_TYPE = (3, 11)
_ANYWHERE = ("queues", "exchanges", "all")
_ON_VHOSTS = ("permissions", "topic_permissions", "policies", "parameters", "exchanges", "queues", "bindings")


def _vhost_of(kind: str, key: Key) -> str:
    return key[1] if kind in ("permissions", "topic_permissions") else key[0]


def version_of(told: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", told)[:2])


def problems(options: Mapping[str, Any], wanted: Wanted, acting_user: str) -> list[str]:
    """What can be seen without the broker."""
    found = [f"{name_of(kind, key)} is named more than once; keep one entry" for kind, key in wanted.repeated]
    found += [
        f"{name!r} is in users and in absent_users; keep it in one of them"
        for name in sorted({*wanted.passwords} & {*wanted.absent_users})
    ]
    if acting_user in wanted.absent_users:
        found.append(
            f"absent_users: {acting_user!r} is the user this module logs in as; log in as another administrator"
        )
    for user in options.get("users") or []:
        found += _user_problems(user, acting_user)
    found += _limit_problems(wanted.items)
    found += _reserved_names(wanted.items)
    if len(wanted.owner) > LONGEST_OWNER:
        found.append(f"owner: it has {len(wanted.owner)} characters; write at most {LONGEST_OWNER}")
    return found


def _user_problems(user: Mapping[str, Any], acting_user: str) -> Iterable[str]:
    name, password, certificate = user["name"], user.get("password"), user.get("certificate")
    if certificate and password:
        yield f"users: {name!r} has a password and certificate: true, which means none; keep one of them"
    elif not certificate and password is None:
        yield f"users: {name!r} has no password; give it one, or certificate: true for a login by certificate only"
    elif not certificate and not password:
        yield f"users: {name!r} has an empty password; RabbitMQ refuses such a login"
    if name == acting_user and certificate:
        yield f"users: {name!r} is the user this module logs in as; it needs a password, not certificate: true"
    if name == acting_user and "administrator" not in (user.get("tags") or []):
        yield (
            f"users: {name!r} is the user this module logs in as; give it the tag administrator,"
            " or the next run cannot log in"
        )


def _limit_problems(items: Items) -> Iterable[str]:
    for kind, known in _LIMITS.items():
        for key, value in items[kind].items():
            if key[1] not in known:
                yield f"{name_of(kind, key)}: there is no such limit; write one of {', '.join(known)}"
            elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
                yield f"{name_of(kind, key)} is {value!r}; write a number from 0 on, or leave it out for no limit"


def _reserved_names(items: Items) -> Iterable[str]:
    for kind in ("exchanges", "queues"):
        for key in items[kind]:
            if not key[1] or key[1].startswith("amq."):
                yield f"{name_of(kind, key)}: RabbitMQ keeps the empty name and names with amq. for itself; use another"
    for key in items["bindings"]:
        if not key[1]:
            yield f"{name_of('bindings', key)}: every queue is bound to the default exchange already; leave it out"
    for key in items["parameters"]:
        if key[1] == VHOST_LIMITS:
            yield f"{name_of('parameters', key)}: write it as limits of the vhost"
        elif key[1] in ("policy", "operator_policy"):
            yield f"{name_of('parameters', key)}: a policy is no parameter; write it into policies"
    for key in items["global_parameters"]:
        if key[0].startswith(PREFIX):
            yield f"{name_of('global_parameters', key)}: such names are this module's own records; use another name"


def conflicts(state: State, wanted: Wanted, leaving: Collection[tuple[str, Key]]) -> list[str]:
    """What cannot be done on this broker. `leaving` is what was recorded for the owner and is no longer wanted."""
    items = wanted.items
    gone = {kind: {key for other, key in leaving if other == kind} for kind in items}
    vhosts = ({*state.items["vhosts"]} - gone["vhosts"]) | {*items["vhosts"]}
    found = []
    for kind in _ON_VHOSTS:
        for key in items[kind]:
            if (_vhost_of(kind, key),) not in vhosts:
                found.append(f"{name_of(kind, key)}: this vhost does not exist, or is about to go; add it to vhosts")
    found += _binding_problems(state, items, gone, vhosts)
    version = version_of(state.version)
    found += _version_problems(state, items, version)
    for kind in ("exchanges", "queues"):
        for key, value in items[kind].items():
            there = state.items[kind].get(key)
            if there is not None and (different := _differences(kind, there, value)):
                has = ", ".join(f"{what} {is_now}" for what, is_now, _wants in different)
                wants = ", ".join(f"{what} {shall_be}" for what, _has, shall_be in different)
                found.append(
                    f"{name_of(kind, key)} exists with {has}; wanted is {wants}. RabbitMQ cannot change this: use"
                    f" another name, or {_REMEDY[kind]}"
                )
    return found


_REMEDY = {
    "queues": "stop what sends to it, let it run empty and delete it ('rabbitmqctl delete_queue --if-empty --vhost"
    " <vhost> <name>')",
    "exchanges": "delete it when nothing is bound to it any more, in the management interface",
}


def _binding_problems(
    state: State, items: Items, gone: Mapping[str, Collection[Key]], vhosts: Collection[Key]
) -> Iterable[str]:
    known = {kind: ({*state.items[kind]} - {*gone[kind]}) | {*items[kind]} for kind in ("exchanges", "queues")}
    for key in items["bindings"]:
        vhost, source, destination_type, destination, _routing_key, _arguments = key
        if (vhost,) not in vhosts or not source:
            continue
        ends = [("exchanges", source), ("queues" if destination_type == "queue" else "exchanges", destination)]
        for kind, end in ends:
            if (vhost, end) not in known[kind] and not (kind == "exchanges" and end.startswith("amq.")):
                yield f"{name_of('bindings', key)}: {name_of(kind, (vhost, end))} does not exist; add it to {kind}"


def _version_problems(state: State, items: Items, version: tuple[int, ...]) -> Iterable[str]:
    for key, policy in items["policies"].items():
        if policy["apply-to"] not in _ANYWHERE and version < _TYPED_POLICIES:
            yield (
                f"{name_of('policies', key)}: RabbitMQ {state.version} cannot apply a policy to {policy['apply-to']},"
                " 3.12 and newer can; write apply_to: queues and a pattern that matches only the queues you mean"
            )
    for key, metadata in items["vhosts"].items():
        there, wants = state.items["vhosts"].get(key), metadata.get("default_queue_type")
        if there is None or wants is None or version >= _CHANGEABLE_QUEUE_TYPE:
            continue
        if there.get("default_queue_type") != wants:
            yield (
                f"{name_of('vhosts', key)}: RabbitMQ {state.version} sets default_queue_type only when it makes"
                " the vhost; leave it out, or use another vhost"
            )


def _differences(kind: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(what, is, shall be) of everything that differs."""
    found = [
        (what, text(there.get(what)), text(wanted[what]))
        for what in wanted
        if what != "arguments" and there.get(what) != wanted[what]
    ]
    has, wants = dict(there.get("arguments") or {}), dict(wanted["arguments"])
    if kind == "queues":
        # Whoever names no type takes the one that the broker chooses.
        is_type, wants_type = queue_type(has), wants.pop(QUEUE_TYPE, None)
        has.pop(QUEUE_TYPE, None)
        if wants_type not in (None, is_type):
            found.insert(0, ("type", is_type, str(wants_type)))
    if not same(has, wants):
        found.append(("arguments", text(has), text(wants)))
    return found

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The requests to RabbitMQ's management API that make, change and remove each kind of thing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from .rabbitmq_passwords import ALGORITHMS, SHA256, derived_salt, password_hash, password_matches
from .rabbitmq_state import Key, Login, State, Wanted, name_of, queue_type

FULL = {"configure": ".*", "write": ".*", "read": ".*"}


class Operation(NamedTuple):
    """One request to the management API. `text` is for people; `body` may hold a hash and is never shown."""

    method: str
    path: tuple[str, ...]
    body: dict[str, Any] | None
    text: str
    query: str = ""
    removes: tuple[str, Key] | None = None
    # The vhost on which this request opens, or ends, the access of the user this module logs in as.
    opens: str = ""
    closes: str = ""
    records: bool = False  # writes down what is owned once everything is done

    @property
    def guarded(self) -> bool:
        """Whether this removes what may hold messages or be in use, so that it may have to stay."""
        return self.removes is not None and self.removes[0] in ("queues", "exchanges", "vhosts")


def _path(kind: str, key: Key) -> tuple[str, ...]:
    match kind:
        case "vhosts" | "users" | "queues" | "exchanges" | "policies":
            return (kind, *key)
        case "vhost_limits" | "user_limits" | "global_parameters":
            return (kind.replace("_", "-"), *key)
        case "parameters":
            vhost, component, name = key
            return ("parameters", component, vhost, name)
        case "permissions":
            user, vhost = key
            return ("permissions", vhost, user)
        case "topic_permissions":
            user, vhost, _exchange = key
            return ("topic-permissions", vhost, user)
    return bindings_path(key)


def bindings_path(key: Key) -> tuple[str, ...]:
    """Where the bindings of the same two ends are; each has there a name that only the broker knows."""
    vhost, source, destination_type, destination, _routing_key, _arguments = key
    return ("bindings", vhost, "e", source, destination_type[0], destination)


def put(kind: str, key: Key, value: Any, verb: str) -> Operation:
    """Make or change something other than a user or a vhost."""
    body: dict[str, Any]
    match kind:
        case "vhost_limits" | "user_limits" | "parameters" | "global_parameters":
            body = {"value": value}
        case "topic_permissions":
            body = {"exchange": key[2], **value}
        case "bindings":
            body = {"routing_key": key[4], "arguments": json.loads(key[5])}
        case _:
            body = dict(value)
    return Operation(
        "POST" if kind == "bindings" else "PUT", _path(kind, key), body, f"{verb} the {name_of(kind, key)}"
    )


def delete(kind: str, key: Key, state: State) -> Operation:
    path, query = _path(kind, key), ""
    if kind == "topic_permissions":
        path = (*path, key[2])
    elif kind == "exchanges":
        query = "if-unused=true"
    elif kind == "queues" and queue_type(state.items["queues"][key].get("arguments") or {}) == "classic":
        # Other types refuse these conditions; whoever sends this looks at them once more before.
        query = "if-empty=true&if-unused=true"
    return Operation("DELETE", path, None, f"delete the {name_of(kind, key)}", query, (kind, key))


def put_vhost(key: Key, there: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> Operation:
    """Make a vhost, or change what is told about it. The API forgets what a change does not repeat."""
    body = {**(there or {}), **wanted}
    if "tags" in body:
        body["tags"] = ",".join(body["tags"])
    if "default_queue_type" in body:
        body["defaultqueuetype"] = body["default_queue_type"]  # what 3.10 calls it
    if there is None:
        return Operation("PUT", ("vhosts", *key), body, f"create the vhost {key[0]}", opens=key[0])
    changes = ", ".join(sorted(name for name in wanted if there.get(name) != wanted[name]))
    return Operation("PUT", ("vhosts", *key), body, f"change the vhost {key[0]}: {changes}")


def user_changes(state: State, wanted: Wanted, name: str) -> list[str]:
    """What differs about a user, for people."""
    password, there = wanted.passwords[name], state.logins.get(name)
    if there is None:
        return ["login by certificate only" if password is None else "password set", "tags"]
    changes = []
    if password is None:
        if there.password_hash:
            changes.append("password removed")
    elif not there.password_hash:
        changes.append("password set")
    elif not password_matches(password, there.password_hash, there.algorithm):
        changes.append("password changed")
    if state.items["users"][name,] != wanted.items["users"][name,]:
        changes.append("tags")
    return changes


def stored_password(name: str, password: str | None, algorithm: str = SHA256) -> Login:
    if password is None:
        return Login("", algorithm)
    return Login(password_hash(password, derived_salt(name, password), algorithm), algorithm)


def put_user(state: State, wanted: Wanted, name: str, changes: list[str]) -> Operation:
    there = state.logins.get(name)
    if there is not None and not any(change.startswith("password") for change in changes):
        # A request without a password would clear it.
        login = there
    else:
        algorithm = there.algorithm if there is not None and there.algorithm in ALGORITHMS else SHA256
        login = stored_password(name, wanted.passwords[name], algorithm)
    tags = ",".join(wanted.items["users"][name,]["tags"])
    body = {"password_hash": login.password_hash, "hashing_algorithm": login.algorithm, "tags": tags}
    verb = "create" if there is None else "change"
    return Operation("PUT", ("users", name), body, f"{verb} the user {name}: {', '.join(changes)}")

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a broker has and what it shall have, in one form that can be compared: kind -> key -> value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Key = tuple[str, ...]
Items = dict[str, dict[Key, Any]]

#: Every kind of thing, with what its keys consist of.
KINDS: dict[str, tuple[str, ...]] = {
    "vhosts": ("vhost",),
    "vhost_limits": ("vhost", "limit"),
    "users": ("user",),
    "user_limits": ("user", "limit"),
    "permissions": ("user", "vhost"),
    "topic_permissions": ("user", "vhost", "exchange"),
    "policies": ("vhost", "name"),
    "parameters": ("vhost", "component", "name"),
    "global_parameters": ("name",),
    "exchanges": ("vhost", "name"),
    "queues": ("vhost", "name"),
    # The arguments as text: two bindings may differ in nothing else.
    "bindings": ("vhost", "source", "destination_type", "destination", "routing_key", "arguments"),
}
#: Runtime parameters that RabbitMQ keeps the limits of a vhost in.
VHOST_LIMITS = "vhost-limits"
QUEUE_TYPE = "x-queue-type"


class Login(NamedTuple):
    """How a user's password is stored. An empty hash: no login with a password."""

    password_hash: str
    algorithm: str


class State(NamedTuple):
    """What GET /api/definitions tells."""

    items: Items
    logins: dict[str, Login]
    version: str


class Wanted(NamedTuple):
    """What was asked for."""

    items: Items
    passwords: dict[str, str | None]  # None: login by certificate only
    absent_users: tuple[str, ...]
    owner: str
    repeated: tuple[tuple[str, Key], ...]  # what was named more than once


def text(value: Any) -> str:
    """A value as JSON, the same text for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def same(left: Any, right: Any) -> bool:
    return text(_plain(left)) == text(_plain(right))


def _plain(value: Any) -> Any:
    """A value without what the broker does not keep: it cannot tell an empty list from an empty mapping."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value] or {}
    return value


def empty_items() -> Items:
    return {kind: {} for kind in KINDS}


def tags_of(value: Any) -> list[str]:
    # A comma separated string or a list, depending on version and object.
    parts = value.split(",") if isinstance(value, str) else value or []
    return sorted({str(part).strip() for part in parts} - {""})


def queue_type(arguments: Mapping[str, Any]) -> str:
    """The type of an existing queue. 3.10 does not write down the type of a classic one, 4.0 does."""
    return str(arguments.get(QUEUE_TYPE, "classic"))


def vhost_metadata(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer tells about a vhost beyond its name. The definitions of 3.10 tell nothing."""
    found: dict[str, Any] = {}
    if "description" in entry:
        found["description"] = entry["description"] or ""
    if "tags" in entry:
        found["tags"] = tags_of(entry["tags"])
    if entry.get("default_queue_type", "undefined") != "undefined":
        found["default_queue_type"] = entry["default_queue_type"]
    return found


def _binding_key(entry: Mapping[str, Any]) -> Key:
    names = ("vhost", "source", "destination_type", "destination")
    return (*(entry[name] for name in names), entry.get("routing_key") or "", text(entry.get("arguments") or {}))


def parse_definitions(document: Mapping[str, Any]) -> State:
    """The answer to GET /api/definitions of RabbitMQ 3.10 to 4."""
    items = empty_items()
    logins = {}
    for entry in document.get("vhosts", []):
        items["vhosts"][entry["name"],] = vhost_metadata(entry)
    for entry in document.get("users", []):
        name = entry["name"]
        items["users"][name,] = {"tags": tags_of(entry.get("tags"))}
        logins[name] = Login(entry.get("password_hash") or "", entry.get("hashing_algorithm") or "")
        items["user_limits"].update({(name, limit): value for limit, value in dict(entry.get("limits") or {}).items()})
    for entry in document.get("permissions", []):
        items["permissions"][entry["user"], entry["vhost"]] = _only(entry, "configure", "write", "read")
    for entry in document.get("topic_permissions", []):
        key = (entry["user"], entry["vhost"], entry["exchange"])
        items["topic_permissions"][key] = _only(entry, "write", "read")
    for entry in document.get("parameters", []):
        if entry["component"] == VHOST_LIMITS:
            limits = dict(entry["value"] or {})
            items["vhost_limits"].update({(entry["vhost"], limit): value for limit, value in limits.items()})
        else:
            items["parameters"][entry["vhost"], entry["component"], entry["name"]] = entry["value"]
    for entry in document.get("global_parameters", []):
        items["global_parameters"][entry["name"],] = entry["value"]
    for entry in document.get("policies", []):
        found = _only(entry, "pattern", "apply-to", "priority", "definition")
        items["policies"][entry["vhost"], entry["name"]] = found
    for entry in document.get("exchanges", []):
        found = _only(entry, "type", "durable", "auto_delete", "internal", "arguments")
        items["exchanges"][entry["vhost"], entry["name"]] = found
    for entry in document.get("queues", []):
        found = _only(entry, "durable", "auto_delete", "arguments")
        items["queues"][entry["vhost"], entry["name"]] = found
    for entry in document.get("bindings", []):
        items["bindings"][_binding_key(entry)] = {}
    return State(items, logins, document.get("rabbitmq_version") or document.get("rabbit_version") or "")


def _only(entry: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: entry[name] for name in names if name in entry}


def _list(options: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return list(options.get(name) or [])


def _entries(options: Mapping[str, Any]) -> Iterable[tuple[str, Key, Any]]:
    """Everything that the options name: its kind, its key and its value."""
    for entry in _list(options, "vhosts"):
        metadata = {name: entry[name] for name in ("description", "default_queue_type") if entry.get(name) is not None}
        if entry.get("tags") is not None:
            metadata["tags"] = tags_of(entry["tags"])
        yield "vhosts", (entry["name"],), metadata
        for limit, value in (entry.get("limits") or {}).items():
            yield "vhost_limits", (entry["name"], limit), value
    for entry in _list(options, "users"):
        name = entry["name"]
        yield "users", (name,), {"tags": tags_of(entry.get("tags"))}
        for limit, value in (entry.get("limits") or {}).items():
            yield "user_limits", (name, limit), value
        for given in _list(entry, "permissions"):
            expressions = {what: given[what] for what in ("configure", "write", "read")}
            yield "permissions", (name, given["vhost"]), expressions
        for given in _list(entry, "topic_permissions"):
            expressions = {what: given[what] for what in ("write", "read")}
            yield "topic_permissions", (name, given["vhost"], given["exchange"]), expressions
    for entry in _list(options, "policies"):
        value = {
            "pattern": entry["pattern"],
            "apply-to": entry.get("apply_to") or "all",
            "priority": entry.get("priority") or 0,
            "definition": entry["definition"],
        }
        yield "policies", (entry["vhost"], entry["name"]), value
    for entry in _list(options, "parameters"):
        yield "parameters", (entry["vhost"], entry["component"], entry["name"]), entry["value"]
    for entry in _list(options, "global_parameters"):
        yield "global_parameters", (entry["name"],), entry["value"]
    for entry in _list(options, "exchanges"):
        value = {
            "type": entry.get("type") or "direct",
            "durable": entry.get("durable", True),
            "auto_delete": entry.get("auto_delete", False),
            "internal": entry.get("internal", False),
            "arguments": entry.get("arguments") or {},
        }
        yield "exchanges", (entry["vhost"], entry["name"]), value
    for entry in _list(options, "queues"):
        value = {
            "durable": entry.get("durable", True),
            "auto_delete": entry.get("auto_delete", False),
            "arguments": entry.get("arguments") or {},
        }
        yield "queues", (entry["vhost"], entry["name"]), value
    for entry in _list(options, "bindings"):
        binding = {"destination_type": "queue", **{name: value for name, value in entry.items() if value is not None}}
        yield "bindings", _binding_key(binding), {}


def wanted_from(options: Mapping[str, Any]) -> Wanted:
    """The options of the module, or of the filter for the first boot, as items."""
    items = empty_items()
    repeated: dict[tuple[str, Key], None] = {}
    for kind, key, value in _entries(options):
        if key in items[kind]:
            repeated[kind, key] = None
        items[kind][key] = value
    passwords = {
        user["name"]: None if user.get("certificate") else user.get("password") or ""
        for user in _list(options, "users")
    }
    absent = tuple(dict.fromkeys(options.get("absent_users") or []))
    return Wanted(items, passwords, absent, options.get("owner") or "", tuple(repeated))


# --------------------------------------------------------------------------------------------------
# How a thing is called, for people

_NAMES = {
    "vhosts": "vhost {0}",
    "vhost_limits": "limit {1} of vhost {0}",
    "users": "user {0}",
    "user_limits": "limit {1} of user {0}",
    "permissions": "permissions of user {0} on vhost {1}",
    "topic_permissions": "topic permissions of user {0} on exchange {2} of vhost {1}",
    "policies": "policy {1} on vhost {0}",
    "parameters": "parameter {2} of {1} on vhost {0}",
    "global_parameters": "global parameter {0}",
    "exchanges": "exchange {1} on vhost {0}",
    "queues": "queue {1} on vhost {0}",
}


def name_of(kind: str, key: Key) -> str:
    if kind != "bindings":
        return _NAMES[kind].format(*key)
    vhost, source, destination_type, destination, routing_key, arguments = key
    told = f" with {arguments}" if arguments != "{}" else ""
    return f"binding {source} -> {destination_type} {destination} by {routing_key!r}{told} on vhost {vhost}"

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a broker loads at its first start, so that there is never a guest account or an open moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .rabbitmq_problems import conflicts, problems
from .rabbitmq_requests import stored_password
from .rabbitmq_state import VHOST_LIMITS, State, empty_items, wanted_from

#: What goes into the file. Exchanges, queues and bindings wait until the cluster that shall hold them exists.
LOADED = ("vhosts", "users", "policies")


def boot_definitions(options: Mapping[str, Any]) -> dict[str, Any]:
    """The file for load_definitions."""
    loaded = {name: options.get(name) or [] for name in LOADED}
    wanted = wanted_from(loaded)
    # The version is not known yet: what depends on it is told when the state is applied.
    newest = State(empty_items(), {}, "999.0")
    wrong = [*problems(loaded, wanted, acting_user=""), *conflicts(newest, wanted, ())]
    if wrong:
        raise ValueError("; ".join(wrong))
    items = wanted.items
    limits: dict[str, dict[str, int]] = {}
    for (vhost, limit), value in items["vhost_limits"].items():
        limits.setdefault(vhost, {})[limit] = value
    users = []
    for name, password in wanted.passwords.items():
        login = stored_password(name, password)
        own = {limit: value for (user, limit), value in items["user_limits"].items() if user == name}
        user = {"name": name, "password_hash": login.password_hash, "hashing_algorithm": login.algorithm}
        users.append({**user, "tags": items["users"][name,]["tags"], **({"limits": own} if own else {})})
    found: dict[str, list[Any]] = {
        "vhosts": [{"name": key[0], **_metadata(metadata)} for key, metadata in items["vhosts"].items()],
        "users": users,
        "permissions": [{"user": key[0], "vhost": key[1], **value} for key, value in items["permissions"].items()],
    }
    more: dict[str, list[Any]] = {
        "topic_permissions": [
            {"user": key[0], "vhost": key[1], "exchange": key[2], **value}
            for key, value in items["topic_permissions"].items()
        ],
        "parameters": [
            {"vhost": vhost, "component": VHOST_LIMITS, "name": "limits", "value": value}
            for vhost, value in limits.items()
        ],
        "policies": [{"vhost": key[0], "name": key[1], **value} for key, value in items["policies"].items()],
    }
    return {**found, **{kind: entries for kind, entries in more.items() if entries}}


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    # The default queue type is read from metadata only, the others from both places, by version.
    return {**metadata, "metadata": dict(metadata)} if metadata else {}

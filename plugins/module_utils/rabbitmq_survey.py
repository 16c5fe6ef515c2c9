# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the definitions do not tell, asked only when it matters: whether what is to be removed is still in use."""

from __future__ import annotations

import time
from typing import Any, Protocol

from .rabbitmq_plan import Kept, leaving
from .rabbitmq_state import Key, State, Wanted, queue_type, text, vhost_metadata

# RabbitMQ counts a queue's messages and consumers anew every 5 seconds; a young queue has no count yet.
COUNTED_WITHIN = 7.0
PAUSE = 0.5
_NAMES_TOLD = 5


class Reader(Protocol):
    def read(self, *path: str, query: str = "") -> Any:
        """The answer to GET, or None when there is no such thing."""


def with_metadata(api: Reader, state: State, wanted: Wanted) -> State:
    """The state with what 3.10 tells about vhosts only elsewhere, if anybody wants it."""
    untold = [
        key
        for key, metadata in wanted.items["vhosts"].items()
        if metadata and "description" not in state.items["vhosts"].get(key, {"description": ""})
    ]
    if not untold:
        return state
    found: dict[Key, Any] = {(entry["name"],): vhost_metadata(entry) for entry in api.read("vhosts") or []}
    vhosts = {key: found.get(key, metadata) for key, metadata in state.items["vhosts"].items()}
    return state._replace(items={**state.items, "vhosts": vhosts})


def kept(api: Reader, state: State, wanted: Wanted, acting_user: str) -> list[Kept]:
    """What is no longer wanted, and why it must stay for now."""
    candidates = leaving(state, wanted)
    found = []
    if ("users", (acting_user,)) in candidates:
        found.append(Kept("users", (acting_user,), "this module logs in as this user"))
    queues = {key for kind, key in candidates if kind == "queues"}
    deadline = time.monotonic() + COUNTED_WITHIN
    for key in sorted(queues):
        if reason := queue_in_use(api, state, key, deadline):
            found.append(Kept("queues", key, reason))
            queues.discard(key)
    vhosts = {key for kind, key in candidates if kind == "vhosts"}
    for key in sorted(vhosts):
        if reason := vhost_in_use(api, key[0], {name for vhost, name in queues if vhost == key[0]}):
            found.append(Kept("vhosts", key, reason))
            vhosts.discard(key)
    bindings = {key for kind, key in candidates if kind == "bindings"}
    for key in sorted(key for kind, key in candidates if kind == "exchanges"):
        if (key[0],) not in vhosts and (reason := _exchange_in_use(api, key, bindings, queues)):
            found.append(Kept("exchanges", key, reason))
    return found


def queue_in_use(api: Reader, state: State, key: Key, deadline: float = 0.0) -> str:
    """Why a queue cannot go; nothing when it can. Until the deadline it may still be without counts."""
    answer = _counted(api, key, deadline)
    if answer is None:
        return ""
    counts = {what: answer.get(what) for what in ("messages", "consumers")}
    if None in counts.values():
        # The broker itself refuses to delete a classic queue that is in use, and no other.
        classic = queue_type(state.items["queues"][key].get("arguments") or {}) == "classic"
        return "" if classic else "the broker does not tell how many messages it holds (its statistics are off)"
    told = [f"{count} {what[:-1] if count == 1 else what}" for what, count in counts.items() if count]
    return f"it has {' and '.join(told)}" if told else ""


def _counted(api: Reader, key: Key, deadline: float) -> dict[str, Any] | None:
    while True:
        answer: dict[str, Any] | None = api.read("queues", *key)
        if answer is None or "messages" in answer or time.monotonic() >= deadline:
            return answer
        time.sleep(PAUSE)


def vhost_in_use(api: Reader, vhost: str, leaving_queues: set[str]) -> str:
    """Why a vhost cannot go. The definitions do not tell of exclusive queues."""
    answer = api.read("queues", vhost, query="columns=name") or []
    names = sorted({entry["name"] for entry in answer} - leaving_queues)
    if not names:
        return ""
    more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
    return f"it has the queue{'s' if len(names) > 1 else ''} {', '.join(names[:_NAMES_TOLD])}{more}"


def _exchange_in_use(api: Reader, key: Key, bindings: set[Key], queues: set[Key]) -> str:
    """Why an exchange cannot go: bindings of others, some of which the definitions do not tell."""
    answer = api.read("exchanges", *key, "bindings", "source")
    others = []
    for entry in answer or []:
        destination = (entry["destination_type"], entry["destination"])
        own = (key[0], key[1], *destination, entry["routing_key"], text(entry["arguments"] or {})) in bindings
        if not own and not (destination[0] == "queue" and (key[0], destination[1]) in queues):
            others.append(destination[1])
    if not others:
        return ""
    names = ", ".join(sorted({*others})[:_NAMES_TOLD])
    return f"others have {len(others)} binding{'s' if len(others) > 1 else ''} to it, for {names}"

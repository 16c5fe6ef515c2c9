# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before and after as text. Of passwords only whether they change."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .rabbitmq_ownership import Record, described
from .rabbitmq_plan import Plan
from .rabbitmq_requests import user_changes
from .rabbitmq_state import KINDS, Items, Key, State, Wanted, name_of, same, text

# Federation and shovels keep addresses with passwords in parameters.
_CREDENTIALS = re.compile(r"(?<=://)([^/@\s:]*):([^/@\s]*)@")
_HIDDEN = "********"


def passwords_in(value: Any) -> set[str]:
    """The passwords in the addresses of a parameter's value."""
    if isinstance(value, str):
        return {match[2] for match in _CREDENTIALS.finditer(value)} - {""}
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return set()
    return set().union(*(passwords_in(item) for item in value))


def _hide(shown: str) -> str:
    return _CREDENTIALS.sub(rf"\1:{_HIDDEN}@", shown)


def diff(state: State, wanted: Wanted, plan: Plan) -> dict[str, str]:
    """What was asked for and what is removed, before and after."""
    removed = {kind: {key for other, key in plan.removed if other == kind} for kind in KINDS}
    removed["users"] |= {(name,) for name in wanted.absent_users}
    for kind in ("permissions", "topic_permissions", "user_limits"):
        users = {*wanted.items["users"], *removed["users"]}
        removed[kind] = {key for key in state.items[kind] if (key[0],) in users and key not in wanted.items[kind]}
    before: Items = {kind: {} for kind in KINDS}
    after: Items = {kind: {} for kind in KINDS}
    for kind in KINDS:
        asked = wanted.items[kind]
        before[kind] = {key: value for key, value in state.items[kind].items() if key in asked or key in removed[kind]}
        after[kind] = {key: _after(kind, state.items[kind].get(key), value) for key, value in asked.items()}
    notes: dict[tuple[str, Key], list[str]] = {
        ("users", (name,)): _notes(state, wanted, name) for name in wanted.passwords
    }
    for kind in ("parameters", "global_parameters"):
        for key, value in wanted.items[kind].items():
            there = state.items[kind].get(key)
            if there is not None and not same(there, value) and _hide(text(there)) == _hide(text(value)):
                notes[kind, key] = ["a password in it changes"]
    return {
        "before": _lines(before, {}, plan.before, wanted.owner),
        "after": _lines(after, notes, plan.after, wanted.owner),
    }


def _after(kind: str, there: Any, wanted: Any) -> Any:
    # What is not asked for about a vhost, or about an existing exchange or queue, stays as it is.
    if kind == "vhosts":
        return {**(there or {}), **wanted}
    return there if kind in ("exchanges", "queues") and there is not None else wanted


def _notes(state: State, wanted: Wanted, name: str) -> list[str]:
    return [change for change in user_changes(state, wanted, name) if change != "tags"]


def _lines(items: Items, notes: Mapping[tuple[str, Key], Iterable[str]], owned: Record, owner: str) -> str:
    lines = []
    for kind in KINDS:
        for key in sorted(items[kind]):
            value = items[kind][key]
            told = {} if value == {} else value if isinstance(value, Mapping) else {"value": value}
            lines.append(f"{name_of(kind, key)}{':' if told or notes.get((kind, key)) else ''}")
            lines += [f"  {name}: {_hide(text(told[name]))}" for name in sorted(told)]
            lines += [f"  # {note}" for note in notes.get((kind, key), ())]
    if owned:
        lines += [f"owned by {owner}:", *(f"  - {name}" for name in described(owned))]
    return "".join(f"{line}\n" for line in lines)

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a plan: what cannot be removed after all stays recorded, and no access is left open by a failure."""

from __future__ import annotations

import contextlib
import time

from .rabbitmq_api import ApiError, ManagementApi
from .rabbitmq_ownership import Record
from .rabbitmq_plan import Kept, Plan, record
from .rabbitmq_requests import Operation, bindings_path
from .rabbitmq_state import Key, State, Wanted, queue_type, text
from .rabbitmq_survey import queue_in_use, vhost_in_use

# Quorum queues and streams cannot be deleted on the condition that they are empty, and their counts are up to 5
# seconds old: they are looked at again when the counts are younger than the last request before.
SETTLE = 6.0


class Application:
    """One run. `done` grows with every request, so that a failure can tell what was changed before."""

    def __init__(self, api: ManagementApi, state: State, wanted: Wanted, plan: Plan, done: list[Operation]) -> None:
        self._api, self._state, self._wanted, self._plan, self._done = api, state, wanted, plan, done
        self._open: list[str] = []  # vhosts on which the user we log in as has, for now, more than it shall keep
        self._settled = False
        self.kept: list[Kept] = []

    def run(self) -> None:
        try:
            for operation in self._plan.operations:
                self._one(operation)
        finally:
            for vhost in list(self._open):
                with contextlib.suppress(ApiError):
                    self._send(self._plan.restores[vhost])

    def _one(self, operation: Operation) -> None:
        if operation.records and self.kept:
            for current in self._last_record():
                self._send(current)
            return
        if operation.removes is not None:
            kind, key = operation.removes
            if reason := self._in_use(kind, key):
                self.kept.append(Kept(kind, key, reason))
                return
            if kind == "bindings":
                name = self._binding_name(key)
                if name is None:
                    return
                operation = operation._replace(path=(*operation.path, name))
        self._send(operation)

    def _send(self, operation: Operation) -> None:
        if reason := self._api.apply(operation):
            kind, key = operation.removes or ("", ())
            self.kept.append(Kept(kind, key, reason))
            return
        self._done.append(operation)
        if operation.opens in self._plan.restores:
            self._open.append(operation.opens)
        closed = operation.path[1] if operation.removes and operation.removes[0] == "vhosts" else operation.closes
        if closed in self._open:
            self._open.remove(closed)

    def _last_record(self) -> list[Operation]:
        """What is written at the end when something had to stay after all."""
        vhosts = {item.key[0] for item in self.kept if item.kind == "vhosts"}
        with_vhost = {
            (kind, key)
            for kind, key in self._plan.removed
            if kind not in ("users", "queues", "global_parameters") and key[0] in vhosts
        }
        staying: Record = frozenset(with_vhost | {(item.kind, item.key) for item in self.kept})
        after = self._plan.after | staying
        return record(self._wanted.owner, self._plan.before | self._plan.after, after, last=True)

    def _in_use(self, kind: str, key: Key) -> str:
        if kind == "vhosts":
            return vhost_in_use(self._api, key[0], set())
        if kind != "queues" or queue_type(self._state.items["queues"][key].get("arguments") or {}) == "classic":
            return ""  # of classic queues and exchanges the broker itself makes sure
        if not self._settled:
            time.sleep(SETTLE)
            self._settled = True
        return queue_in_use(self._api, self._state, key)

    def _binding_name(self, key: Key) -> str | None:
        """What the broker calls a binding among those of the same two ends."""
        *_ends, routing_key, arguments = key
        answer = self._api.read(*bindings_path(key)) or []
        names = (
            str(entry["properties_key"])
            for entry in answer
            if entry["routing_key"] == routing_key and text(entry["arguments"] or {}) == arguments
        )
        return next(names, None)

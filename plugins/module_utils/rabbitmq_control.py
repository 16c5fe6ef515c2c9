# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does to one RabbitMQ node what rabbitmq_node.py decided, and waits until it is true.

An unchanged node is looked at through files, systemd and the management API only: each rabbitmqctl starts an Erlang
machine, which takes about a second.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import rabbitmq_node as rules
from .rabbitmq_node import Known, Queue, View
from .units import Outcome, Systemctl, Unit, Wanted, settle, trim

UNIT = "rabbitmq-server.service"
PAUSE = 1.0
#: Makes a node serve the certificates that lie on its disk now, to clients and to other nodes. OTP's
#: ssl:clear_pem_cache leaves the cache of the distribution alone (its source: "not supported for distribution at the
#: moment"), so that one is asked itself.
CLEAR_CACHES = (
    "ssl:clear_pem_cache(), case whereis(ssl_pem_cache_dist) of undefined -> ok; _ -> "
    "gen_server:call(ssl_pem_cache_dist, {unconditionally_clear_pem_cache, self()}), "
    "ssl_manager:refresh_trusted_db(dist) end."
)
#: Two nodes are no majority of anything: the one that stays would pause when the other one leaves.
NO_PAUSE = "application:set_env(rabbit, cluster_partition_handling, ignore)."


class NodeError(Exception):
    """A message for the operator."""


class Options(NamedTuple):
    """nodes: node name -> URL of its management API, in the inventory's order."""

    node: str
    nodes: Mapping[str, str]
    cookie: str
    data: Path
    depends_on: tuple[str, ...]
    timeout: int


class Control:
    """One node, and what the others say about it.

    run: executes a command. read: reads a path below /api/ of a URL, None when that cannot be had; why: the reason.
    """

    def __init__(
        self,
        options: Options,
        run: Callable[[list[str]], Outcome],
        read: Callable[[str, str], Any],
        systemctl: Systemctl,
        sleep: Callable[[float], None],
        now: Callable[[], float],
        why: Callable[[str], str] = lambda url: "",
    ) -> None:
        self.options = options
        self.steps: list[str] = []
        self._why = why
        self._run, self._read, self._systemctl, self._sleep, self._now = run, read, systemctl, sleep, now

    # --- looking ---------------------------------------------------------------------------------

    def known(self) -> Known:
        options = self.options
        views = {}
        for node, url in options.nodes.items():
            answer = self._read(url, "nodes")
            if answer is not None:
                views[node] = rules.parse_nodes(answer)
        members = self._members()
        if members is None:
            members = rules.members_told(options.node, views)
        return Known(options.node, tuple(options.nodes), members, self._cookie(), self._unit().is_running, views)

    def _unit(self) -> Unit:
        return self._systemctl.show([UNIT])[UNIT]

    def _members(self) -> tuple[str, ...] | None:
        """None: the node ran, and its directory does not tell (RabbitMQ 4.3 keeps the members in its own format)."""
        directory = self.options.data / "mnesia" / self.options.node
        try:
            return rules.parse_members((directory / "cluster_nodes.config").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None if directory.is_dir() and any(directory.iterdir()) else ()

    def _cookie(self) -> str:
        try:
            there = (self.options.data / ".erlang.cookie").read_bytes().strip()
        except FileNotFoundError:
            return "absent"
        return "same" if hmac.compare_digest(there, self.options.cookie.encode()) else "other"

    def own_view(self) -> View | None:
        answer = self._read(self.options.nodes[self.options.node], "nodes")
        return None if answer is None else rules.parse_nodes(answer)

    def _silence(self) -> str:
        reason = self._why(self.options.nodes[self.options.node])
        return reason or "its management API does not answer; see journalctl -u rabbitmq-server"

    def own_queues(self) -> list[Queue]:
        answer = self._read(self.options.nodes[self.options.node], "queues")
        if answer is None:
            raise NodeError(f"{self.options.node}: the queues are not known: {self._silence()}")
        return rules.parse_queues(answer)

    # --- states ----------------------------------------------------------------------------------

    def accept(self, known: Known) -> None:
        found = rules.obstacles(known)
        if found:
            raise NodeError("\n".join(found))

    def start(self, check: bool) -> None:
        """Run. What runs already is left alone, with whichever files it read.

        One that is alone beside a cluster joins it: while a member is missing, the others may not restart.
        """
        known = self.known()
        self.accept(known)
        if not known.running:
            self.steps.append(f"start {UNIT}")
            if not check:
                wanted = [Wanted(UNIT, "restart", (), self.options.timeout)]
                settle(self._systemctl, wanted, [], None, False)
                self._await_startup()
        if not known.is_alone or not rules.clusters(known):
            return
        if check:
            self.steps.append("join the cluster")
        else:
            self._join(self.known())
            self._fill()

    def settle(self, check: bool) -> None:
        """Run with the present files, as a member of the cluster."""
        known = self.known()
        self.accept(known)
        wanted = [Wanted(UNIT, "restart", self.options.depends_on, self.options.timeout)]
        actions, _diff = settle(self._systemctl, wanted, [], None, True)
        verbs = [action.verb for action in actions]
        if check:
            self.steps += [f"{action.verb} {UNIT} ({action.why})" for action in actions]
            if known.is_alone and known.node != known.nodes[0]:
                self.steps.append("join the cluster")
            return
        if "restart" in verbs:
            self._pass_gate(known)
        if actions:
            settle(self._systemctl, wanted, [], None, False)
            self.steps += [f"{action.verb} {UNIT} ({action.why})" for action in actions]
        if "start" in verbs or "restart" in verbs:
            self._await_startup()
        self._join(self.known())
        self._fill()

    def check_health(self) -> View:
        """Waits a little: a node that has just come back is not yet listed by all of the others."""
        deadline = self._now() + self.options.timeout
        while True:
            view = self.own_view()
            found = (
                [f"{self.options.node}: {self._silence()}"]
                if view is None
                else rules.unhealthy(view, tuple(self.options.nodes))
            )
            # Alarms do not go away by waiting for a node.
            settled = view is not None and not [name for name in self.options.nodes if name not in view.running]
            if view is not None and not found:
                return view
            if settled or self._now() >= deadline:
                raise NodeError("\n".join(found))
            self._sleep(PAUSE)

    def stop(self, check: bool) -> None:
        """Stop it in a way that costs no queue its majority."""
        known = self.known()
        self.accept(known)
        if not known.running:
            return
        self.steps.append(f"stop {UNIT}")
        if not check:
            self._pass_gate(known)
            self._systemctl.must("stop", "--", UNIT)

    def leave(self, check: bool) -> None:
        """Give the queues to the others, leave the cluster, stop for good."""
        known = self.known()
        if known.is_alone:
            if known.running or self._unit().is_enabled:
                raise NodeError(
                    f"{known.node} is the last node: its queues would be gone. Stop rabbitmq-server there if you do "
                    "not need it"
                )
            return
        self.accept(known)
        view = self.own_view()
        if view is None:
            raise NodeError(
                f"{known.node} does not run, so it cannot hand its queues over. Start it, or let the others forget it: "
                f"playbooks/remove_broker.yml -e broker_forget={known.node}"
            )
        found = rules.holds_back(known.node, view, self.own_queues())
        if found:
            raise NodeError("\n".join(found))
        self.steps += [
            f"move the queues of {known.node} away",
            f"take {known.node} out of the cluster",
            f"disable {UNIT}",
        ]
        if check:
            return
        others = [name for name in view.members if name != known.node]
        self._ctl("rabbitmq-queues", "shrink", known.node)
        self._emptied(known.node)
        if len(others) == 1:
            self._ctl("rabbitmqctl", "-n", others[0], "eval", NO_PAUSE)
        self._ctl("rabbitmqctl", "stop_app")
        self._ctl("rabbitmqctl", "reset")
        self._systemctl.must("disable", "--quiet", "--now", "--", UNIT)

    def forget(self, node: str, check: bool) -> None:
        """Take a member whose host is gone out of the cluster of this node."""
        view = self.own_view()
        if view is None:
            raise NodeError(f"{self.options.node}: {self._silence()}")
        if node not in view.members:
            return
        if node in view.running:
            raise NodeError(
                f"{node} runs. Take it out with -e broker_remove=<its host>, so that its queues are moved first"
            )
        self.steps.append(f"forget {node}")
        if not check:
            self._ctl("rabbitmq-queues", "shrink", node)
            self._ctl("rabbitmqctl", "forget_cluster_node", node)

    def load_certificates(self, check: bool) -> None:
        """One that does not run, or is about to be restarted for another file, reads them at its start."""
        wanted = [Wanted(UNIT, "restart", self.options.depends_on, self.options.timeout)]
        actions, _diff = settle(self._systemctl, wanted, [], None, True)
        if not any(action.verb in ("start", "restart") for action in actions):
            self.steps.append("serve the certificates on disk")
            if not check:
                self._ctl("rabbitmqctl", "eval", CLEAR_CACHES)

    # --- steps -----------------------------------------------------------------------------------

    def _pass_gate(self, known: Known) -> None:
        """Wait until the others can do without this node."""
        if known.is_alone:
            return
        deadline = self._now() + self.options.timeout
        while True:
            found = self._gate_closed(known)
            if not found:
                return
            if self._now() >= deadline:
                raise NodeError(
                    f"{known.node} was not touched and runs with its former files, because the cluster needs it now:\n"
                    + "\n".join(found)
                )
            self._sleep(PAUSE)

    def _gate_closed(self, known: Known) -> list[str]:
        view = self.own_view()
        if view is None:
            # It is no help to anybody as it is: a restart can only mend it.
            return []
        found = [f"{name} does not run" for name in view.members if name not in view.running]
        found += rules.alarms(view)
        if not found:
            outcome = self._run(["rabbitmq-diagnostics", "-q", "check_if_node_is_quorum_critical"])
            if outcome.rc:
                found.append(f"a queue would lose its majority: {trim(outcome.stderr or outcome.stdout)}")
        return found

    def _await_startup(self) -> None:
        self._ctl("rabbitmqctl", "await_startup", "--timeout", str(self.options.timeout))
        deadline = self._now() + self.options.timeout
        while True:
            view = self.own_view()
            if view is not None and self.options.node in view.running:
                return
            if self._now() >= deadline:
                raise NodeError(
                    f"{self.options.node} started, and cannot be used after {self.options.timeout} s: {self._silence()}"
                )
            self._sleep(PAUSE)

    def _join(self, known: Known) -> None:
        if not known.is_alone or not known.peers:
            return
        decision = rules.join(known, self.own_queues())
        if decision.refusal:
            raise NodeError(decision.refusal)
        if not decision.target:
            return
        self.steps.append(f"join {decision.target}")
        self._ctl("rabbitmqctl", "stop_app")
        try:
            self._ctl("rabbitmqctl", "join_cluster", decision.target)
        finally:
            # After a refusal it goes on as what it was.
            self._ctl("rabbitmqctl", "start_app")
        self._await_startup()

    def _fill(self) -> None:
        """Quorum queues that were made when there were fewer nodes get a member here."""
        view = self.own_view()
        if view is None or len(view.members) < 2:
            return
        lacking = rules.underfilled(self.own_queues(), self.options.node, view.members)
        for vhost in sorted({queue.vhost for queue in lacking}):
            names = [queue for queue in lacking if queue.vhost == vhost]
            self.steps.append(f"add a member to {len(names)} queues of vhost {vhost}")
            self._ctl(
                "rabbitmq-queues",
                "grow",
                self.options.node,
                "all",
                "--vhost-pattern",
                rules.pattern([Queue("", vhost, "", "", ())]),
                "--queue-pattern",
                rules.pattern(names),
            )

    def _emptied(self, node: str) -> None:
        """Shrinking tells of a queue that stayed in its table only. What the queues say counts, some seconds later."""
        deadline = self._now() + self.options.timeout
        while True:
            left = [queue for queue in self.own_queues() if queue.type == "quorum" and node in queue.members]
            if not left:
                return
            if self._now() >= deadline:
                raise NodeError(
                    f"{node} still holds a member of {', '.join(queue.label for queue in left)}: see `rabbitmq-queues "
                    "quorum_status`. It stays in the cluster"
                )
            self._sleep(PAUSE)

    def _ctl(self, *command: str) -> str:
        outcome = self._run([command[0], "-q", *command[1:]])
        if outcome.rc:
            raise NodeError(f"{' '.join(command)} failed: {trim(outcome.stderr or outcome.stdout)}")
        return outcome.stdout

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be done to one node of a RabbitMQ cluster. Pure: what is known comes in, what to do comes out.

A node's data is never thrown away to make it fit: whatever does not fit is told, with the command that mends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

NODE = re.compile(r"[A-Za-z0-9_-]+@[A-Za-z0-9_.-]+")
#: How many members RabbitMQ gives a quorum queue by itself (quorum-queues guide, "initial group size").
GROUP_SIZE = 3


class View(NamedTuple):
    """The cluster as one node's management API describes it."""

    members: tuple[str, ...]
    running: tuple[str, ...]
    alarms: tuple[str, ...] = ()  # "rabbit@b1: memory"
    partitions: tuple[str, ...] = ()  # "rabbit@b1 is cut off from rabbit@b2"


class Queue(NamedTuple):
    vhost: str
    name: str
    type: str
    node: str
    members: tuple[str, ...]
    messages: int = 0

    @property
    def label(self) -> str:
        return f"{self.name} (vhost {self.vhost})"


class Known(NamedTuple):
    """Everything that is known about this node before something is done.

    nodes: the nodes the inventory names, in its order. members: the cluster as the node's data directory remembers
    it; empty when the node never ran. views: node -> what its management API says, for those that answer.
    cookie: same | other | absent, compared with the cluster's.
    """

    node: str
    nodes: tuple[str, ...]
    members: tuple[str, ...]
    cookie: str
    running: bool
    views: Mapping[str, View]

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(name for name in self.nodes if name != self.node)

    @property
    def is_alone(self) -> bool:
        """Never started, or a cluster of its own."""
        return set(self.members) <= {self.node}


def parse_members(text: str) -> tuple[str, ...]:
    """The first list of cluster_nodes.config: ``{[rabbit@b1,rabbit@b2],[…]}.`` The second holds the disc nodes."""
    first = text.split("]", 1)[0]
    return tuple(sorted(NODE.findall(first)))


def members_told(node: str, views: Mapping[str, View]) -> tuple[str, ...]:
    """The members of the node's cluster as it says itself, or else whoever knows it; itself where nobody does."""
    own = views.get(node)
    if own is not None:
        return own.members
    return next((view.members for view in views.values() if node in view.members), (node,))


def parse_nodes(answer: Iterable[Mapping[str, Any]]) -> View:
    """What GET /api/nodes answered."""
    nodes = sorted(answer, key=lambda node: str(node["name"]))
    alarms, partitions = [], []
    for node in nodes:
        for key, what in (("mem_alarm", "memory"), ("disk_free_alarm", "disk")):
            if node.get(key):
                alarms.append(f"{node['name']}: {what}")
        partitions += [f"{node['name']} is cut off from {other}" for other in node.get("partitions") or []]
    return View(
        tuple(str(node["name"]) for node in nodes),
        tuple(str(node["name"]) for node in nodes if node.get("running")),
        tuple(alarms),
        tuple(partitions),
    )


def parse_queues(answer: Iterable[Mapping[str, Any]]) -> list[Queue]:
    """What GET /api/queues answered. Exclusive queues go with their connection: they are nobody's data."""
    return [
        Queue(
            str(queue["vhost"]),
            str(queue["name"]),
            str(queue.get("type", "classic")),
            str(queue.get("node") or queue.get("leader") or ""),
            tuple(sorted(str(member) for member in queue.get("members") or ())),
            int(queue.get("messages") or 0),
        )
        for queue in answer
        if not queue.get("exclusive") and not queue.get("owner_pid_details")
    ]


# --------------------------------------------------------------------------------------------------
# What stands in the way


def obstacles(known: Known) -> list[str]:
    """Why nothing may be done to this node as it is; every reason with its remedy."""
    return [text for check in (_strangers, _cookie, _forgotten, _lost) for text in [check(known)] if text is not None]


def _strangers(known: Known) -> str | None:
    strangers = [name for name in known.members if name not in known.nodes]
    if known.node not in known.members or not strangers:
        return None
    listed = ", ".join(strangers)
    return (
        f"{known.node} belongs to another cluster, or to a larger one: its data directory names {listed}, and no host "
        "of the group rabbitmq runs that. The collection never resets a node. If it was taken out of the inventory too "
        "early, put it back and run playbooks/remove_broker.yml -e broker_remove=<host> first; if its host is gone for "
        f"good, run playbooks/remove_broker.yml -e broker_forget={strangers[0]}. If this host serves somebody else's "
        "cluster, take it out of the group rabbitmq."
    )


def _cookie(known: Known) -> str | None:
    if known.cookie != "other" or not known.running or known.is_alone:
        return None
    return (
        f"{known.node} has another Erlang cookie than the cluster (/var/lib/rabbitmq/.erlang.cookie), and it runs as a "
        f"member of {', '.join(known.members)}. Nothing was changed. If the file was changed by hand, put the "
        "cluster's cookie (secret erlang_cookie, or rabbitmq_erlang_cookie) back. To give the whole cluster a new "
        "cookie, stop rabbitmq-server on every broker first and run this again: nodes with different cookies do not "
        "talk to each other."
    )


def _forgotten(known: Known) -> str | None:
    """It remembers the others, they do not remember it."""
    others = [name for name in known.members if name in known.peers]
    deniers = [name for name in others if name in known.views and known.node not in known.views[name].members]
    if not deniers:
        return None
    return (
        f"{known.node} is half-joined: it remembers {', '.join(others)}, and {deniers[0]} does not know it as a "
        "member. Nothing was reset, because its data directory may hold messages that exist nowhere else. When they "
        "may go, run on its host: systemctl stop rabbitmq-server && mv /var/lib/rabbitmq/mnesia "
        "/var/lib/rabbitmq/mnesia.old; then run this again, and it joins anew."
    )


def _lost(known: Known) -> str | None:
    """They remember it, and it remembers nothing."""
    if not known.is_alone:
        return None
    witnesses = [name for name, view in known.views.items() if name in known.peers and known.node in view.members]
    if not witnesses:
        return None
    return (
        f"{known.node} is half-joined: {witnesses[0]} lists it as a member, and its own data directory knows of no "
        "cluster. It was set up anew, or its data is gone. Nothing was reset. Let the cluster forget the old member "
        f"with playbooks/remove_broker.yml -e broker_forget={known.node}; then run this again, and it joins anew."
    )


def unhealthy(view: View, nodes: Sequence[str]) -> list[str]:
    """What is wrong with a cluster that shall consist of these nodes."""
    found = [f"{name} is not a member: run the playbook again" for name in nodes if name not in view.members]
    found += [
        f"{name} does not run: see journalctl -u rabbitmq-server on its host"
        for name in nodes
        if name in view.members and name not in view.running
    ]
    found += alarms(view)
    found += [
        f"{text}: see https://www.rabbitmq.com/docs/partitions, or restart rabbitmq-server on the smaller side"
        for text in view.partitions
    ]
    return found


def alarms(view: View) -> list[str]:
    """Alarms with their remedies. While one stands, the brokers accept no message from anybody."""
    remedies = {
        "memory": "let consumers empty the queues, or give the host more memory (rabbitmq_memory_high_watermark)",
        "disk": "free space below /var/lib/rabbitmq (the limit is rabbitmq_disk_free_limit)",
    }
    return [f"{text} alarm, publishers are blocked: {remedies[text.rsplit(' ', 1)[1]]}" for text in view.alarms]


# --------------------------------------------------------------------------------------------------
# Joining


class Join(NamedTuple):
    """target: whom to join, empty for nobody. refusal: why not, with a remedy."""

    target: str = ""
    refusal: str = ""


def clusters(known: Known) -> list[str]:
    """Other nodes of the inventory that form a cluster of more than one."""
    return [name for name in known.peers if name in known.views and len(known.views[name].running) > 1]


def join(known: Known, queues: Sequence[Queue]) -> Join:
    """Whom a node that is alone joins. queues: those this node holds; joining would delete them.

    A cluster of peers is joined before a single one. Without any, the first broker of the inventory is the seed, and
    stays as it is.
    """
    if not known.is_alone or not known.peers:
        return Join()
    found, first = clusters(known), known.nodes[0]
    if found:
        target = found[0]
    elif known.node == first:
        return Join()
    elif first in known.views:
        target = first
    else:
        return Join(refusal=f"{known.node} cannot join: {first} does not answer. Start rabbitmq-server there first")
    if queues:
        named = ", ".join(queue.label for queue in queues[:3])
        more = f" and {len(queues) - 3} more" if len(queues) > 3 else ""
        return Join(
            refusal=f"{known.node} shall join {target}, which would delete its queues {named}{more}. Nothing was "
            "reset. If this is the broker that had the cluster's messages until now, write its host first in the "
            "group rabbitmq. If they may go, delete the queues, or take the host out of the group"
        )
    return Join(target)


def underfilled(queues: Iterable[Queue], node: str, members: Sequence[str]) -> list[Queue]:
    """Quorum queues with fewer members than the cluster can give them, and none on this node."""
    full = min(GROUP_SIZE, len(members))
    return [
        queue for queue in queues if queue.type == "quorum" and node not in queue.members and len(queue.members) < full
    ]


def pattern(queues: Iterable[Queue]) -> str:
    """A regular expression of exactly these names, for rabbitmq-queues."""
    names = sorted({queue.name for queue in queues})
    return "^(" + "|".join(re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", name) for name in names) + ")$"


# --------------------------------------------------------------------------------------------------
# Leaving


def holds_back(node: str, view: View, queues: Iterable[Queue]) -> list[str]:
    """Why a node may not leave its cluster."""
    found = []
    others = [name for name in view.members if name != node]
    if not others:
        return [f"{node} is the last node: its queues would be gone. Stop rabbitmq-server on it if it is not needed"]
    found += [
        f"{name} does not run: start it first, the queues of {node} move to it"
        for name in others
        if name not in view.running
    ]
    stuck = [queue for queue in queues if queue.type != "quorum" and queue.node == node and queue.messages]
    found += [
        f"the {queue.type} queue {queue.label} lives on {node} only and holds {queue.messages} messages: "
        "let the workers empty it first"
        for queue in stuck
    ]
    return found + alarms(view)

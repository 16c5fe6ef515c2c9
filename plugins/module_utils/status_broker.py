# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queues of a virtual host, their consumers and the nodes, as RabbitMQ's management API tells them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from .rabbitmq_api import ManagementApi
from .rabbitmq_node import parse_nodes

#: The broker itself remembers the lengths of its queues and what was published: for so long, in so many steps.
WINDOW, STEP = 600, 30
#: So many steps ago is a second look: a queue that was filled at once and shrinks since then does not grow.
RECENT = 4
_QUEUE_COLUMNS = (
    "name,state,messages_ready,messages_unacknowledged,messages,head_message_timestamp,messages_details,message_stats"
)
_QUEUES = (
    f"columns={_QUEUE_COLUMNS}&lengths_age={WINDOW}&lengths_incr={STEP}&msg_rates_age={WINDOW}&msg_rates_incr={STEP}"
)
_CONSUMERS = "columns=queue.name,channel_details.peer_host,channel_details.peer_port"
_CHANNELS = "columns=vhost,connection_details,messages_unacknowledged"
_CONNECTIONS = "columns=name,ssl,vhost,user,peer_host"

Sample = tuple[float, float]


def look(api: ManagementApi, vhost: str, names: Collection[str]) -> dict[str, Any]:
    """Five requests over one connection."""
    queues = api.read("queues", vhost, query=_QUEUES)
    consumers = api.read("consumers", vhost, query=_CONSUMERS) or []
    view = parse_nodes(api.read("nodes") or [])
    return {
        "vhost": queues is not None,
        "queues": {queue["name"]: queue for queue in map(parse_queue, queues or []) if queue["name"] in names},
        "consumers": parse_consumers(consumers, names),
        "channels": parse_channels(api.read("channels", query=_CHANNELS) or [], vhost),
        "plaintext": plaintext(api.read("connections", query=_CONNECTIONS) or [], vhost),
        "members": list(view.members),
        "running": list(view.running),
        "alarms": list(view.alarms),
        "partitions": list(view.partitions),
    }


def samples(details: Any) -> list[Sample]:
    """(seconds since the epoch, value), oldest first; the broker has the latest one first."""
    rows = details.get("samples") if isinstance(details, Mapping) else None
    found = [(row["timestamp"] / 1000, float(row["sample"])) for row in rows or []]
    return sorted(found)


def parse_queue(told: Mapping[str, Any]) -> dict[str, Any]:
    stats = told.get("message_stats") or {}
    ready = int(told.get("messages_ready") or 0)
    lengths, published = samples(told.get("messages_details")), samples(stats.get("publish_details"))
    return {
        "name": str(told["name"]),
        "state": str(told.get("state") or ""),
        "ready": ready,
        "unacknowledged": int(told.get("messages_unacknowledged") or 0),
        "in_rate": rate(stats.get("publish_details")),
        "out_rate": rate(stats.get("ack_details")),
        "before": lengths[0][1] if lengths else None,
        "recent": lengths[max(0, len(lengths) - 1 - RECENT)][1] if lengths else None,
        "window": lengths[-1][0] - lengths[0][0] if lengths else 0.0,
        **oldest(ready, published, told.get("head_message_timestamp")),
    }


def rate(details: Any) -> float:
    """Per second, over the window where the broker says so, so that a single moment decides nothing."""
    if not isinstance(details, Mapping):
        return 0.0
    return round(float(details.get("avg_rate", details.get("rate")) or 0.0), 2)


def oldest(ready: int, published: Sequence[Sample], stamp: Any = None) -> dict[str, Any]:
    """``age`` in seconds of the oldest waiting message; ``at_least``: it is older than that. None: unknown.

    Few messages carry a time, and quorum queues do not tell it. But a queue hands out what came first: if 30 wait, the
    oldest is the 30th from the end of all that were published, and the broker counts those.
    """
    if not ready:
        return {"age": 0.0, "at_least": False}
    if not published:
        return {"age": None, "at_least": False}
    now, total = published[-1]
    if isinstance(stamp, (int, float)) and 0 < stamp <= now:
        return {"age": round(now - stamp, 1), "at_least": False}
    before = [moment for moment, count in published if count <= total - ready]
    # Those that were there at the last sample before it was published: it came after that sample.
    age = now - (before[-1] if before else published[0][0])
    return {"age": round(age, 1), "at_least": not before}


def parse_consumers(told: Iterable[Mapping[str, Any]], names: Collection[str]) -> list[dict[str, Any]]:
    """Which queue is consumed from where: the other end of the connection is a worker's."""
    rows = []
    for consumer in told:
        queue, channel = (consumer.get("queue") or {}).get("name"), consumer.get("channel_details") or {}
        if queue in names:
            rows.append(
                {"queue": queue, "host": str(channel.get("peer_host") or ""), "port": channel.get("peer_port") or 0}
            )
    return rows


def parse_channels(told: Iterable[Mapping[str, Any]], vhost: str) -> list[dict[str, Any]]:
    rows = []
    for channel in told:
        connection, held = channel.get("connection_details") or {}, channel.get("messages_unacknowledged") or 0
        if channel.get("vhost") == vhost and held:
            host, port = str(connection.get("peer_host") or ""), connection.get("peer_port") or 0
            rows.append({"host": host, "port": port, "unacknowledged": held})
    return rows


def plaintext(told: Iterable[Mapping[str, Any]], vhost: str) -> list[dict[str, str]]:
    """Connections without TLS, whoever they are of: none of the cluster's is."""
    return [
        {"user": str(connection.get("user") or ""), "host": str(connection.get("peer_host") or "")}
        for connection in told
        if connection.get("ssl") is False and connection.get("vhost") == vhost
    ]

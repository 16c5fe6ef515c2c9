"""What the broker and the database tell for a status."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import status_broker, status_database

MOMENT = 1_795_230_000


def details(values: list[float], every: int = 30, **other: Any) -> dict[str, Any]:
    """As the broker gives them: the latest one first, times in milliseconds."""
    samples = [
        {"sample": value, "timestamp": (MOMENT - every * back) * 1000} for back, value in enumerate(reversed(values))
    ]
    return {"samples": samples, "rate": 1.0, **other}


class Api:
    """Answers by the first part of the path."""

    ANSWERS: ClassVar[dict[str, Any]] = {
        "queues": [
            {
                "name": "celery",
                "state": "running",
                "messages_ready": 30,
                "messages_unacknowledged": 4,
                "messages_details": details([4, 7, 10, 15, 20, 34]),
                "message_stats": {
                    "publish_details": details([70, 90, 100], avg_rate=0.5),
                    "ack_details": {"rate": 0.2},
                },
            },
            {"name": "default-4f2c@n1.celery.pidbox"},
        ],
        "consumers": [
            {"queue": {"name": "celery"}, "channel_details": {"peer_host": "192.0.2.1", "peer_port": 40000}},
            {"queue": {"name": "x.celery.pidbox"}, "channel_details": {"peer_host": "192.0.2.1", "peer_port": 40000}},
            {"queue": {"name": "celery"}, "channel_details": []},
        ][:2],
        "nodes": [
            {"name": "rabbit@b1", "running": True, "disk_free_alarm": True},
            {"name": "rabbit@b2", "running": False},
        ],
        "channels": [
            {
                "vhost": "shop",
                "connection_details": {"peer_host": "192.0.2.1", "peer_port": 4},
                "messages_unacknowledged": 3,
            },
            {
                "vhost": "shop",
                "connection_details": {"peer_host": "192.0.2.1", "peer_port": 5},
                "messages_unacknowledged": 0,
            },
            {
                "vhost": "/",
                "connection_details": {"peer_host": "192.0.2.1", "peer_port": 6},
                "messages_unacknowledged": 3,
            },
        ],
        "connections": [
            {"name": "a", "ssl": True, "vhost": "shop", "user": "w", "peer_host": "192.0.2.1"},
            {"name": "b", "ssl": False, "vhost": "shop", "user": "x", "peer_host": "192.0.2.9"},
            {"name": "c", "ssl": False, "vhost": "/", "user": "x", "peer_host": "192.0.2.9"},
        ],
    }

    def __init__(self, **other: Any) -> None:
        self.answers = {**self.ANSWERS, **other}
        self.asked: list[str] = []

    def read(self, *path: str, query: str = "") -> Any:
        self.asked.append(path[0])
        return self.answers[path[0]]


def test_one_look_at_the_broker() -> None:
    api = Api()
    seen = status_broker.look(api, "shop", ["celery", "shop.dead"])  # type: ignore[arg-type]
    assert sorted(api.asked) == sorted(api.answers)
    assert list(seen["queues"]) == ["celery"]
    queue = seen["queues"]["celery"]
    assert (queue["ready"], queue["unacknowledged"], queue["in_rate"], queue["out_rate"]) == (30, 4, 0.5, 0.2)
    assert (queue["before"], queue["recent"], queue["window"]) == (4, 7, 150)
    assert seen["consumers"] == [{"queue": "celery", "host": "192.0.2.1", "port": 40000}]
    assert seen["channels"] == [{"host": "192.0.2.1", "port": 4, "unacknowledged": 3}]
    assert seen["plaintext"] == [{"user": "x", "host": "192.0.2.9"}]
    assert (seen["members"], seen["running"]) == (["rabbit@b1", "rabbit@b2"], ["rabbit@b1"])
    assert seen["alarms"] == ["rabbit@b1: disk"] and seen["vhost"] is True


def test_no_virtual_host() -> None:
    seen = status_broker.look(Api(queues=None, consumers=None), "shop", ["celery"])  # type: ignore[arg-type]
    assert seen["vhost"] is False and seen["queues"] == {} and seen["consumers"] == []


def test_a_queue_without_statistics() -> None:
    queue = status_broker.parse_queue({"name": "celery"})
    assert (queue["ready"], queue["before"], queue["window"], queue["age"]) == (0, None, 0.0, 0.0)


@pytest.mark.parametrize(
    ("ready", "published", "stamp", "age", "at_least"),
    [
        (0, [], None, 0.0, False),
        (5, [], None, None, False),
        # 100 were published, 5 wait: the oldest is the 96th, which came after the sample with 95.
        (5, [80, 95, 100], None, 30.0, False),
        (6, [80, 95, 100], None, 60.0, False),
        # Older than what the broker remembers.
        (30, [80, 95, 100], None, 60.0, True),
        (5, [80, 95, 100], MOMENT - 12, 12.0, False),
        # A publisher whose clock is wrong.
        (5, [80, 95, 100], MOMENT + 900, 30.0, False),
    ],
)
def test_how_long_the_oldest_message_has_waited(
    ready: int, published: list[float], stamp: int | None, age: float | None, at_least: bool
) -> None:
    samples = status_broker.samples(details(published))
    assert status_broker.oldest(ready, samples, stamp) == {"age": age, "at_least": at_least}


def test_the_script_of_the_database_quotes_names() -> None:
    script = status_database.script("sh'op", ["sh'op", "owner"], ours_only=True)
    assert "'sh''op' = ANY (database)" in script and "NOT true" in script and "'{}'" in script
    assert "NOT false" in status_database.script("shop", ["shop"])


def test_what_the_database_tells() -> None:
    told = {
        "limit": 100,
        "reserved": 3,
        "used": 14,
        "ssl": True,
        "roles": {"shop": 12},
        "clients": [["192.0.2.1", 12]],
        "plaintext": 0,
        "open_rules": [{"line": 9, "type": "host", "address": "0.0.0.0", "method": "md5"}],
    }
    assert status_database.parse(["", json.dumps(told)]) == told
    with pytest.raises(json.JSONDecodeError):
        status_database.parse(["no answer"])

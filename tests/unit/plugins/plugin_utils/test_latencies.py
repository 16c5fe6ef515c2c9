"""What a look at the cluster is told as."""

from __future__ import annotations

from typing import Any

from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.latencies import latencies, verify_text

ROW = {"check": "task", "from": "a", "to": "w1", "name": "queue mail", "ok": True, "seconds": 0.1, "detail": "answered"}


def answer(host: str, number: int, seconds: float) -> dict[str, Any]:
    node = f"default-4f2c@{host}"
    return {"queue": "mail", "host": host, "node": node, "release": "4f2c", "round": number, "seconds": seconds}


def test_the_times_of_each_consumer() -> None:
    answers = [answer("w1", 1, 0.01), answer("w2", 1, 2.0), answer("w1", 2, 0.03), answer("w1", 3, 0.5)]
    assert [tuple(row.values()) for row in latencies(answers, 3)] == [
        ("mail", "w1", "default-4f2c@w1", "4f2c", "3/3", 10, 30, 500),
        ("mail", "w2", "default-4f2c@w2", "4f2c", "1/3", 2000, 2000, 2000),
    ]


def test_one_look() -> None:
    look = {"round": 1, "sent": 2, "answered": 2, "late": 0, "lost": 0, "seconds": 0.2}
    text = verify_text({"rows": [ROW], "answers": [answer("w1", 1, 0.012)], "rounds": [look], "notes": ["Sampled: 5"]})
    links, times, note = text.split("\n\n")
    assert links.splitlines()[0].split() == ["CHECK", "FROM", "TO", "NAME", "OK", "SECONDS", "DETAIL"]
    assert "MEDIAN MS" in times and "1/1" in times
    assert note == "Sampled: 5"


def test_a_soak_tells_of_its_rounds() -> None:
    looks = [
        {"round": number, "sent": 4, "answered": 4 - number, "late": 0, "lost": number, "seconds": 0.2}
        for number in (1, 2)
    ]
    text = verify_text({"rows": [ROW], "answers": [], "rounds": looks, "notes": []})
    _links, rounds = text.split("\n\n")
    assert rounds.splitlines()[1].split() == ["ROUND", "SENT", "ANSWERED", "LATE", "LOST", "SECONDS"]
    assert rounds.splitlines()[-1].split() == ["2", "4", "2", "0", "2", "0.20"]


def test_only_the_links() -> None:
    assert "\n\n" not in verify_text({"rows": [ROW]})

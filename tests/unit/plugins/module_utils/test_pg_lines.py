"""Which lines a cluster has, behind a pooler and without one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from access_options import access_options
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_lines import entries
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_wanted import wanted_from

CLIENTS = [
    {"name": "w1", "address": "192.0.2.4/32", "role": "user"},
    {"name": "beat1", "address": "192.0.2.5/32", "role": "direct"},
    {"name": "app", "address": "192.0.2.6/32", "role": "owner"},
]


def lines(**more: Any) -> list[tuple[str, str, str]]:
    state: Any = SimpleNamespace(is_ours=lambda *_: False)
    found = entries(wanted_from(access_options(clients=CLIENTS, **more)), state)
    return [(entry.kind, entry.users[0], entry.address) for entry in found]


def test_without_a_pooler_everybody_comes_to_the_server() -> None:
    assert lines() == [
        ("hostssl", "shop", "192.0.2.4/32"),
        ("hostssl", "shop", "192.0.2.5/32"),
        ("hostssl", "shop_owner", "192.0.2.6/32"),
    ]


def test_past_a_pooler_come_the_owner_and_who_needs_a_session() -> None:
    assert lines(pooler=True) == [
        ("local", "shop", ""),
        ("hostssl", "shop", "192.0.2.5/32"),
        ("hostssl", "shop_owner", "192.0.2.6/32"),
    ]

"""Names of clients: every address must lead back to the name, as the server asks it."""

from __future__ import annotations

import socket

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import pg_names
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_names import Names, resolve
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_wanted import Client

FORWARD = {"worker1": ["192.0.2.5"], "Two": ["192.0.2.6", "2001:db8::6"], "alias": ["192.0.2.5"], "bare": ["192.0.2.9"]}
REVERSE = {"192.0.2.5": "worker1", "192.0.2.6": "TWO", "2001:db8::6": "two"}


def forward(name: str) -> list[str]:
    if name not in FORWARD:
        raise socket.gaierror(-2, "Name or service not known")
    return FORWARD[name]


def reverse(address: str) -> str:
    if address not in REVERSE:
        raise socket.gaierror(-2, "Name or service not known")
    return REVERSE[address]


def resolved(*names: str) -> Names:
    return resolve([Client(f"host of {name}", name, False) for name in names], forward, reverse)


def test_names_that_lead_back() -> None:
    found = resolved("worker1", "Two", "192.0.2.77/32")
    assert found == Names({"worker1": ["192.0.2.5"], "Two": ["192.0.2.6", "2001:db8::6"]}, [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("alias", "192.0.2.5 leads to worker1"),
        ("bare", "192.0.2.9 has no name"),
        ("missing", "has no address on this host (Name or service not known)"),
    ],
)
def test_names_that_do_not(name: str, words: str) -> None:
    (told,) = resolved(name, "worker1").problems
    assert told.startswith(f"clients: host of {name}: the name {name!r}")
    assert words in told
    assert "or write the addresses themselves" in told


def test_addresses_are_not_looked_up() -> None:
    def never(_name: str) -> list[str]:
        raise AssertionError

    assert resolve([Client("w", "192.0.2.5/32", False)], never, reverse) == Names()


def test_the_resolver_of_this_host() -> None:
    assert set(pg_names.addresses_of("localhost")) <= {"127.0.0.1", "::1"}
    assert pg_names.name_of("127.0.0.1")

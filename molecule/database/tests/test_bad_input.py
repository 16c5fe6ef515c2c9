"""What cannot be is refused before a host is touched: with what is wrong, what to do, and nothing half-applied."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from ledgerdb import PREFLIGHT, Cluster, Server
from testing import container, message

OPERATOR = "celery-access"
SUDOERS = f"/etc/sudoers.d/{OPERATOR}"
# What the messages have to say, each word after the one before, and near it.
WORDS = {
    "superuser": ("dba", "SUPERUSER", "NOSUPERUSER"),
    "other password": ("'dba'", "another password", "celery_database_password"),
    "md5": ("legacy", "md5", "scram-sha-256", r"\password legacy"),
    "owned by another": ("'warehouse'", "belongs to the role 'warehouse'", "celery_database_owner: warehouse"),
    "too many connections": ("needs up to", "connections", "max_connections is 60"),
    "user of another cluster": ("role 'elsewhere'", "belongs to the cluster elsewhere", "celery_database_user"),
    "owner of another cluster": ("role 'elsewhere_owner'", "belongs to the cluster elsewhere"),
    "database of another cluster": ("database 'elsewhere'", "belongs to the cluster elsewhere"),
    "host bits": ("celery_allowed_clients", "10.0.0.5/24", "10.0.0.0/24"),
    "too wide": ("celery_allowed_clients", "10.0.0.0/8", "256"),
    "no reverse lookup": (container("outsider"), "do not lead back to it", "write the addresses"),
    "no sudo": ("sudo password", "ansible_become_user"),
    "no superuser": (f"does not let the account {OPERATOR} in as the role postgres", "superuser", "postgresql_account"),
}
# Wishes that cannot be fulfilled; everything that is wrong with one is told together, with the words of WORDS.
REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "somebody else's": (
        {
            "celery_database_user": "dba",
            "celery_database_owner": "legacy",
            "celery_database_name": "warehouse",
            "celery_workers": {"even": {"queues": ["celery", "numbers", "odd"], "concurrency": 60}},
        },
        ("superuser", "other password", "md5", "owned by another", "too many connections"),
    ),
    "another cluster's": (
        {
            "celery_database_user": "elsewhere",
            "celery_database_owner": "elsewhere_owner",
            "celery_database_name": "elsewhere",
        },
        ("user of another cluster", "owner of another cluster", "database of another cluster"),
    ),
}
# As well, whatever the server is.
REFUSED_EVERYWHERE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "networks": (
        {"celery_allowed_clients": ["10.0.0.5/24", "10.0.0.0/8"]},
        ("host bits", "too wide"),
    ),
    "a name": (
        # Its address is found by this name, and leads back to another one.
        {"celery_allowed_clients": [container("outsider")]},
        ("no reverse lookup",),
    ),
}
once = pytest.mark.servers("db15")


def says(text: str, case: str) -> bool:
    """Near each other: an output that has the words in different messages does not count."""
    return re.search(".{0,400}?".join(re.escape(word) for word in WORDS[case]), text) is not None


@pytest.fixture(autouse=True)
def _untouched(server: Server) -> Iterator[None]:
    """Fails the test when anything on the server is another thing afterwards."""
    before = server.hba(), server.roles(), server.loaded()
    yield
    assert (server.hba(), server.roles(), server.loaded()) == before


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused(case: str, cluster: Cluster):
    check(cluster, *REFUSED[case])


@once
@pytest.mark.parametrize("case", REFUSED_EVERYWHERE)
def test_it_is_refused_everywhere(case: str, cluster: Cluster):
    check(cluster, *REFUSED_EVERYWHERE[case])


def check(cluster: Cluster, variables: dict[str, Any], words: tuple[str, ...]) -> None:
    text = message(cluster.run(name=PREFLIGHT, **variables))
    assert not [word for word in words if not says(text, word)], text
    assert not re.search("SCRAM-SHA-256[$]", text)


@pytest.fixture
def sudoers(server: Server) -> Iterator[Server]:
    """The operator's rights may be changed."""
    server.run("cp -p %s /root/sudoers.kept", SUDOERS)
    yield server
    server.run("mv /root/sudoers.kept %s", SUDOERS)


@once
def test_without_sudo_to_the_account_it_is_refused(cluster: Cluster, sudoers: Server):
    sudoers.run("echo %s >%s", f"{OPERATOR} ALL=(nobody) NOPASSWD: ALL", SUDOERS)
    text = message(cluster.run(name=PREFLIGHT))
    assert says(text, "no sudo"), text


def test_an_account_that_is_no_superuser_is_refused(cluster: Cluster, sudoers: Server):
    sudoers.run("echo %s >%s", f"{OPERATOR} ALL=({OPERATOR}) NOPASSWD: ALL", SUDOERS)
    text = message(cluster.run(name=PREFLIGHT, server_variables={"ansible_become_user": OPERATOR}))
    assert says(text, "no superuser"), text

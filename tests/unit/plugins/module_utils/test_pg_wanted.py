"""What a cluster wants, and what is refused of it before a server is asked."""

from __future__ import annotations

from typing import Any

import pytest
from access_options import access_options
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_wanted import option_problems, wanted_from

OWNER, USER = {"name": "shop_owner", "password": "o"}, {"name": "shop", "password": "u", "login": "password"}


def options(**more: Any) -> dict[str, Any]:
    return access_options(**{"owner": OWNER, "user": USER, **more})


def client(address: str) -> dict[str, Any]:
    return {"name": "w", "address": address, "role": "user"}


def test_good_options() -> None:
    addresses = ["192.0.2.5/32", "192.0.2.5", "2001:db8::/64", "worker1", "worker-1.example.com", "_a"[1:]]
    assert option_problems(options(clients=[client(address) for address in addresses])) == []
    assert option_problems(options(user={**USER, "login": "certificate", "password": None})) == []
    assert option_problems(options(user={**USER, "name": "shop_owner", "password": None})) == []
    assert option_problems(options(database="d" * 63, cluster='My "shop" ä')) == []


def test_addresses_become_networks_and_names_stay() -> None:
    wanted = wanted_from(options(clients=[client("192.0.2.5"), client("2001:DB8::0:5"), client("worker1")]))
    assert [entry.address for entry in wanted.clients] == ["192.0.2.5/32", "2001:db8::5/128", "worker1"]
    assert [entry.is_host_name for entry in wanted.clients] == [False, False, True]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"clients": [client("10.0.0.5/24")]}, "write 10.0.0.0/24, or 10.0.0.5 for this one host"),
        ({"clients": [client("10.0.0.256")]}, "is no address; write a network such as"),
        ({"clients": [client("10.0.0.0/33")]}, "is no address; write a network such as"),
        ({"clients": [client("a b")]}, "is no address"),
        ({"clients": [client("")]}, "is no address"),
        ({"clients": [client("samenet")]}, "means something else in pg_hba.conf"),
        ({"clients": [client(".example.com")]}, "write the name of each host"),
        ({"database": "template1"}, "'template1' is the server's own; choose another celery_database_name"),
        ({"database": "replication"}, "means something else in pg_hba.conf; choose another celery_database_name"),
        ({"database": "ä" * 32}, "has 64 bytes, PostgreSQL's names have 63 at most; shorten celery_database_name"),
        ({"database": "a\nb"}, "is no name"),
        ({"schemas": ["public", ""]}, "is no name; write one without control characters into celery_database_schemas"),
        ({"user": {**USER, "name": "pg_shop"}}, "choose another celery_database_user"),
        ({"owner": {**OWNER, "name": "public"}}, "choose another celery_database_owner"),
        ({"user": {**USER, "name": "all"}}, "means something else in pg_hba.conf"),
        ({"cluster": "a\nb"}, "cluster: write a name of one line"),
        ({"owner": {**OWNER, "password": None}}, "owner.password: the role 'shop_owner' needs a password"),
        ({"user": {**USER, "password": ""}}, "celery_database_login is password"),
        (
            {"user": {**USER, "password": None, "login": "certificate"}, "pooler": True},
            "the pooler logs in by password",
        ),
        ({"user": {**USER, "name": "shop_owner"}}, "with two passwords"),
        ({"user": {**USER, "name": "shop_owner", "password": None}, "owner": {**OWNER, "password": None}}, "needs a"),
        ({"user": {**USER, "name": "shop_owner", "password": "o", "login": "certificate"}}, "celery_database_owner"),
    ],
)
def test_wrong_options_say_what_to_write(more: dict[str, Any], words: str) -> None:
    (told,) = option_problems(options(**more))
    assert words in told


def test_all_at_once() -> None:
    wrong = options(database="", clients=[client("10.0.0.1/8"), client("?")], owner={**OWNER, "password": None})
    assert len(option_problems(wrong)) == 4


def test_passwords_by_role() -> None:
    assert wanted_from(options()).passwords == {"shop_owner": "o", "shop": "u"}
    assert wanted_from(options(user={**USER, "login": "certificate"})).passwords == {"shop_owner": "o", "shop": None}
    pooled = wanted_from(options(user={**USER, "login": "certificate"}, pooler=True))
    assert pooled.passwords == {"shop_owner": "o", "shop": "u"}
    single = wanted_from(options(owner={"name": "shop", "password": None}))
    assert (single.passwords, single.roles) == ({"shop": "u"}, ("shop",))

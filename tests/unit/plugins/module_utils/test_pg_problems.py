"""What is refused, and that each refusal says what to do. The server is a recorded one with one thing changed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from access_options import access_options
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_plan import plan
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_problems import certificates, problems
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_scram import verifier
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_state import State, state_from
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_wanted import Wanted, wanted_from

RECORDED = (Path(__file__).parent / "recorded" / "pg_access-17-settled.txt").read_text().split("\n")
OURS, OTHERS = "taskfleet.celery_cluster shop", "taskfleet.celery_cluster garage"
USER_PASSWORD = "user-secret"
MD5 = "md5" + 32 * "0"


def pem(content: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(content).decode()}-----END CERTIFICATE-----\n"


def wanted(**more: Any) -> Wanted:
    return wanted_from(access_options(**more))


def state(
    user: dict[str, Any] | None = None,
    owner: dict[str, Any] | None = None,
    database: dict[str, Any] | None = None,
    settings: dict[str, str] | None = None,
    inside: dict[str, Any] | None = None,
    **more: Any,
) -> State:
    told = json.loads(RECORDED[1])
    for role in told["roles"]:
        role |= {"shop": user, "shop_owner": owner}[role["name"]] or {}
    told["database"] |= database or {}
    told["settings"] |= settings or {}
    told |= more
    held = {**json.loads(RECORDED[3]), **(inside or {})}
    return state_from([RECORDED[0], json.dumps(told), RECORDED[2], json.dumps(held)], wanted(), "postgres")


def test_the_recorded_server_has_no_problem() -> None:
    assert problems(wanted(connections=97), state()) == []


FOREIGN = {"comment": None}


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ({"superuser": True}, "is SUPERUSER, which"),
        ({"createdb": True}, 'run ALTER ROLE "shop" NOCREATEDB;'),
        ({"createrole": True, "replication": True}, "NOCREATEROLE NOREPLICATION"),
        ({"bypassrls": True}, "NOBYPASSRLS"),
        ({"becomes_superuser": True}, "can become a superuser by a membership: revoke it"),
        ({"login": False}, 'run ALTER ROLE "shop" LOGIN;'),
        ({"expired": True}, "VALID UNTIL 'infinity';"),
        ({"password": MD5}, "SET password_encryption = 'scram-sha-256'; \\password shop"),
        ({"password": None}, "has no password: set that of celery_database_password"),
        ({"password": verifier("other")}, "another password than celery_database_password: write its password there"),
    ],
)
def test_a_role_of_somebody_else_is_told_of_and_not_altered(role: dict[str, Any], words: str) -> None:
    (told,) = problems(wanted(), state(user={**FOREIGN, **role}))
    assert words in told
    assert "choose another celery_database_user" in told or role.get("password") == MD5
    assert [step for step in plan(wanted(), state(user={**FOREIGN, **role})).steps if "the role" in step.text] == []
    # The same of a role of ours is mended.
    assert problems(wanted(), state(user=role)) == []


def test_the_variables_of_the_owner_are_its_own() -> None:
    (told,) = problems(wanted(), state(owner={**FOREIGN, "password": verifier("other")}))
    assert "the role 'shop_owner' exists with another password than celery_database_owner_password" in told
    assert "choose another celery_database_owner" in told


def test_one_role_for_both_is_called_by_the_variables_of_the_user() -> None:
    single = wanted(owner={"name": "shop", "password": None})
    there = state(user={**FOREIGN, "password": verifier("other")}, database={"owner": "shop"})
    (told,) = problems(single, there)
    assert "celery_database_password" in told
    assert "celery_database_user" in told


def test_a_foreign_role_that_logs_in_by_certificate_may_have_any_password() -> None:
    certificate = wanted(
        user={"name": "shop", "password": None, "login": "certificate"}, certificate_authority=pem(b"ours")
    )
    authorities = base64.b64encode(pem(b"ours").encode()).decode()
    assert problems(certificate, state(user={**FOREIGN, "password": MD5}, authorities=authorities)) == []


@pytest.mark.parametrize("what", ["user", "owner", "database"])
def test_what_belongs_to_another_cluster(what: str) -> None:
    (told,) = problems(wanted(), state(**{what: {"comment": OTHERS}}))
    assert "belongs to the cluster garage" in told
    assert "or give this cluster the celery_name garage if it is the same" in told


@pytest.mark.parametrize("comment", [None, OURS])
def test_the_database_of_another_role(comment: str | None) -> None:
    (told,) = problems(wanted(), state(database={"owner": "app", "comment": comment}))
    assert "write celery_database_owner: app" in told
    assert "choose another celery_database_name" in told


def test_a_database_without_connections() -> None:
    (told,) = problems(wanted(), state(database={"connectable": False}))
    assert 'ALTER DATABASE "shop" ALLOW_CONNECTIONS true' in told


def test_schemas_are_made_only_in_a_database_of_ours() -> None:
    more = wanted(schemas=["public", "tasks"])
    assert problems(more, state()) == []
    (told,) = problems(more, state(database={"comment": "app"}))
    assert "has no schema 'tasks': let its owner make it, or correct celery_database_schemas" in told


@pytest.mark.parametrize(
    ("there", "free"),
    [
        ({}, 97),
        ({"others": 30}, 67),
        ({"others": 200}, 0),
        ({"settings": {"max_connections": "20", "reserved_connections": "2"}}, 15),
    ],
)
def test_room(there: dict[str, Any], free: int) -> None:
    assert problems(wanted(connections=free), state(**there)) == []
    (told,) = problems(wanted(connections=free + 1), state(**there))
    assert f"needs up to {free + 1} connections, and the server has {free} left" in told
    assert "Raise max_connections, lower the concurrency of the workers" in told
    assert "postgresql_pooler" in told


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"user": {"limit": 4}}, "the role 'shop' is limited to 4"),
        ({"database": {"limit": 4}}, "the database 'shop' is limited to 4"),
    ],
)
def test_limits_of_role_and_database(there: dict[str, Any], words: str) -> None:
    assert problems(wanted(connections=4), state(**there)) == []
    (told,) = problems(wanted(connections=5), state(**there))
    assert words in told
    assert "CONNECTION LIMIT -1" in told


def test_without_tls_nobody_logs_in() -> None:
    (told,) = problems(wanted(), state(settings={"ssl": "off"}))
    assert "set ssl = on and reload it" in told


def test_the_server_must_know_the_authority_of_the_certificates() -> None:
    given = {"user": {"name": "shop", "password": None, "login": "certificate"}}
    certificate = wanted(**given, certificate_authority="of the cluster\n" + pem(b"ours"))
    without = {"user": {"password": None}, "settings": {"ssl_ca_file": ""}}
    (told,) = problems(certificate, state(**without))
    assert "its ssl_ca_file is empty" in told
    assert "celery_database_login: password" in told
    other = base64.b64encode(pem(b"theirs").encode()).decode()
    (told,) = problems(certificate, state(settings={"ssl_ca_file": "/etc/ca.pem"}, authorities=other))
    assert "its ssl_ca_file is /etc/ca.pem and does not hold it" in told
    both = base64.b64encode((pem(b"theirs") + "# next\n" + pem(b"ours").replace("\n", "\r\n")).encode()).decode()
    assert problems(certificate, state(settings={"ssl_ca_file": "/etc/ca.pem"}, authorities=both)) == []
    # The file is the caller's own business.
    assert not problems(wanted(**given, certificate_authority=None), state(**without))
    (told,) = problems(wanted(**given, certificate_authority="nonsense"), state())
    assert "certificate_authority holds no certificate" in told
    # Behind a pooler, it is the pooler that sees certificates.
    pooled = wanted(user={"name": "shop", "password": USER_PASSWORD, "login": "certificate"}, pooler=True)
    assert problems(pooled, state(settings={"ssl_ca_file": ""})) == []


def test_certificates_are_compared_by_what_they_hold() -> None:
    assert certificates(pem(b"one") + "text" + pem(b"two")) == {b"one", b"two"}
    assert certificates(pem(b"one").replace("BEGIN CERT", "BEGIN TRUSTED CERT")) == {b"one"}
    assert certificates("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----") == set()


def test_everything_at_once() -> None:
    there = state(
        user={**FOREIGN, "superuser": True, "login": False, "password": MD5},
        owner={"comment": OTHERS},
        database={"owner": "app", "connectable": False},
        settings={"ssl": "off", "max_connections": "10"},
    )
    assert len(problems(wanted(connections=50), there)) == 8

"""What the reading script prints: recorded from PostgreSQL 15 and 17 in three conditions of the same cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from access_options import access_options
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_lines import lines
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_plan import plan
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_problems import problems
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_read import connection, everything
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_state import (
    RefusedError,
    State,
    other_cluster,
    state_from,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_wanted import Wanted, wanted_from

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = ["15", "17"]
CLIENTS = [
    {"name": "worker1", "address": "192.0.2.5/32", "role": "user"},
    {"name": "web", "address": "192.0.2.3/32", "role": "owner"},
]


def wanted(**more: Any) -> Wanted:
    return wanted_from(access_options(**{"clients": CLIENTS, **more}))


def printed(version: str, condition: str) -> list[str]:
    return (RECORDED / f"pg_access-{version}-{condition}.txt").read_text().split("\n")[:-1]


def state(version: str, condition: str) -> State:
    return state_from(printed(version, condition), wanted(), "postgres")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_has_nothing_yet(version: str) -> None:
    there = state(version, "nothing")
    assert there.version // 10000 == int(version)
    assert (there.database, there.roles, there.marked, there.sessions) == (None, {}, (), ())
    assert there.available == 97
    assert there.hba.file == f"/etc/postgresql/{version}/main/pg_hba.conf"
    assert there.hba.text.endswith("host all all 0.0.0.0/0 reject\n")
    assert [row["auth_method"] for row in there.hba.rows] == ["peer", "reject"]
    assert there.is_ours("shop", wanted())
    assert there.database_is_ours(wanted())
    assert problems(wanted(), there) == []
    assert [step.text for step in plan(wanted(), there).steps] == [
        "make the role shop_owner",
        "make the role shop",
        "make the database shop",
        "mark the database shop",
        "grant shop CONNECT on the database shop",
        "take CONNECT and TEMPORARY on the database shop from PUBLIC",
        "grant shop SELECT, USAGE on later sequences of shop_owner in the schema public",
        "grant shop DELETE, INSERT, SELECT, UPDATE on later tables of shop_owner in the schema public",
    ]
    file = lines(wanted(), there)
    assert file.change
    assert file.problems == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_one_that_has_everything(version: str) -> None:
    there = state(version, "settled")
    assert problems(wanted(), there) == []
    assert plan(wanted(), there).steps == ()
    assert plan(wanted(), there).notes == ()
    file = lines(wanted(), there)
    assert not file.change
    assert file.problems == ()
    assert [rule.method for rule in file.foreign] == ["peer", "reject"]
    assert there.marked == ("shop", "shop_owner")


@pytest.mark.parametrize("version", VERSIONS)
def test_one_that_others_have_worked_on(version: str) -> None:
    there = state(version, "drifted")
    assert there.roles["shop"].memberships == (("pg_monitor", "postgres"),)
    assert "pg_read_all_stats" in there.roles["shop"].groups
    assert problems(wanted(), there) == []
    assert [step.text for step in plan(wanted(), there).steps] == [
        "take the membership of pg_monitor from the role shop",
        "take CREATE on the schema public from shop",
        "grant shop SELECT, USAGE on 1 sequence",
        "grant shop INSERT on 1 table",
        "grant shop DELETE on later tables of shop_owner in the schema public",
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_passwords_are_compared_with_what_is_stored(version: str) -> None:
    there = state(version, "settled")
    other = wanted(user={"name": "shop", "password": "another", "login": "password"})
    assert [step.text for step in plan(other, there).steps] == ["change the role shop: a new password"]
    certificate = wanted(user={"name": "shop", "password": None, "login": "certificate"})
    assert [step.text for step in plan(certificate, there).steps] == ["change the role shop: no password"]


def test_a_new_database_is_open_before_15() -> None:
    first, *others = printed("15", "nothing")
    there = state_from([first.replace("150020", "140010"), *others], wanted(), "postgres")
    told = [step.text for step in plan(wanted(), there).steps]
    assert told[6:8] == [
        "grant shop_owner USAGE and CREATE on the schema public",
        "take CREATE on the schema public from PUBLIC",
    ]


@pytest.mark.parametrize(
    ("first", "reasons"),
    [
        ("off|150020|f", ["the role admin is no superuser"]),
        ("on|120022|f", ["PostgreSQL 12.22, and 13 is the oldest"]),
        ("on|90624|f", ["PostgreSQL 9.6, and 13 is the oldest"]),
        ("on|150020|t", ["this server is a standby"]),
        ("off|110000|t", ["no superuser", "PostgreSQL 11.0", "a standby"]),
    ],
)
def test_a_server_with_which_nothing_can_be_done(first: str, reasons: list[str]) -> None:
    # The script asks such a server for nothing more.
    with pytest.raises(RefusedError) as refused:
        state_from([first], wanted(), "admin")
    assert len(refused.value.reasons) == len(reasons)
    for reason, told in zip(reasons, refused.value.reasons, strict=True):
        assert reason in told


def test_a_reserve_of_16_is_no_room() -> None:
    lines_ = printed("17", "settled")
    told = json.loads(lines_[1])
    told["settings"] |= {"superuser_reserved_connections": "3", "reserved_connections": "5"}
    assert state_from([lines_[0], json.dumps(told), *lines_[2:]], wanted(), "postgres").available == 92


def test_whose_mark_it_is() -> None:
    assert other_cluster("taskfleet.celery_cluster shop", wanted()) == ""
    assert other_cluster("taskfleet.celery_cluster shop2", wanted()) == "shop2"
    assert other_cluster("made for the shop", wanted()) == ""
    assert other_cluster("", wanted()) == ""


HOSTILE = "a'b\"c\\d:e; \\! touch /x $$ ä"


def test_hostile_names_stay_inside_their_quotes() -> None:
    script = everything(
        wanted(
            cluster=HOSTILE,
            database=HOSTILE,
            schemas=[HOSTILE],
            owner={"name": HOSTILE + "1", "password": "x"},
            user={"name": HOSTILE + "2", "password": "x", "login": "password"},
        )
    )
    assert "secret" not in everything(wanted())
    quoted = HOSTILE.replace("'", "''")
    left = script.replace(quoted, "")
    # What is left of the name stands as psql's own quoting in the first line, and nowhere else.
    assert [line for line in left.splitlines() if "touch" in line] == [script.splitlines()[0]]
    # Three quotings in one another: psql's for \\set, that of \\connect, and that of connection strings.
    argument = script.splitlines()[0].removeprefix("\\set target ")
    assert argument[0] == argument[-1] == "'"
    name = re.sub(r"\\(.)", r"\1", argument[1:-1])
    assert name[0] == name[-1] == '"'
    assert name[1:-1].replace('""', '"') == connection(HOSTILE)


def test_a_name_that_looks_like_a_connection_is_a_name() -> None:
    assert connection("host=elsewhere") == "dbname='host=elsewhere'"
    assert connection("postgresql://x") == "dbname='postgresql://x'"
    assert connection(r"a'b\c") == r"dbname='a\'b\\c'"

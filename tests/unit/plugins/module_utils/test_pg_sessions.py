"""Which sessions are ended: those that the file, as it becomes, would not let in."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from access_options import access_options
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_lines import lines
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_sessions import closed_out, ending
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_state import Session, State, state_from
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_wanted import Wanted, wanted_from

RECORDED = (Path(__file__).parent / "recorded" / "pg_access-15-nothing.txt").read_text().split("\n")
ADMINISTRATORS = ("host", "all", "all", "127.0.0.1", "255.255.255.255", "scram-sha-256")
NETWORK = ("host", "all", "all", "192.0.2.0", "255.255.255.0", "md5")
REJECT_ONE = ("host", "all", "all", "192.0.2.9", "255.255.255.255", "reject")
CLIENTS = [
    {"name": "worker1", "address": "192.0.2.5/32", "role": "user"},
    {"name": "worker6", "address": "2001:db8::6/128", "role": "user"},
    {"name": "named", "address": "named.example.com", "role": "user"},
    {"name": "web", "address": "192.0.2.3/32", "role": "owner"},
]
ADDRESSES = {"named.example.com": ["192.0.2.7", "2001:db8::7"]}


def wanted(**more: Any) -> Wanted:
    return wanted_from(access_options(**{"clients": CLIENTS, "end_sessions": True, **more}))


def state(*rules: tuple[str, ...], foreign_user: bool = False) -> State:
    told = json.loads(RECORDED[1])
    names = ("type", "database", "user_name", "address", "netmask", "auth_method")
    rows = [dict(zip(names, rule, strict=True)) for rule in rules]
    for number, row in enumerate(rows, 1):
        row |= {"database": [row["database"]], "user_name": [row["user_name"]], "line_number": number}
        row |= {"options": None, "error": None}
    told["hba"] |= {"rules": rows, "text": base64.b64encode(b"rule\n" * len(rows)).decode()}
    if foreign_user:
        settled = (Path(__file__).parent / "recorded" / "pg_access-15-settled.txt").read_text().split("\n")
        told["roles"] = [{**role, "comment": None} for role in json.loads(settled[1])["roles"]]
    return state_from([RECORDED[0], json.dumps(told), RECORDED[2]], wanted(), "postgres")


def ends(session: Session, there: State, options: Wanted | None = None) -> bool:
    options = options or wanted()
    return closed_out(options, there, lines(options, there), ADDRESSES, [session]) == [session]


def session(address: str, role: str = "shop", ssl: bool = True) -> Session:
    return Session(17, "2026-01-01 00:00:00.5+00", role, address, ssl)


@pytest.mark.parametrize("address", ["192.0.2.5", "2001:db8::6", "192.0.2.7", "2001:db8::7"])
def test_clients_stay(address: str) -> None:
    assert not ends(session(address), state())
    assert ends(session(address), state(), wanted(clients=[]))


@pytest.mark.parametrize(
    "gone",
    [
        session("192.0.2.6"),
        session("2001:db8::8"),
        session("192.0.2.3"),  # as the user, where only the owner is let in
        session("192.0.2.5", "shop_owner"),
        session("192.0.2.5", ssl=False),
    ],
)
def test_others_go_whatever_the_lines_below_say(gone: Session) -> None:
    assert ends(gone, state())
    assert ends(gone, state(NETWORK))
    assert ends(gone, state(ADMINISTRATORS, NETWORK))


def test_who_is_let_in_by_a_line_above_stays() -> None:
    there = state(ADMINISTRATORS, NETWORK)
    numbers = wanted(clients=[client for client in CLIENTS if client["name"] != "named"])
    assert not ends(session("127.0.0.1"), there, numbers)
    assert not ends(session("127.0.0.1", ssl=False), there, numbers)
    # The name may be that of this address, so that its line stands above the administrators', and so does the last one.
    assert ends(session("127.0.0.1"), there)


def test_without_the_last_line_the_lines_below_count() -> None:
    open_ = wanted(reject_others=False)
    assert not ends(session("192.0.2.6"), state(NETWORK), open_)
    assert ends(session("192.0.2.9"), state(REJECT_ONE, NETWORK), open_)
    assert ends(session("198.51.100.1"), state(NETWORK), open_)
    plain_only = ("hostnossl", *NETWORK[1:])
    assert ends(session("192.0.2.6"), state(plain_only), open_)
    assert not ends(session("192.0.2.6", ssl=False), state(plain_only), open_)


def test_what_only_the_server_can_tell_stays() -> None:
    maybe = ("host", "all", "all", "samenet", None, "md5")
    refused = ("host", "all", "all", "samenet", None, "reject")
    open_ = wanted(reject_others=False, clients=[])
    assert not ends(session("192.0.2.6"), state(maybe), open_)  # type: ignore[arg-type]
    assert not ends(session("192.0.2.6"), state(refused, NETWORK), open_)  # type: ignore[arg-type]


def test_sessions_of_roles_that_are_not_ours_stay() -> None:
    assert not ends(session("198.51.100.1"), state(foreign_user=True))


def test_only_when_asked() -> None:
    assert not ends(session("198.51.100.1"), state(), wanted(end_sessions=False))


def test_a_number_that_was_used_anew_is_not_ended() -> None:
    statement = ending([session("192.0.2.6"), Session(18, "o'clock", "shop", "192.0.2.6", True)])
    assert "IN ((17, '2026-01-01 00:00:00.5+00'), (18, 'o''clock'))" in statement

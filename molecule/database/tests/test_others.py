"""After all that was done: the others' lines, logins and files are what they were, and ours stand where they must."""

from __future__ import annotations

import json

from foreign import DIRECTORY, RECORD, addresses, outcomes
from ledgerdb import BLOCK, DATABASE, NAME, OWNER, SUBMITTER, USER, WORKERS, Server, ours
from testing import host

SCRAM = "scram-sha-256"


def network(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def test_their_lines_are_there_byte_for_byte(server: Server):
    before = (DIRECTORY / f"{server.name}.pg_hba.conf").read_bytes()
    assert BLOCK.sub(b"", server.hba()) == before


def test_their_logins_end_as_before(server: Server):
    before = json.loads(RECORD.read_text())[server.name]
    assert outcomes(server.name) == before


def test_ours_are_one_line_for_each_address(server: Server):
    expected = {
        f"hostssl {DATABASE} {USER} {network(address)} {SCRAM}"
        for name in (*WORKERS, SUBMITTER)
        for address in own_addresses(name)
    } | {f"hostssl {DATABASE} {OWNER} {network(address)} {SCRAM}" for address in own_addresses(SUBMITTER)}
    lines = ours(server.hba())
    assert len(lines) == len(set(lines)) and set(lines[:-1]) == expected
    assert lines[-1] == f"host all {USER},{OWNER} all reject"


def own_addresses(name: str) -> list[str]:
    found = addresses(name)
    # These have no IPv6, whatever the engine's names say.
    return [found["4"]] if name in ("worker1", "worker2") else [found["4"], found["6"]]


def test_ours_stand_after_the_administrator_and_before_what_would_catch_them(server: Server):
    rules = server.rules()
    assert not [rule for rule in rules if rule["error"]]
    mine = [number for number, rule in enumerate(rules) if set(rule["user_name"] or ()) & {USER, OWNER}]
    local = [number for number, rule in enumerate(rules) if rule["type"] == "local"]
    catching = [
        number
        for number, rule in enumerate(rules)
        if (rule["database"], rule["user_name"]) == (["all"], ["all"])
        and rule["address"] in ("all", addresses("worker2")["4"])
    ]
    # On the one server a host of ours is shut out before; on the other the last line is in an included directory.
    assert len(catching) == (2 if server.name == "db15" else 1), rules
    assert mine == list(range(mine[0], mine[-1] + 1))
    assert max(local) < mine[0] and mine[-1] < min(catching), rules


def test_nothing_else_was_left_on_the_server(server: Server):
    """No root, no packages, no files: an account that may be postgres, and what postgres may do in the server."""
    machine = host(server.name)
    assert machine.run("runuser -u celery-access -- sudo -n true").rc != 0
    assert machine.run("runuser -u celery-access -- sudo -n -u postgres true").rc == 0
    assert not machine.package("python3-psycopg2").is_installed
    for path in (f"/opt/{NAME}", f"/etc/{NAME}-cluster", f"/var/lib/{NAME}"):
        assert not machine.file(path).exists
    assert machine.run("getent passwd %s", NAME).rc != 0
    left = machine.run(f"ls -A {server.configuration}").stdout.split()
    assert not [name for name in left if "celery" in name], left

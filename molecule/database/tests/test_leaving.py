"""A worker leaves the inventory, another client comes: the diff that is shown is the one that is made."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import takewhile

import pytest
from foreign import addresses
from ledgerdb import DATABASE, NAME, RUN, USER, Cluster, Server, ours
from testing import host, wait_for

LEAVING, STAYING = "worker2", "worker1"
NEW = "192.0.2.55"
FIRST = 2_000_000
HELD = f"{NAME}-held"
# A session as an application holds it. It says how it ended.
HOLD = f"""
import time, psycopg
with psycopg.connect("service={NAME} application_name={HELD}", autocommit=True) as connection:
    while True:
        connection.execute("SELECT 1")
        time.sleep(0.5)
"""


@pytest.fixture(scope="module")
def held(cluster: Cluster) -> Iterator[None]:
    """The worker that will leave has a session open, and so has one that stays."""
    for name in (LEAVING, STAYING):
        machine = host(name)
        machine.run(f"systemctl reset-failed {HELD}")
        done = machine.run(f"systemd-run --quiet --unit={HELD} {RUN} python -c %s", HOLD)
        assert done.rc == 0, done.stderr
    assert wait_for(lambda: holders(cluster.server) == {LEAVING, STAYING}, 30), cluster.server.sessions()
    yield
    for name in (LEAVING, STAYING):
        host(name).run(f"systemctl stop {HELD}")


def holders(server: Server) -> set[str]:
    known = {addresses(name)["4"]: name for name in (LEAVING, STAYING)}
    return {known[found["address"]] for found in server.sessions() if found["application_name"] == HELD}


def shown_diff(output: str) -> list[str]:
    """The lines of the diff of pg_hba.conf in a playbook's output. Preflight shows it, and so does the role."""
    plain = re.sub("\x1b\\[[0-9;]*m", "", output).splitlines()
    begins = [number for number, line in enumerate(plain) if line.startswith("--- ") and "pg_hba.conf" in line]
    found = [list(takewhile(is_of_diff, plain[begin:])) for begin in begins]
    assert found and found[1:] == found[:-1], output[-6000:]
    return found[0]


def is_of_diff(line: str) -> bool:
    return line.startswith(("--- ", "+++ ", "@@", "+", "-", " ", "\\"))


def changes(lines: list[str]) -> list[str]:
    return [line for line in lines if line[:1] in "+-" and not line.startswith(("+++ ", "--- "))]


def test_what_the_check_shows_is_what_the_run_does(cluster: Cluster, held):
    server, options = cluster.server, {"without": [LEAVING], "celery_allowed_clients": [NEW]}
    before = server.hba()
    shown = shown_diff(cluster.succeed("--check", "--diff", **options))
    assert server.hba() == before, "a check changed the file"
    made = shown_diff(cluster.succeed("--diff", **options))
    assert shown == made
    real = difflib.unified_diff(
        before.decode(errors="replace").splitlines(), server.hba().decode(errors="replace").splitlines(), lineterm=""
    )
    assert changes(made) == changes(list(real))
    assert f"+hostssl {DATABASE} {USER} {NEW}/32 scram-sha-256" in made
    assert [line for line in changes(made) if line.startswith(f"-hostssl {DATABASE} {USER}")]


def test_the_worker_is_refused_and_the_others_are_not(cluster: Cluster, held):
    server = cluster.server
    assert not [line for line in ours(server.hba()) if f" {addresses(LEAVING)['4']}/32" in line]
    (refused,) = server.log_in(LEAVING)
    assert not refused["in"] and refused["code"] == "28000" and "pg_hba.conf" in refused["text"], refused
    (allowed,) = server.log_in(STAYING)
    assert allowed["in"], allowed
    # Whoever did not ask for it, ends no session.
    assert holders(server) == {LEAVING, STAYING}


def test_its_sessions_are_ended_when_asked(cluster: Cluster, held):
    server = cluster.server
    before = server.hba()
    cluster.succeed(without=[LEAVING], celery_allowed_clients=[NEW], postgresql_end_sessions=True)
    assert server.hba() == before
    left = addresses(LEAVING)["4"]
    assert wait_for(lambda: not [found for found in server.sessions() if found["address"] == left], 30)
    assert holders(server) == {STAYING}
    told = f"journalctl --no-pager -u {HELD}"
    assert wait_for(lambda: "terminating connection" in host(LEAVING).run(told).stdout, 30)


def test_it_comes_back_and_works(cluster: Cluster, held):
    cluster.succeed()
    server = cluster.server
    assert NEW.encode() not in server.hba()
    (allowed,) = server.log_in(LEAVING)
    assert allowed["in"], allowed

    def works() -> bool:
        answers = cluster.receipts(FIRST, 20)
        return any(answer["value"][1].endswith(f"@{LEAVING}") for answer in answers if answer["status"] == "SUCCESS")

    assert wait_for(works, 120)

"""Who is in the inventory gets in as the right role, to the right database, encrypted; nobody else does, in any way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import figures
from foreign import PORT, ROLES, SOCKET, addresses, log_in
from ledgerdb import DATABASE, OWNER, SUBMITTER, USER, WAYS, WORKERS, Server, passwords

# The rule of the server decided, and nothing before or after it.
REFUSED = re.compile("no pg_hba.conf entry for|pg_hba.conf rejects connection for")
ROLES_TRIED = (USER, OWNER, "warehouse", "postgres")
DATABASES_TRIED = (DATABASE, "postgres", "warehouse", "elsewhere")
# From its own machine, and over every address of it.
DATABASE_HOST = "the server itself"
CALLERS = {**WAYS, DATABASE_HOST: ("4", "6")}

# What the user may not do, with the reason: the rights of the owner, or of nobody.
NOT_ALLOWED = (
    "CREATE TABLE stolen (x int)",
    "CREATE TEMPORARY TABLE stolen (x int)",
    "CREATE SCHEMA stolen",
    "CREATE TABLE celery.stolen (x int)",
    "DROP TABLE celery_taskmeta",
    "ALTER TABLE celery_taskmeta ADD COLUMN stolen int",
    "TRUNCATE celery_taskmeta",
    f"SET ROLE {OWNER}",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_reload_conf()",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "CREATE ROLE stolen",
    "ALTER SYSTEM SET ssl = off",
)
INSUFFICIENT_PRIVILEGE, NO_SUCH_SCHEMA = "42501", "3F000"

Attempt = tuple[str, str, str, str, bool]


def attempts() -> Iterator[Attempt]:
    """Caller, way, role, database, TLS."""
    for caller, ways in CALLERS.items():
        for way, role, database, tls in product(ways, ROLES_TRIED, DATABASES_TRIED, (True, False)):
            yield caller, way, role, database, tls


def is_let_in(attempt: Attempt) -> bool:
    caller, _way, role, database, tls = attempt
    if (role, database) == ("warehouse", "warehouse"):
        # Its own business, from its own machine or from the server's.
        return (caller == "outsider" and tls) or caller == DATABASE_HOST
    if database != DATABASE or not tls:
        return False
    return (role == USER and caller in (*WORKERS, SUBMITTER)) or (role == OWNER and caller == SUBMITTER)


def try_all(server: Server) -> dict[Attempt, dict]:
    known = {**{name: role.get("password", "") for name, role in ROLES.items()}, **passwords()}
    there = addresses(server.name)
    found = {}
    for caller in CALLERS:
        tried = [attempt for attempt in attempts() if attempt[0] == caller]
        given = [
            # The right password in every attempt: it is the rule that refuses.
            {
                "host": there[way],
                "port": PORT,
                "user": role,
                "password": known.get(role, ""),
                "database": database,
                "tls": tls,
            }
            for _caller, way, role, database, tls in tried
        ]
        place = server.name if caller == DATABASE_HOST else caller
        found.update(zip(tried, log_in(place, given), strict=True))
    return found


def test_only_the_right_ones_get_in(server: Server):
    found = try_all(server)
    let_in = {attempt for attempt, answer in found.items() if answer["in"]}
    assert let_in == {attempt for attempt in found if is_let_in(attempt)}
    others = {attempt: answer for attempt, answer in found.items() if attempt not in let_in}
    wrong = {attempt: answer for attempt, answer in others.items() if not was_refused_by_a_rule(answer)}
    assert not wrong, "refused for another reason, which proves nothing about the rules"
    outside = [attempt for attempt in found if attempt[0] in ("outsider", DATABASE_HOST)]
    figures.add(server.name, "connection attempts from outside the inventory", len(outside))
    figures.add(server.name, "  refused", len([attempt for attempt in outside if attempt in others]))
    figures.add(
        server.name, "  let in: the others' own logins", len([attempt for attempt in outside if attempt in let_in])
    )
    figures.add(server.name, "attempts from the cluster's hosts", len(found) - len(outside))
    figures.add(
        server.name,
        "  refused: other role, database or plaintext",
        len(others) - len([a for a in outside if a in others]),
    )


def was_refused_by_a_rule(answer: dict) -> bool:
    return answer["code"] == "28000" and REFUSED.search(answer["text"]) is not None


def test_a_wrong_password_is_refused(server: Server):
    (answer,) = log_in("worker1", server.attempts(WAYS["worker1"], user=USER, password="guessed"))
    assert answer["code"] == "28P01", answer


def test_the_user_works_with_the_tables_and_makes_none(server: Server):
    allowed = ["SELECT count(*) FROM celery_taskmeta", "UPDATE celery_taskmeta SET status = status WHERE false"]
    (answer,) = server.log_in("worker1", statements=[*allowed, *NOT_ALLOWED])
    answers = answer["statements"]
    assert all(isinstance(rows, list) for rows in answers[: len(allowed)]), answers
    codes = {
        statement: rows.get("code") if isinstance(rows, dict) else "done"
        for statement, rows in zip(NOT_ALLOWED, answers[len(allowed) :], strict=True)
    }
    assert codes.pop("CREATE TABLE celery.stolen (x int)") == NO_SUCH_SCHEMA
    assert set(codes.values()) == {INSUFFICIENT_PRIVILEGE}, codes


def test_a_role_that_the_rules_let_in_everywhere_has_no_right_to_the_database(server: Server):
    login = {"host": SOCKET, "port": PORT, "user": "auditor", "password": ROLES["auditor"]["password"], "tls": False}
    tried = [{**login, "database": database} for database in ("reports", DATABASE)]
    own, ours = log_in(server.name, tried)
    assert own["in"], own
    assert ours["code"] == INSUFFICIENT_PRIVILEGE, ours

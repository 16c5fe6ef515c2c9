"""The steps from what a server holds to what is wanted, and their SQL. What was there is a recorded server, altered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from access_options import access_options
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_apply import script
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_plan import Plan, Step, plan
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_sql import array, identifier, literal
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_state import State, state_from
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_wanted import Wanted, wanted_from
from hypothesis import given
from hypothesis import strategies as st

RECORDED = Path(__file__).parent / "recorded"
SINGLE = {"owner": {"name": "shop", "password": None}}
MADE = "SCRAM-SHA-256$made"


def wanted(**more: Any) -> Wanted:
    return wanted_from(access_options(**more))


def state(condition: str = "settled", version: str = "17", **more: Any) -> State:
    first, server, *rest = (RECORDED / f"pg_access-{version}-{condition}.txt").read_text().split("\n")[:-1]
    told = json.loads(server)
    for role in told["roles"] or ():
        role |= more.get(role["name"], {})
    if told["database"]:
        told["database"] |= more.get("database", {})
        rest[1] = json.dumps({**json.loads(rest[1]), **more.get("inside", {})})
    told |= more.get("server", {})
    return state_from([first, json.dumps(told), *rest], wanted(), "postgres")


def made(options: Wanted, there: State) -> Plan:
    return plan(options, there, lambda password: f"{MADE}-{password}")


def sql(options: Wanted, there: State) -> list[str]:
    return [statement for step in made(options, there).steps for statement in step.statements]


def schema(name: str = "public", **more: Any) -> dict[str, Any]:
    start = {"owner": "pg_database_owner", "owner_creates": True, "user_uses": True}
    return {"name": name, **start, "public_creates": False, "user_creates": False, **more}


def test_from_nothing() -> None:
    assert sql(wanted(), state("nothing")) == [
        'CREATE ROLE "shop_owner" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
        f" PASSWORD '{MADE}-owner-secret'",
        "COMMENT ON ROLE \"shop_owner\" IS 'taskfleet.celery_cluster shop'",
        'CREATE ROLE "shop" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
        f" PASSWORD '{MADE}-user-secret'",
        "COMMENT ON ROLE \"shop\" IS 'taskfleet.celery_cluster shop'",
        'CREATE DATABASE "shop" OWNER "shop_owner" TEMPLATE template0 ENCODING \'UTF8\'',
        "COMMENT ON DATABASE \"shop\" IS 'taskfleet.celery_cluster shop'",
        'GRANT CONNECT ON DATABASE "shop" TO "shop"',
        'REVOKE CONNECT, TEMPORARY ON DATABASE "shop" FROM PUBLIC',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "shop_owner" IN SCHEMA "public" GRANT SELECT, USAGE ON SEQUENCES TO "shop"',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "shop_owner" IN SCHEMA "public"'
        ' GRANT DELETE, INSERT, SELECT, UPDATE ON TABLES TO "shop"',
    ]


def test_roles_by_themselves() -> None:
    one = sql(wanted(**SINGLE), state("nothing"))
    assert [statement for statement in one if "GRANT" in statement] == []
    assert 'REVOKE CONNECT, TEMPORARY ON DATABASE "shop" FROM PUBLIC' in one
    assert sum(statement.startswith("CREATE ROLE") for statement in one) == 1
    certificate = wanted(user={"name": "shop", "password": None, "login": "certificate"})
    assert sql(certificate, state("nothing"))[2].endswith("PASSWORD NULL")
    pooled = wanted(user={"name": "shop", "password": "p", "login": "certificate"}, pooler=True)
    assert sql(pooled, state("nothing"))[2].endswith(f"PASSWORD '{MADE}-p'")


def test_schemas_of_ours_are_made_and_closed() -> None:
    schemas = [
        schema(public_creates=True, owner="postgres"),  # as before PostgreSQL 15
        schema("theirs", owner="postgres", owner_creates=False, user_uses=False),
        schema("loose", owner="shop_owner", user_creates=True),
    ]
    options = wanted(schemas=["public", "theirs", "loose", "new"])
    assert sql(options, state(inside={"schemas": schemas})) == [
        'CREATE SCHEMA "new" AUTHORIZATION "shop_owner"',
        'GRANT USAGE, CREATE ON SCHEMA "public" TO "shop_owner"',
        'REVOKE CREATE ON SCHEMA "public" FROM PUBLIC',
        'GRANT USAGE, CREATE ON SCHEMA "theirs" TO "shop_owner"',
        'REVOKE CREATE ON SCHEMA "loose" FROM "shop" CASCADE',
        'GRANT USAGE ON SCHEMA "theirs" TO "shop"',
        'GRANT USAGE ON SCHEMA "new" TO "shop"',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "shop_owner" IN SCHEMA "new" GRANT SELECT, USAGE ON SEQUENCES TO "shop"',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "shop_owner" IN SCHEMA "new"'
        ' GRANT DELETE, INSERT, SELECT, UPDATE ON TABLES TO "shop"',
    ]


def test_the_public_schema_of_a_database_of_ours_is_closed_also_when_it_is_not_used() -> None:
    there = state(inside={"schemas": [schema(public_creates=True), schema("tasks", owner="shop_owner")]})
    assert sql(wanted(schemas=["tasks"]), there) == ['REVOKE CREATE ON SCHEMA "public" FROM PUBLIC']


def test_in_a_foreign_database_the_user_gets_what_it_needs_and_nobody_loses_anything() -> None:
    there = state(
        database={"comment": "app", "public": ["CONNECT", "TEMPORARY"], "user": ["CREATE"], "user_connects": False},
        inside={
            "schemas": [schema(public_creates=True, user_creates=True, user_uses=False, owner="postgres")],
            "things": [
                ["r", "public", "a", ["INSERT"]],
                ["r", "public", "b", ["INSERT"]],
                ["S", "public", "s", ["USAGE"]],
            ],
            "defaults": [["r", "public", ["SELECT"]]],
        },
    )
    assert sql(wanted(), there) == [
        'GRANT CONNECT ON DATABASE "shop" TO "shop"',
        'GRANT USAGE ON SCHEMA "public" TO "shop"',
        'GRANT INSERT ON TABLE "public"."a", "public"."b" TO "shop"',
        'GRANT USAGE ON SEQUENCE "public"."s" TO "shop"',
        'ALTER DEFAULT PRIVILEGES FOR ROLE "shop_owner" IN SCHEMA "public" GRANT SELECT ON TABLES TO "shop"',
    ]
    assert [step.text for step in made(wanted(), there).steps][2:4] == [
        "grant shop INSERT on 2 tables",
        "grant shop USAGE on 1 sequence",
    ]


def test_what_the_user_should_not_have_is_taken_from_it_in_a_database_of_ours() -> None:
    there = state(database={"user": ["CREATE", "TEMPORARY"], "public": ["CONNECT"]})
    assert sql(wanted(), there) == [
        'GRANT CONNECT ON DATABASE "shop" TO "shop"',
        'REVOKE CONNECT ON DATABASE "shop" FROM PUBLIC',
        'REVOKE CREATE, TEMPORARY ON DATABASE "shop" FROM "shop" CASCADE',
    ]


@pytest.mark.parametrize(("version", "by"), [("15", ""), ("17", ' GRANTED BY "boss"')])
def test_memberships_of_the_user_go(version: str, by: str) -> None:
    more = {"shop": {"memberships": [["shop_owner", "boss"]]}, "shop_owner": {"memberships": [["pg_monitor", "boss"]]}}
    assert sql(wanted(), state(version=version, **more)) == [f'REVOKE "shop_owner" FROM "shop"{by} CASCADE']


def test_only_what_differs_of_a_role_is_altered() -> None:
    there = state(shop={"superuser": True, "login": False, "expired": True}, shop_owner={"password": None})
    assert sql(wanted(), there) == [
        f"ALTER ROLE \"shop_owner\" PASSWORD '{MADE}-owner-secret'",
        "ALTER ROLE \"shop\" LOGIN NOSUPERUSER VALID UNTIL 'infinity'",
    ]


def test_a_run_that_ended_between_making_and_marking_is_completed() -> None:
    assert sql(wanted(), state(database={"comment": None, "public": ["CONNECT"]})) == [
        "COMMENT ON DATABASE \"shop\" IS 'taskfleet.celery_cluster shop'",
        'REVOKE CONNECT ON DATABASE "shop" FROM PUBLIC',
    ]


def test_the_verifier_for_a_pooler() -> None:
    stored = state().roles["shop"].password
    assert made(wanted(), state()).verifier == stored
    assert made(wanted(), state(shop={"comment": None})).verifier == stored
    assert made(wanted(), state("nothing")).verifier == f"{MADE}-user-secret"


def test_notes() -> None:
    there = state(server={"marked": ["old", "shop", "shop_owner"]})
    assert made(wanted(), there).notes[0].startswith("old: made for this cluster and no longer used by it.")
    closed = state(database={"comment": "app"}, inside={"schemas": [schema(owner_creates=False)]})
    (note,) = made(wanted(), closed).notes
    assert "shop_owner may not create tables in the schema public" in note


# --- the script -------------------------------------------------------------------------------------------------------


def test_verifiers_are_kept_from_logs_and_views_and_the_rest_is_not() -> None:
    steps = [Step("one", ("A", "B"), secrets=("verifier",)), Step("two", ("C",))]
    told = script(steps).splitlines()
    silent = told[told.index("SET log_statement = 'none';") : told.index("BEGIN;")]
    assert silent == [
        "SET log_statement = 'none';",
        "SET log_min_duration_statement = -1;",
        "SET log_min_duration_sample = -1;",
        "SET log_transaction_sample_rate = 0;",
        "SET log_min_error_statement = 'panic';",
        "SET track_activities = off;",
        "SET pg_stat_statements.track = 'none';",
    ]
    first = told.index("BEGIN;")
    assert told[first : first + 4] == ["BEGIN;", "A;", "B;", "COMMIT;"]
    reset = [line.split()[1].rstrip(";") for line in told[first + 4 :] if line.startswith("RESET")]
    assert reset == [line.split()[1] for line in silent]
    assert told[-3:] == ["\\echo done", "C;", "\\echo done"]
    assert told[0] == "\\set VERBOSITY terse"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_quoting_can_be_undone(text: str) -> None:
    for quoted, quote in ((identifier(text), '"'), (literal(text), "'")):
        assert quoted[0] == quoted[-1] == quote
        inner = quoted[1:-1]
        assert inner.replace(quote * 2, "").count(quote) == 0
        assert inner.replace(quote * 2, quote) == text


def test_quoting() -> None:
    assert identifier('a"b', "c") == '"a""b"."c"'
    assert array(["a'b", "c"]) == "ARRAY['a''b', 'c']::text[]"
    with pytest.raises(ValueError, match="zero byte"):
        literal("a\0b")

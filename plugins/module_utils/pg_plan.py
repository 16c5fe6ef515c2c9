# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps from what a server holds to what a cluster wants: roles, database, grants. Each can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from .pg_scram import matches, verifier
from .pg_sql import identifier, literal
from .pg_state import DATABASE_OWNER, NEEDED, SEQUENCES, TABLES, Inside, Role, Schema, State
from .pg_wanted import Wanted

# What a role of ours is, and how to say so. One that it should not have is taken away with the same words.
_ATTRIBUTES = {
    "login": "LOGIN",
    "superuser": "NOSUPERUSER",
    "createdb": "NOCREATEDB",
    "createrole": "NOCREATEROLE",
    "replication": "NOREPLICATION",
    "bypassrls": "NOBYPASSRLS",
}
_WORDS = {TABLES: ("TABLE", "table"), SEQUENCES: ("SEQUENCE", "sequence")}
# From here on several roles may have granted the same membership, and each grant is taken back by its name.
_NAMED_GRANTORS = 160000


class Step(NamedTuple):
    """One change. Its statements are one transaction, except a single one."""

    text: str
    statements: tuple[str, ...]
    inside: bool = False  # run in the database of the cluster
    secrets: tuple[str, ...] = ()


class Plan(NamedTuple):
    steps: tuple[Step, ...]
    verifier: str  # of the user after the steps; empty when it has none
    notes: tuple[str, ...]


def plan(wanted: Wanted, state: State, make: Callable[[str], str] = verifier) -> Plan:
    verifiers = {name: _verifier(wanted, state, name, make) for name in wanted.roles}
    steps = [step for name in wanted.roles for step in _role_steps(wanted, state, name, verifiers[name])]
    steps += _database_steps(wanted, state)
    if state.inside is not None:
        steps += _inside_steps(wanted, state, state.inside)
    return Plan(tuple(steps), verifiers[wanted.user], tuple(_notes(wanted, state)))


def _verifier(wanted: Wanted, state: State, name: str, make: Callable[[str], str]) -> str:
    """What shall be stored. A verifier that fits stays, since another one of the same password is no better."""
    password, role = wanted.passwords[name], state.roles.get(name)
    stored = role.password if role else ""
    if role is not None and not state.is_ours(name, wanted):
        return stored
    if password is None:
        return ""
    return stored if matches(stored, password) else make(password)


def _role_steps(wanted: Wanted, state: State, name: str, stored: str) -> Iterator[Step]:
    role, quoted = state.roles.get(name), identifier(name)
    password = f"PASSWORD {literal(stored) if stored else 'NULL'}"
    if role is None:
        words = " ".join([*_ATTRIBUTES.values(), password])
        create = f"CREATE ROLE {quoted} {words}"
        mark = f"COMMENT ON ROLE {quoted} IS {literal(wanted.mark)}"
        yield Step(f"make the role {name}", (create, mark), secrets=_secrets(stored))
        return
    if not state.is_ours(name, wanted):
        return
    changes = [
        words for attribute, words in _ATTRIBUTES.items() if role.attributes[attribute] is not (words == "LOGIN")
    ]
    if role.expired:
        changes.append("VALID UNTIL 'infinity'")
    told = list(changes)
    if role.password != stored:
        changes.append(password)
        told.append("a new password" if stored else "no password")
    if changes:
        alter = f"ALTER ROLE {quoted} {' '.join(changes)}"
        yield Step(f"change the role {name}: {', '.join(told)}", (alter,), secrets=_secrets(stored))
    if name == wanted.user and name != wanted.owner:
        yield from _membership_steps(state, role)


def _secrets(stored: str) -> tuple[str, ...]:
    return (stored,) if stored else ()


def _membership_steps(state: State, role: Role) -> Iterator[Step]:
    """Whatever the user were a member of, it could do as well."""
    for group, grantor in role.memberships:
        by = f" GRANTED BY {identifier(grantor)}" if state.version >= _NAMED_GRANTORS else ""
        revoke = f"REVOKE {identifier(group)} FROM {identifier(role.name)}{by} CASCADE"
        yield Step(f"take the membership of {group} from the role {role.name}", (revoke,))


def _database_steps(wanted: Wanted, state: State) -> Iterator[Step]:
    database, name, quoted = state.database, wanted.database, identifier(wanted.database)
    mark = f"COMMENT ON DATABASE {quoted} IS {literal(wanted.mark)}"
    single = wanted.owner == wanted.user
    public, granted, connects = frozenset({"CONNECT", "TEMPORARY"}), frozenset[str](), False
    if database is None:
        create = f"CREATE DATABASE {quoted} OWNER {identifier(wanted.owner)} TEMPLATE template0 ENCODING 'UTF8'"
        yield Step(f"make the database {name}", (create,))
        yield Step(f"mark the database {name}", (mark,))
    else:
        public, granted, connects = database.public, database.user, database.user_connects
        if state.database_is_ours(wanted) and database.comment != wanted.mark:
            yield Step(f"mark the database {name}", (mark,))
    ours = state.database_is_ours(wanted)
    # Elsewhere it may connect as one of PUBLIC. In a database of ours it gets its own before everybody loses theirs.
    if not single and not ("CONNECT" in granted if ours else connects):
        yield Step(
            f"grant {wanted.user} CONNECT on the database {name}",
            (f"GRANT CONNECT ON DATABASE {quoted} TO {identifier(wanted.user)}",),
        )
    if not ours:
        return
    if taken := sorted(public):
        yield Step(
            f"take {' and '.join(taken)} on the database {name} from PUBLIC",
            (f"REVOKE {', '.join(taken)} ON DATABASE {quoted} FROM PUBLIC",),
        )
    if not single and (taken := sorted(granted - {"CONNECT"})):
        yield Step(
            f"take {' and '.join(taken)} on the database {name} from {wanted.user}",
            (f"REVOKE {', '.join(taken)} ON DATABASE {quoted} FROM {identifier(wanted.user)} CASCADE",),
        )


def _inside_steps(wanted: Wanted, state: State, inside: Inside) -> Iterator[Step]:
    ours, single = state.database_is_ours(wanted), wanted.owner == wanted.user
    made = [name for name in wanted.schemas if name not in inside.schemas]
    for name in made:
        sql = f"CREATE SCHEMA {identifier(name)} AUTHORIZATION {identifier(wanted.owner)}"
        yield Step(f"make the schema {name}", (sql,), inside=True)
    for schema in inside.schemas.values():
        if ours:
            yield from _own_schema_steps(wanted, schema)
    if single:
        return
    user = identifier(wanted.user)
    for name in wanted.schemas:
        if name in made or not inside.schemas[name].user_uses:
            sql = f"GRANT USAGE ON SCHEMA {identifier(name)} TO {user}"
            yield Step(f"grant {wanted.user} USAGE on the schema {name}", (sql,), inside=True)
    yield from _thing_steps(wanted, inside)
    yield from _default_steps(wanted, inside, made)


def _own_schema_steps(wanted: Wanted, schema: Schema) -> Iterator[Step]:
    """In a database of ours, the owner creates in the schemas and nobody else does."""
    quoted = identifier(schema.name)
    owned = schema.owner in (wanted.owner, DATABASE_OWNER)
    # What the owner may as one of PUBLIC it loses with the next step.
    if schema.name in wanted.schemas and not owned and (schema.public_creates or not schema.owner_creates):
        sql = f"GRANT USAGE, CREATE ON SCHEMA {quoted} TO {identifier(wanted.owner)}"
        yield Step(f"grant {wanted.owner} USAGE and CREATE on the schema {schema.name}", (sql,), inside=True)
    if schema.public_creates:
        sql = f"REVOKE CREATE ON SCHEMA {quoted} FROM PUBLIC"
        yield Step(f"take CREATE on the schema {schema.name} from PUBLIC", (sql,), inside=True)
    if schema.user_creates and wanted.owner != wanted.user:
        sql = f"REVOKE CREATE ON SCHEMA {quoted} FROM {identifier(wanted.user)} CASCADE"
        yield Step(f"take CREATE on the schema {schema.name} from {wanted.user}", (sql,), inside=True)


def _thing_steps(wanted: Wanted, inside: Inside) -> Iterator[Step]:
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for kind, schema, name, missing in inside.things:
        grouped.setdefault((kind, missing), []).append(identifier(schema, name))
    for (kind, missing), names in grouped.items():
        word, told = _WORDS[kind]
        sql = f"GRANT {', '.join(missing)} ON {word} {', '.join(names)} TO {identifier(wanted.user)}"
        count = f"{len(names)} {told}{'' if len(names) == 1 else 's'}"
        yield Step(f"grant {wanted.user} {', '.join(missing)} on {count}", (sql,), inside=True)


def _default_steps(wanted: Wanted, inside: Inside, made: Iterable[str]) -> Iterator[Step]:
    missing = {(kind, schema): privileges for kind, schema, privileges in inside.defaults}
    missing.update(_all_defaults(made))
    for (kind, schema), privileges in sorted(missing.items()):
        word, told = _WORDS[kind]
        sql = (
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(wanted.owner)} IN SCHEMA {identifier(schema)}"
            f" GRANT {', '.join(privileges)} ON {word}S TO {identifier(wanted.user)}"
        )
        text = f"grant {wanted.user} {', '.join(privileges)} on later {told}s of {wanted.owner} in the schema {schema}"
        yield Step(text, (sql,), inside=True)


def _all_defaults(schemas: Iterable[str]) -> Mapping[tuple[str, str], tuple[str, ...]]:
    return {(kind, schema): privileges for schema in schemas for kind, privileges in NEEDED.items()}


def _notes(wanted: Wanted, state: State) -> Iterator[str]:
    unused = [name for name in state.marked if name not in wanted.roles]
    if unused:
        yield (
            f"{' and '.join(unused)}: made for this cluster and no longer used by it. They stay, with what they own;"
            " when nobody needs them: REASSIGN OWNED, DROP OWNED, DROP ROLE"
        )
    if state.inside is not None and not state.database_is_ours(wanted):
        closed = [name for name in wanted.schemas if name in state.inside.schemas]
        closed = [name for name in closed if not state.inside.schemas[name].owner_creates]
        if closed:
            yield (
                f"the role {wanted.owner} may not create tables in the schema {' and '.join(closed)} of the database"
                f" {wanted.database}: setup commands that make tables there fail"
            )

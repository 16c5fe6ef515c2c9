# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a PostgreSQL server holds of that which a cluster wants, as the scripts of pg_read tell it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .pg_read import OLDEST
from .pg_wanted import OWNER, Wanted

DATABASE_OWNER = "pg_database_owner"
# From here on nobody but the owner of the database may create in a new database's public schema.
_CLOSED_PUBLIC = 150000
TABLES, SEQUENCES = "r", "S"
NEEDED = {TABLES: ("DELETE", "INSERT", "SELECT", "UPDATE"), SEQUENCES: ("SELECT", "USAGE")}


@dataclass(frozen=True)
class Role:
    name: str
    comment: str
    limit: int
    attributes: Mapping[str, bool]
    expired: bool
    password: str  # as it is stored; empty when there is none
    becomes_superuser: bool
    groups: frozenset[str]  # what it is a member of, directly or not
    memberships: tuple[tuple[str, str], ...]  # the direct ones: (role, who granted it)


@dataclass(frozen=True)
class Database:
    oid: str
    owner: str
    limit: int
    connectable: bool
    comment: str
    public: frozenset[str]  # privileges of everybody
    user: frozenset[str]  # privileges granted to the user itself
    user_connects: bool


@dataclass(frozen=True)
class Schema:
    name: str
    owner: str
    owner_creates: bool
    user_uses: bool
    public_creates: bool
    user_creates: bool


@dataclass(frozen=True)
class Inside:
    """What the database holds. Of privileges, those that are missing."""

    schemas: Mapping[str, Schema]
    things: tuple[tuple[str, str, str, tuple[str, ...]], ...]  # kind, schema, name, privileges
    defaults: tuple[tuple[str, str, tuple[str, ...]], ...]  # kind, schema, privileges


@dataclass(frozen=True)
class Session:
    pid: int
    started: str
    role: str
    address: str
    ssl: bool


@dataclass(frozen=True)
class Hba:
    """The file on the disk and what the server makes of it, which is not yet what it has loaded."""

    file: str
    content: bytes
    rows: tuple[Mapping[str, Any], ...]
    loaded: float  # when the server last read its files

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class State:
    version: int
    settings: Mapping[str, str]
    system: str
    hba: Hba
    authorities: str
    roles: Mapping[str, Role]
    marked: tuple[str, ...]
    database: Database | None
    inside: Inside | None
    sessions: tuple[Session, ...]
    others: int

    @property
    def available(self) -> int:
        """Connections for roles that are no superusers."""
        reserved = ("superuser_reserved_connections", "reserved_connections")
        return int(self.settings["max_connections"]) - sum(int(self.settings.get(name, 0)) for name in reserved)

    @property
    def groups(self) -> dict[str, frozenset[str]]:
        return {role.name: role.groups for role in self.roles.values()}

    def is_ours(self, role: str, wanted: Wanted) -> bool:
        """Whether a role carries our mark, or is about to."""
        return role not in self.roles or self.roles[role].comment == wanted.mark

    def database_is_ours(self, wanted: Wanted) -> bool:
        """Also without the mark, when a run ended between making it and marking it: who owns it was made by us."""
        if self.database is None or self.database.comment == wanted.mark:
            return True
        owner = self.roles.get(self.database.owner)
        return not self.database.comment and owner is not None and owner.comment == wanted.mark


class RefusedError(Exception):
    """Reasons why nothing was changed."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons


def state_from(lines: Sequence[str], wanted: Wanted, login_user: str) -> State:
    """The state from what `everything` printed."""
    superuser, version, standby = lines[0].split("|")
    if reasons := _unusable(superuser == "on", int(version), standby == "t", login_user):
        raise RefusedError(reasons)
    server = json.loads(lines[1])
    database = server["database"] and _database(server["database"])
    inside = _inside(json.loads(lines[3])) if len(lines) > 3 else None
    return State(
        version=int(version),
        settings=server["settings"],
        system=server["system"],
        hba=hba_from(server["hba"]),
        authorities=base64.b64decode(server["authorities"] or "").decode("utf-8", "replace"),
        roles={entry["name"]: _role(entry) for entry in server["roles"] or ()},
        marked=tuple(server["marked"] or ()),
        database=database,
        inside=_fresh(int(version), wanted) if database is None else inside,
        sessions=sessions_from(lines[2]),
        others=server["others"],
    )


def hba_from(told: Mapping[str, Any]) -> Hba:
    content = base64.b64decode(told["text"])
    return Hba(told["file"], content, tuple(told["rules"] or ()), float(told["loaded"]))


def sessions_from(line: str) -> tuple[Session, ...]:
    return tuple(Session(**entry) for entry in json.loads(line))


def other_cluster(comment: str, wanted: Wanted) -> str:
    """The cluster that has marked it, when it is not ours."""
    start = f"{OWNER} "
    return comment[len(start) :] if comment.startswith(start) and comment != wanted.mark else ""


def _unusable(superuser: bool, version: int, standby: bool, login_user: str) -> list[str]:
    found = []
    if not superuser:
        found.append(
            f"the role {login_user} is no superuser, and pg_hba.conf can only be judged by one: log in as one"
            " (postgresql_account names the account of the operating system that the server lets in as such)"
        )
    if version < OLDEST:
        named = f"{version // 10000}.{version % 10000}" if version >= 100000 else f"9.{version // 100 % 100}"
        found.append(
            f"this is PostgreSQL {named}, and 13 is the oldest that works: upgrade it, or name another host in the"
            " group postgresql"
        )
    if standby:
        found.append(
            "this server is a standby, on which nothing can be changed: name the host of its primary in the group"
            " postgresql"
        )
    return found


def _role(told: Mapping[str, Any]) -> Role:
    attributes = ("superuser", "createdb", "createrole", "replication", "bypassrls", "login")
    return Role(
        name=told["name"],
        comment=told["comment"] or "",
        limit=told["limit"],
        attributes={name: told[name] for name in attributes},
        expired=told["expired"],
        password=told["password"] or "",
        becomes_superuser=told["becomes_superuser"],
        groups=frozenset(told["groups"] or ()),
        memberships=tuple((role, grantor) for role, grantor in told["memberships"] or ()),
    )


def _database(told: Mapping[str, Any]) -> Database:
    return Database(
        oid=told["oid"],
        owner=told["owner"],
        limit=told["limit"],
        connectable=told["connectable"],
        comment=told["comment"] or "",
        public=frozenset(told["public"] or ()),
        user=frozenset(told["user"] or ()),
        user_connects=told["user_connects"],
    )


def _inside(told: Mapping[str, Any]) -> Inside:
    return Inside(
        schemas={entry["name"]: Schema(**entry) for entry in told["schemas"] or ()},
        things=tuple((kind, schema, name, tuple(missing)) for kind, schema, name, missing in told["things"] or ()),
        defaults=tuple((kind, schema, tuple(missing)) for kind, schema, missing in told["defaults"] or ()),
    )


def _fresh(version: int, wanted: Wanted) -> Inside:
    """What a database made from template0 holds, so that a check can tell what the run will grant in it."""
    closed = version >= _CLOSED_PUBLIC
    public = Schema("public", DATABASE_OWNER if closed else "postgres", True, True, not closed, False)
    defaults = [
        (kind, schema, NEEDED[kind])
        for kind in (SEQUENCES, TABLES)
        for schema in sorted({*wanted.schemas} & {"public"})
    ]
    return Inside({"public": public}, (), tuple(defaults))

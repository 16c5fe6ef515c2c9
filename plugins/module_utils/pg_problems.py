# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What on a server stands against the wishes of a cluster, each with its remedy. Nothing is changed before this."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from .pg_scram import is_md5, matches
from .pg_sql import identifier
from .pg_state import Role, State, other_cluster
from .pg_wanted import Wanted

_PEM = re.compile(
    r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.*?)-----END (?:TRUSTED |X509 )?CERTIFICATE-----", re.S
)
_ATTRIBUTES = {
    "superuser": "SUPERUSER",
    "createdb": "CREATEDB",
    "createrole": "CREATEROLE",
    "replication": "REPLICATION",
    "bypassrls": "BYPASSRLS",
}
_PASSWORDS = {True: "celery_database_owner_password", False: "celery_database_password"}
_NAMES = {True: "celery_database_owner", False: "celery_database_user"}


def problems(wanted: Wanted, state: State) -> list[str]:
    return [
        *_tls_problems(wanted, state),
        *(text for name in wanted.roles for text in _role_problems(wanted, state, name)),
        *_database_problems(wanted, state),
        *_room_problems(wanted, state),
    ]


def _tls_problems(wanted: Wanted, state: State) -> Iterable[str]:
    if state.settings["ssl"] != "on":
        yield (
            "the server has ssl = off, and clients log in over TLS only: give it a certificate (ssl_cert_file,"
            " ssl_key_file), set ssl = on and reload it"
        )
    if not wanted.certificate or wanted.pooler or wanted.authority is None:
        return
    authority = certificates(wanted.authority)
    if not authority:
        yield (
            "clients log in by certificate, but certificate_authority holds no certificate in PEM: give the authority"
            " that signs theirs"
        )
    elif not authority <= certificates(state.authorities):
        told = state.settings["ssl_ca_file"]
        is_now = f"is {told} and does not hold it" if told else "is empty"
        yield (
            f"clients log in by certificate, so the server must know the cluster's authority, but its ssl_ca_file"
            f" {is_now}: add the authority's certificate to that file, or choose celery_database_login: password"
        )


def certificates(pem: str) -> set[bytes]:
    """The certificates in a file, whatever text is around them."""
    found = set()
    for match in _PEM.finditer(pem):
        try:
            found.add(base64.b64decode("".join(match[1].split()), validate=True))
        except ValueError:
            continue
    return found


def _role_problems(wanted: Wanted, state: State, name: str) -> Iterable[str]:
    role = state.roles.get(name)
    if role is None:
        return
    owner = name == wanted.owner
    variable = _NAMES[owner and name != wanted.user]
    yield from _limit_problems(wanted, f"role {name!r}", role.limit, f"ALTER ROLE {identifier(name)}")
    if other := other_cluster(role.comment, wanted):
        yield (
            f"the role {name!r} belongs to the cluster {other} (its comment says so): choose another {variable}, or"
            f" give this cluster the celery_name {other} if it is the same"
        )
    elif role.comment != wanted.mark:
        yield from _attribute_problems(role, variable)
        yield from _password_problems(role, wanted.passwords[name], variable, _PASSWORDS[owner and name != wanted.user])


def _attribute_problems(role: Role, variable: str) -> Iterable[str]:
    """The role is somebody else's: it is not altered, only told what must be altered."""
    alter = f"ALTER ROLE {identifier(role.name)}"
    too_much = [text for attribute, text in _ATTRIBUTES.items() if role.attributes[attribute]]
    if too_much:
        without = " ".join(f"NO{text}" for text in too_much)
        yield (
            f"the role {role.name!r} exists and is {', '.join(too_much)}, which reaches further than the cluster's"
            f" database: run {alter} {without}; or choose another {variable}"
        )
    if role.becomes_superuser:
        yield (
            f"the role {role.name!r} exists and can become a superuser by a membership: revoke it, or choose another"
            f" {variable}"
        )
    if not role.attributes["login"]:
        yield f"the role {role.name!r} exists and may not log in: run {alter} LOGIN; or choose another {variable}"
    if role.expired:
        yield (
            f"the password of the role {role.name!r} has expired (VALID UNTIL): run {alter} VALID UNTIL 'infinity';"
            f" or choose another {variable}"
        )


def _password_problems(role: Role, password: str | None, variable: str, password_variable: str) -> Iterable[str]:
    if password is None:
        return
    anew = f"as that role or a superuser, in psql: SET password_encryption = 'scram-sha-256'; \\password {role.name}"
    if not role.password:
        yield (
            f"the role {role.name!r} exists and has no password: set that of {password_variable} ({anew}), or choose"
            f" another {variable}"
        )
    elif is_md5(role.password):
        yield (
            f"the password of the role {role.name!r} is stored as md5, with which the lines of the cluster let nobody"
            f" in: set it anew ({anew})"
        )
    elif not matches(role.password, password):
        yield (
            f"the role {role.name!r} exists with another password than {password_variable}: write its password there,"
            f" or choose another {variable}"
        )


def _database_problems(wanted: Wanted, state: State) -> Iterable[str]:
    database = state.database
    if database is None:
        return
    what = f"the database {wanted.database!r}"
    if other := other_cluster(database.comment, wanted):
        yield (
            f"{what} belongs to the cluster {other} (its comment says so): choose another celery_database_name, or give"
            f" this cluster the celery_name {other} if it is the same"
        )
        return
    if database.owner != wanted.owner:
        yield (
            f"{what} belongs to the role {database.owner!r}: write celery_database_owner: {database.owner} (and its"
            " password), or choose another celery_database_name"
        )
    yield from _limit_problems(wanted, what, database.limit, f"ALTER DATABASE {identifier(wanted.database)}")
    if not database.connectable:
        yield (
            f"{what} allows no connections: run ALTER DATABASE {identifier(wanted.database)} ALLOW_CONNECTIONS true; or"
            " choose another celery_database_name"
        )
    if state.inside is not None and not state.database_is_ours(wanted):
        for schema in wanted.schemas:
            if schema not in state.inside.schemas:
                yield (
                    f"{what} is not the cluster's, and has no schema {schema!r}: let its owner make it, or correct"
                    " celery_database_schemas"
                )


def _limit_problems(wanted: Wanted, what: str, limit: int, alter: str) -> Iterable[str]:
    if 0 <= limit < wanted.connections:
        what = what if what.startswith("the ") else f"the {what}"
        yield (
            f"{what} is limited to {limit} connections, and the cluster needs up to {wanted.connections}: run"
            f" {alter} CONNECTION LIMIT -1; or lower the concurrency of the workers"
        )


def _room_problems(wanted: Wanted, state: State) -> Iterable[str]:
    free = state.available - state.others
    if wanted.connections and wanted.connections > free:
        yield (
            f"the cluster needs up to {wanted.connections} connections, and the server has {max(free, 0)} left:"
            f" max_connections is {state.settings['max_connections']}, {state.available} of them for roles that are no"
            f" superusers, and others use {state.others}. Raise max_connections, lower the concurrency of the workers,"
            " or, where this collection runs the server, set postgresql_pooler"
        )

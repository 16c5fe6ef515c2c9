# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database: whose server it is, how its clients reach it and log in, and who may be its owner."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .addresses import cidr
from .model import Client, Cluster, Host, Inventory
from .problems import Problems, did_you_mean, shown

#: Whether the server is installed here, or is somebody else's and only lets the cluster in.
MANAGED, ACCESS = MODES = ("managed", "access")
NO_POOLER, SESSION, TRANSACTION = POOLERS = ("none", "session", "transaction")
PASSWORD, CERTIFICATE = LOGINS = ("password", "certificate")
SERVER_PORT, POOLER_PORT = 5432, 6432
#: Server connections of the pooler when postgresql_pooler_size does not say it.
POOLER_SIZE = 20
SCHEMAS = ("public",)
#: The database of PgBouncer's console.
POOLERS_OWN = "pgbouncer"


def _word(settings: Mapping[str, Any], name: str, words: Sequence[str]) -> str:
    """A word that is none of them is told where it is judged, and counts as the first one."""
    value = settings.get(name)
    return value if isinstance(value, str) and value in words else words[0]


def _port(settings: Mapping[str, Any], name: str, default: int) -> int:
    value = settings.get(name, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def mode(settings: Mapping[str, Any]) -> str:
    return _word(settings, "postgresql_mode", MODES)


def pooler(settings: Mapping[str, Any]) -> str:
    """On a server of somebody else nothing is installed, and no pooler either."""
    return NO_POOLER if mode(settings) == ACCESS else _word(settings, "postgresql_pooler", POOLERS)


def login(settings: Mapping[str, Any]) -> str:
    return _word(settings, "celery_database_login", LOGINS)


def server_port(settings: Mapping[str, Any]) -> int:
    return _port(settings, "celery_database_port", SERVER_PORT)


def client_port(settings: Mapping[str, Any]) -> int:
    """Where clients connect: to the pooler, if there is one."""
    if pooler(settings) == NO_POOLER:
        return server_port(settings)
    return _port(settings, "postgresql_pooler_port", POOLER_PORT)


def owner_name(settings: Mapping[str, Any]) -> str:
    owner = settings.get("celery_database_owner")
    if isinstance(owner, str):
        return owner
    return f"{settings.get('celery_database_user', settings.get('celery_name', ''))}_owner"


def has_one_role(settings: Mapping[str, Any]) -> bool:
    """Whether the owner is the user: the one role of an application that was there before."""
    return owner_name(settings) == str(settings.get("celery_database_user", settings.get("celery_name", "")))


def owners(submitter: str, hosts: Mapping[str, Host]) -> tuple[Client, ...]:
    """From where the owner logs in: the host on which the commands run that set up the tables."""
    host = hosts.get(submitter)
    addresses = dict.fromkeys(cidr(address) for address in (host.addresses if host else ()))
    return tuple(Client(submitter, address) for address in addresses)


def lock_clients(beats: Sequence[str], hosts: Mapping[str, Host], settings: Mapping[str, Any]) -> tuple[Client, ...]:
    """Who needs the server itself although there is a pooler, which would lend the lock's session to others.

    beats: the beat hosts. Only several of them have a lock.
    """
    if len(beats) < 2 or pooler(settings) == NO_POOLER:
        return ()
    found = [(name, cidr(address)) for name in beats if name in hosts for address in hosts[name].addresses]
    return tuple(Client(name, address) for name, address in dict.fromkeys(found))


def prepared(
    everyone: Sequence[str], members: Mapping[str, Sequence[str]], releases: Sequence[str], settings: Mapping[str, Any]
) -> tuple[str, ...]:
    """The hosts that belong to the cluster as a whole. On that of an existing server only the database is ours.

    members: each group of the interface -> its hosts. releases: the hosts that run something of a release.
    """
    if mode(settings) == MANAGED:
        return tuple(everyone)
    others = {host for group, hosts in members.items() if group != "postgresql" for host in hosts} | set(releases)
    return tuple(host for host in everyone if host in others or host not in members["postgresql"])


# --------------------------------------------------------------------------------------------------
# What is wrong

#: What says how the server is run. On a server of somebody else nobody reads it.
OF_OUR_SERVER = (
    "postgresql_listen_addresses",
    "postgresql_max_connections",
    "postgresql_pooler_port",
    "postgresql_pooler_size",
    "postgresql_settings",
    "postgresql_start_timeout",
    "postgresql_tls_directory",
    "postgresql_version",
)
#: Code, words of each variable that takes one of a few.
WORDS = {
    "postgresql_mode": ("CC120", MODES),
    "postgresql_pooler": ("CC121", POOLERS),
    "celery_database_login": ("CC624", LOGINS),
}
#: A schema is named like a database: no quotes, and no longer than what PostgreSQL keeps of an identifier.
SCHEMA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


def check_databases(database: bool, inventory: Inventory, problems: Problems) -> None:
    """database: whether the cluster has a database host."""
    for name, (code, words) in WORDS.items():
        _check_word(code, name, words, database, inventory, problems)
    _check_schemas(inventory.settings.get("celery_database_schemas", SCHEMAS), problems)
    _check_one_role(inventory, problems)
    if not database:
        return
    if mode(inventory.settings) == ACCESS:
        for name in OF_OUR_SERVER:
            if name in inventory.own:
                problems.add(
                    "CC123",
                    name,
                    "is set, and changes nothing where postgresql_mode is access: the server is run by somebody else",
                    "remove it, or write managed into postgresql_mode",
                )
    _check_pooler(inventory.settings, problems)
    _check_authority(inventory, problems)


def _check_word(
    code: str, name: str, words: Sequence[str], database: bool, inventory: Inventory, problems: Problems
) -> None:
    if name not in inventory.settings or (name.startswith("postgresql_") and not database):
        return
    value = inventory.settings[name]
    if isinstance(value, str) and value in words:
        return
    near = did_you_mean(value, words) if isinstance(value, str) else ""
    instead = f"write {near}" if near else f"write one of {', '.join(words)}"
    problems.add(code, name, f"is {shown(value)}", instead)


def _check_pooler(settings: Mapping[str, Any], problems: Problems) -> None:
    wanted = _word(settings, "postgresql_pooler", POOLERS)
    if wanted == NO_POOLER:
        return
    if mode(settings) == ACCESS:
        problems.add(
            "CC122",
            "postgresql_pooler",
            f"is {wanted}, and postgresql_mode is access: nothing is installed on the server of somebody else",
            "write none",
        )
        return
    if login(settings) == CERTIFICATE:
        problems.add(
            "CC122",
            "postgresql_pooler",
            f"is {wanted}, and celery_database_login is certificate: the pooler cannot log in for its clients then",
            "write none, or write password into celery_database_login",
        )
    if settings.get("celery_database_name", settings.get("celery_name")) == POOLERS_OWN:
        problems.add(
            "CC122",
            "celery_database_name",
            f"is {POOLERS_OWN}, the name under which the pooler offers its own administration",
            "write another name, or none into postgresql_pooler",
        )
    size = settings.get("postgresql_pooler_size", POOLER_SIZE)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        instead = f"write the number of connections that the pooler may open to the server, for example {POOLER_SIZE}"
        problems.add("CC405", "postgresql_pooler_size", f"is {shown(size)}", instead)


def check_pooled_clients(cluster: Cluster, problems: Problems) -> None:
    if cluster.database_pooler == NO_POOLER:
        return
    for client in cluster.database_clients:
        if "/" not in client.cidr:
            problems.add(
                "CC519",
                client.name,
                f"has the name {client.cidr!r}, and the pooler (postgresql_pooler) looks no names up",
                "write the address of the client, or write none into postgresql_pooler",
            )


def _check_one_role(inventory: Inventory, problems: Problems) -> None:
    settings = inventory.settings
    if not has_one_role(settings):
        return
    if login(settings) == CERTIFICATE:
        problems.add(
            "CC625",
            "celery_database_owner",
            f"is {shown(owner_name(settings))}, the name of celery_database_user, and celery_database_login is "
            "certificate: the owner logs in with a password, and one role cannot do both",
            "write another name, or write password into celery_database_login",
        )


def _check_schemas(schemas: Any, problems: Problems) -> None:
    def refuse(what: str, instead: str) -> None:
        problems.add("CC518", "celery_database_schemas", what, instead)

    if not isinstance(schemas, (list, tuple)):
        refuse(f"is {shown(schemas)}", "write a list of names, for example [public]")
        return
    if not schemas:
        refuse(
            "is empty, so that celery_database_user could read and write nothing", "write a name, for example [public]"
        )
    first: set[str] = set()
    for schema in schemas:
        if not isinstance(schema, str) or not SCHEMA.fullmatch(schema):
            refuse(f"has {shown(schema)}", "write up to 63 letters, digits and _ . -, a letter, digit or _ first")
        elif schema.lower().startswith("pg_") or schema.lower() == "information_schema":
            refuse(f"has {schema!r}, which is PostgreSQL's own", "remove it")
        elif schema in first:
            refuse(f"has {schema!r} more than once", "write it once")
        else:
            first.add(schema)


def _check_authority(inventory: Inventory, problems: Problems) -> None:
    name = "celery_database_ca_file"
    value = inventory.settings.get(name)
    if value is None or value == "":
        return
    if mode(inventory.settings) == MANAGED:
        problems.add(
            "CC639",
            name,
            f"is {shown(value)}, and postgresql_mode is managed: the cluster's authority signed that certificate",
            "remove it, or write access into postgresql_mode if the server is somebody else's",
        )
        return
    if not isinstance(value, str) or not value.startswith("/"):
        problems.add("CC702", name, f"is {shown(value)}, which is relative", "write an absolute path on the controller")
        return
    if inventory.read is None:
        return
    text = inventory.read(value)
    if text is None:
        what = f"is {value}, which is not there on the controller or cannot be read"
    elif "PRIVATE KEY-----" in text:
        what = f"is {value}, which holds a private key, and every host would get it"
    elif "-----BEGIN CERTIFICATE-----" not in text:
        what = f"is {value}, which holds no certificate"
    else:
        return
    problems.add("CC640", name, what, "write the path of the authorities' certificates in PEM format")

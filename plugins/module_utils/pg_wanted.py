# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a cluster wants of a PostgreSQL server, and what is wrong with it whatever the server says."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OWNER = "taskfleet.celery_cluster"
# The server cuts longer names off, in the midst of the catalogue and without an error.
_LONGEST = 63
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9][A-Za-z0-9_-]{0,62})*\Z")
# Words that mean something else than a name in pg_hba.conf.
_WORDS = {"all", "sameuser", "samerole", "samegroup", "replication"}


@dataclass(frozen=True)
class Client:
    name: str
    address: str  # a network or the name of a host
    owner: bool  # whether it logs in as the owner
    direct: bool = False  # whether it logs in as the user to the server itself, although there is a pooler

    @property
    def is_host_name(self) -> bool:
        return network(self.address) is None


@dataclass(frozen=True)
class Wanted:
    cluster: str
    database: str
    schemas: tuple[str, ...]
    owner: str
    user: str
    passwords: Mapping[str, str | None]  # of each role; None: it has none and logs in by certificate
    certificate: bool  # whether the clients of the user log in by certificate
    clients: tuple[Client, ...]
    reject_others: bool
    end_sessions: bool
    pooler: bool
    userlist: str
    connections: int
    authority: str | None
    loaded_files: tuple[str, ...]

    @property
    def mark(self) -> str:
        """The comment on what is ours."""
        return f"{OWNER} {self.cluster}"

    @property
    def roles(self) -> tuple[str, ...]:
        return (self.owner,) if self.owner == self.user else (self.owner, self.user)


def network(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network that an address stands for; nothing when it is a name, or has host bits."""
    try:
        return ipaddress.ip_network(address)
    except ValueError:
        return None


def wanted_from(options: Mapping[str, Any]) -> Wanted:
    owner, user = options["owner"]["name"], options["user"]["name"]
    certificate = options["user"]["login"] == "certificate"
    # The pooler logs in for its clients, however they log in to it.
    by_password = not certificate or options["pooler"]
    passwords = {owner: options["owner"]["password"], user: options["user"]["password"] if by_password else None}
    if owner == user:
        passwords = {user: options["user"]["password"] or options["owner"]["password"]}
    return Wanted(
        cluster=options["cluster"],
        database=options["database"],
        schemas=tuple(dict.fromkeys(options["schemas"])),
        owner=owner,
        user=user,
        passwords=passwords,
        certificate=certificate,
        clients=tuple(
            Client(entry["name"], _address(entry["address"]), entry["role"] == "owner", entry["role"] == "direct")
            for entry in options["clients"]
        ),
        reject_others=options["reject_others"],
        end_sessions=options["end_sessions"],
        pooler=options["pooler"],
        userlist=options["pooler_userlist"],
        connections=options["connections"],
        authority=options["certificate_authority"],
        loaded_files=tuple(options["loaded_files"]),
    )


def _address(given: str) -> str:
    found = network(given)
    return given if found is None else str(found)


def option_problems(options: Mapping[str, Any]) -> list[str]:
    found = [*_name_problems("database", options["database"], "celery_database_name")]
    if options["database"] in ("template0", "template1", "postgres"):
        found.append(
            f"database: {options['database']!r} is the server's own; choose another celery_database_name, which is made"
        )
    for role in ("owner", "user"):
        found += _name_problems(f"{role}.name", options[role]["name"], f"celery_database_{role}")
        if options[role]["name"].startswith("pg_") or options[role]["name"] in ("public", "none"):
            found.append(
                f"{role}.name: PostgreSQL keeps the name {options[role]['name']!r} for itself; choose another"
                f" celery_database_{role}"
            )
    for schema in options["schemas"]:
        found += _name_problems("schemas", schema, "celery_database_schemas")
    if re.search(r"[\x00-\x1f\x7f]", options["cluster"]) or not options["cluster"].strip():
        found.append("cluster: write a name of one line")
    return [*found, *_password_problems(options), *_client_problems(options["clients"])]


def _name_problems(option: str, name: str, variable: str) -> Iterable[str]:
    size = len(name.encode("utf-8", "surrogateescape"))
    if not name or re.search(r"[\x00-\x1f\x7f]", name):
        yield f"{option}: {name!r} is no name; write one without control characters into {variable}"
    elif size > _LONGEST:
        yield f"{option}: {name!r} has {size} bytes, PostgreSQL's names have {_LONGEST} at most; shorten {variable}"
    elif option != "schemas" and name in _WORDS:
        yield f"{option}: {name!r} means something else in pg_hba.conf; choose another {variable}"


def _password_problems(options: Mapping[str, Any]) -> Iterable[str]:
    owner, user = options["owner"], options["user"]
    certificate = user["login"] == "certificate"
    if owner["name"] == user["name"]:
        if certificate:
            yield (
                f"the role {user['name']!r} is owner and user, and the owner logs in by password: leave"
                " celery_database_login out, or give the database an owner of its own (celery_database_owner)"
            )
        if not user["password"] and not owner["password"]:
            yield f"user.password: the role {user['name']!r} needs a password (celery_database_password)"
        if user["password"] and owner["password"] and user["password"] != owner["password"]:
            yield (
                f"the role {user['name']!r} is owner and user, with two passwords: write the same into"
                " celery_database_owner_password and celery_database_password"
            )
        return
    if not owner["password"]:
        yield f"owner.password: the role {owner['name']!r} needs a password (celery_database_owner_password)"
    if not user["password"] and (options["pooler"] or not certificate):
        reason = "the pooler logs in by password" if certificate else "celery_database_login is password"
        yield f"user.password: the role {user['name']!r} needs a password (celery_database_password): {reason}"


def _client_problems(clients: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    for client in clients:
        address = client["address"]
        if network(address) is not None:
            continue
        where = f"clients: {client['name']}: {address!r}"
        try:
            meant = ipaddress.ip_network(address, strict=False)
        except ValueError:
            if address.startswith("."):
                yield f"{where} lets in whatever host claims a name that ends so; write the name of each host"
            elif not _HOST_NAME.match(address) or re.fullmatch(r"[0-9./]+", address):
                yield f"{where} is no address; write a network such as 192.0.2.5/32, or the name of a host"
            elif address in {*_WORDS, "samehost", "samenet"}:
                yield f"{where} means something else in pg_hba.conf; write the addresses of the host"
        else:
            yield f"{where} has host bits; write {meant}, or {address.partition('/')[0]} for this one host"

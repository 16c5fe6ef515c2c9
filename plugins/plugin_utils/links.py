# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which links must work and which must be refused: the input of the canary and of the link_probe module."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .broker_users import CERTIFICATE, PASSWORD
from .databases import ACCESS, NO_POOLER
from .flower import NGINX, OAUTH, may_read_metrics
from .ports import FLOWER

#: A loopback address that no inventory names: a login from it stands for a login from a stranger.
STRANGER = "127.99.99.99"
LOOPBACK = "127.0.0.1"
#: Every server has it, and no cluster keeps anything there.
OTHER_DATABASE = "postgres"


def canaries(
    model: Mapping[str, Any], release: str, hosts: Collection[str] | None = None, others: bool = False
) -> list[dict[str, Any]]:
    """One expectation per queue and consumer: who must answer a canary, under which node name, on which release.

    hosts: only of these; None means all. others: name the consumers of the other hosts as well, as such that need not
    answer.
    """
    found = []
    for queue, consumers in model["queues"].items():
        for consumer in consumers:
            worker, host = consumer["worker"], consumer["host"]
            asked = hosts is None or host in hosts
            if asked or others:
                one = {"queue": queue, "worker": worker, "host": host, "release": release}
                found.append({**one, "node": f"{worker}-{release}@{host}", **({} if asked else {"asked": False})})
    return found


def deserted_queues(model: Mapping[str, Any], hosts: Collection[str]) -> dict[str, list[str]]:
    """Queue -> the kinds of workers that serve it, for every queue that nobody serves once these hosts are away."""
    return {
        queue: sorted({consumer["worker"] for consumer in consumers})
        for queue, consumers in model["queues"].items()
        if consumers and all(consumer["host"] in hosts for consumer in consumers)
    }


def probes(model: Mapping[str, Any], host: str, links: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The probes to run from ``host``.

    links: ``broker_port``, ``management_port``, ``vhost``, ``database``, ``database_user``, ``database_owner``,
    ``ca_file``, ``database_ca_file`` (for the server of somebody else), ``client_directory`` (with the host's client
    certificates, one per identity), ``certificate_days`` (the days for which a certificate must still be valid), and
    ``foreign_roles`` (roles that were there before: whom else the server lets in as one of them is not ours to say).
    """
    found: list[dict[str, Any]] = []
    if host not in model["prepared_hosts"]:
        # It has no file of ours to trust, and nothing of the cluster connects from it.
        return found
    if host in model["release_hosts"]:
        common = {"from": host, "ca_file": links["ca_file"]}
        for broker in model["brokers"]:
            target = {**common, "to": broker, "host": model["hosts"][broker]["address"]}
            found += _broker_probes(model, host, target, links)
    return [*found, *_database_probes(model, host, links), *_flower_probes(model, host, links)]


def _flower_probes(model: Mapping[str, Any], host: str, links: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a host tries at each page of Flower that it reaches."""
    site = model["flower_site"]
    found: list[dict[str, Any]] = []
    if host not in model["release_hosts"]:
        return found
    for monitor in model["flower"]:
        known = model["hosts"][monitor]
        is_open = any(port["purpose"] == FLOWER for port in known["ports"])
        if not is_open and host != monitor:
            continue
        target = {
            "from": host,
            "to": monitor,
            "host": _own_page(site["listen"]) if host == monitor else known["address"],
            "port": site["port"],
            "ca_file": links["ca_file"],
        }
        prefix = f"/{site['prefix']}" if site["prefix"] else ""
        # Who is not logged in is asked for a password, or sent to whom Flower asks.
        statuses = [302] if site["auth"] == OAUTH else [401]
        page = {**target, "check": "https_refused", "path": f"{prefix}/workers", "statuses": statuses}
        found.append({**page, "name": "Flower without a login"})
        if host != monitor and site["proxy"] == NGINX and not may_read_metrics(site, model["hosts"][host]["addresses"]):
            found.append(
                {**page, "name": "metrics of Flower, not allowed", "path": f"{prefix}/metrics", "statuses": [403]}
            )
    return found


def _own_page(listen: str) -> str:
    """Where the host of Flower finds the page itself: its certificate is valid for the loopback address as well."""
    try:
        address = ipaddress.ip_address(listen)
    except ValueError:
        return LOOPBACK
    return LOOPBACK if address.is_unspecified else listen


def _database_probes(model: Mapping[str, Any], host: str, links: Mapping[str, Any]) -> list[dict[str, Any]]:
    database = model["database"]
    if database is None:
        return []
    target = {
        "from": host,
        "ca_file": links.get("database_ca_file") or links["ca_file"],
        "to": database,
        "host": model["hosts"][database]["address"],
        "port": model["database_port"],
    }
    found = []
    if host in model["release_hosts"]:
        found.append(
            {
                **target,
                "check": "postgres_certificate",
                "name": "certificate of the database",
                "server_name": target["host"],
                "min_days": links["certificate_days"],
            }
        )
    login = {**target, "username": links["database_user"], "database": links["database"]}
    foreign = links.get("foreign_roles") or ()
    if _may_log_in(model["database_clients"], model, host):
        found.append({**login, "check": "postgres_plaintext_refused", "name": "database login without TLS"})
    elif links["database_user"] not in foreign:
        found.append({**login, "check": "postgres_refused", "name": "database login, no right to it"})
    if host in model["database_users"]:
        found += _other_doors(model, host, login, links)
    return [*found, *_strangers(model, host, login, foreign)]


def _other_doors(
    model: Mapping[str, Any], host: str, login: Mapping[str, Any], links: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What a host that may use the database tries besides: all of it leads past what it may."""
    user, owner, foreign = links["database_user"], links["database_owner"], links.get("foreign_roles") or ()
    direct = {**login, "check": "postgres_refused", "port": model["database_server_port"]}
    is_owner = _may_log_in(model["database_owners"], model, host)
    found = []
    if not is_owner and owner != user and owner not in foreign:
        found.append({**direct, "name": "owner's login, not the submitter", "username": owner})
    if user in foreign:
        return found
    if model["database_pooler"] == NO_POOLER:
        found.append({**direct, "name": "database login, other database", "database": OTHER_DATABASE})
    elif not (is_owner and owner == user) and not _may_log_in(model.get("lock_clients") or (), model, host):
        found.append({**direct, "name": "database login, past the pooler"})
    return found


def _strangers(
    model: Mapping[str, Any], host: str, login: Mapping[str, Any], foreign: Collection[str]
) -> list[dict[str, Any]]:
    """A login from an address of the database host that no inventory names."""
    if host != model["database"] or login["username"] in foreign:
        return []
    target = LOOPBACK
    if model["database_mode"] == ACCESS:
        # Its certificate need not be valid for a loopback address, on which it need not listen either.
        target = login["host"]
        if not _is_ipv4(target):
            return []
    name = "database login, not in the inventory"
    probe = {**login, "check": "postgres_refused", "name": name, "from": STRANGER, "host": target}
    return [{**probe, "source_address": STRANGER}]


def _broker_probes(
    model: Mapping[str, Any], host: str, target: Mapping[str, Any], links: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What a host with a broker user tries at one broker."""
    identity, user = next(iter(model["hosts"][host]["broker_users"].items()))
    tls = {**target, "port": links["broker_port"]}
    # Where the broker asks every client for a certificate, one without it learns nothing about anything else.
    mutual = {**tls, **_client(model, identity, links)}
    certificate = {
        "check": "tls_certificate",
        "server_name": model["broker_name"],
        "min_days": links["certificate_days"],
    }
    login = {**mutual, "username": user, "vhost": links["vhost"]}
    found = [
        {**target, "check": "port_closed", "name": "plain AMQP port", "port": 5672},
        {**tls, "check": "amqp_plaintext", "name": "plaintext on the TLS port"},
        {**mutual, "check": "tls_unknown_ca", "name": "client without the CA"},
        {**mutual, **certificate, "name": "certificate of the broker"},
        {**target, "port": links["management_port"], **certificate, "name": "certificate of the management API"},
    ]
    if model["broker_login"] != PASSWORD:
        found.append({**tls, "check": "amqp_no_client_certificate", "name": "client without a certificate"})
    if model["broker_login"] == CERTIFICATE:
        found.append({**login, "check": "amqp_password_refused", "name": "login by password"})
    else:
        found.append({**login, "check": "amqp_wrong_password", "name": "wrong broker password"})
    return found


def _client(model: Mapping[str, Any], identity: str, links: Mapping[str, Any]) -> dict[str, str]:
    if model["broker_login"] == PASSWORD:
        return {}
    path = f"{links['client_directory']}/{identity}"
    return {"client_certificate": f"{path}.pem", "client_key": f"{path}.key"}


def _may_log_in(clients: Iterable[Mapping[str, str]], model: Mapping[str, Any], host: str) -> bool:
    addresses = [ipaddress.ip_address(address) for address in model["hosts"][host]["addresses"]]
    for client in clients:
        try:
            network = ipaddress.ip_network(client["cidr"])
        except ValueError:
            # A name: the server looks it up, and it stands for a host outside the inventory.
            continue
        if any(address in network for address in addresses):
            return True
    return False


def _is_ipv4(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).version == 4
    except ValueError:
        return False

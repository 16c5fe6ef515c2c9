# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which links must work and which must be refused: the input of the canary and of the link_probe module."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

#: A loopback address that no inventory names: a login from it stands for a login from a stranger.
STRANGER = "127.99.99.99"


def canaries(model: Mapping[str, Any], release: str) -> list[dict[str, str]]:
    """One expectation per queue and consumer: who must answer a canary, under which node name, on which release."""
    return [
        {
            "queue": queue,
            "worker": consumer["worker"],
            "host": consumer["host"],
            "release": release,
            "node": f"{consumer['worker']}-{release}@{consumer['host']}",
        }
        for queue, consumers in model["queues"].items()
        for consumer in consumers
    ]


def probes(model: Mapping[str, Any], host: str, links: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The probes to run from ``host``.

    links: ``broker_port``, ``vhost``, ``user`` (an existing broker user), ``database``, ``database_user``,
    ``database_port``, ``ca_file``.
    """
    found: list[dict[str, Any]] = []
    common = {"from": host, "ca_file": links["ca_file"]}
    if host in model["release_hosts"]:
        for broker in model["brokers"]:
            target = {**common, "to": broker, "host": model["hosts"][broker]["address"]}
            tls = {**target, "port": links["broker_port"]}
            found += [
                {**target, "check": "port_closed", "name": "plain AMQP port", "port": 5672},
                {**tls, "check": "amqp_plaintext", "name": "plaintext on the TLS port"},
                {**tls, "check": "tls_unknown_ca", "name": "client without the CA"},
                {
                    **tls,
                    "check": "amqp_wrong_password",
                    "name": "wrong broker password",
                    "username": links["user"],
                    "vhost": links["vhost"],
                },
            ]
    database = model["database"]
    if database is None:
        return found
    login = {
        **common,
        "to": database,
        "host": model["hosts"][database]["address"],
        "port": links["database_port"],
        "username": links["database_user"],
        "database": links["database"],
    }
    if _may_log_in(model, host):
        found.append({**login, "check": "postgres_plaintext_refused", "name": "database login without TLS"})
    else:
        found.append({**login, "check": "postgres_refused", "name": "database login, no right to it"})
    if host == database:
        found.append(
            {
                **login,
                "check": "postgres_refused",
                "name": "database login, not in the inventory",
                "from": STRANGER,
                "host": "127.0.0.1",
                "source_address": STRANGER,
            }
        )
    return found


def _may_log_in(model: Mapping[str, Any], host: str) -> bool:
    addresses = [ipaddress.ip_address(address) for address in model["hosts"][host]["addresses"]]
    for client in model["database_clients"]:
        try:
            network = ipaddress.ip_network(client["cidr"])
        except ValueError:
            # A name: the server looks it up, and it stands for a host outside the inventory.
            continue
        if any(address in network for address in addresses):
            return True
    return False

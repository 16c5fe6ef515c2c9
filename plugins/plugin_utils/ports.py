# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of each host that others may find open: what a firewall lets in, and what a scan may show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .addresses import OWN_NAMES, is_loopback
from .brokers import is_cluster
from .model import Cluster, Port
from .problems import Problems

AMQP, MANAGEMENT, DISTRIBUTION, METRICS = "AMQP", "management API", "distribution", "metrics of the broker"
DATABASE, SSH, FLOWER = "PostgreSQL", "SSH", "Flower"

#: Purpose -> its variable, what the variable is without a word, and the variable that says who may connect.
VARIABLES = {
    AMQP: ("celery_broker_port", 5671, "rabbitmq_listen_address"),
    MANAGEMENT: ("celery_broker_management_port", 15671, "rabbitmq_management_listen_address"),
    DISTRIBUTION: ("rabbitmq_distribution_port", 25672, ""),
    METRICS: ("rabbitmq_prometheus_port", 0, ""),
    DATABASE: ("celery_database_port", 5432, "postgresql_listen_addresses"),
    SSH: ("code_source_ssh_port", 22, ""),
    FLOWER: ("flower_port", 5555, "flower_listen_address"),
}
#: What is not said for the address means every address, except for Flower.
LISTENS = {"flower_listen_address": "127.0.0.1"}


def open_ports(host: str, cluster: Cluster, settings: Mapping[str, Any]) -> tuple[Port, ...]:
    """In the order of the table above. A service that listens on a loopback address only is not among them."""
    purposes = []
    if host in cluster.brokers:
        purposes += [AMQP, MANAGEMENT, *([DISTRIBUTION] if is_cluster(cluster.brokers) else []), METRICS]
    purposes += [DATABASE] if host == cluster.database else []
    purposes += [SSH] if host == cluster.source else []
    purposes += [FLOWER] if host in cluster.flower else []
    found = []
    for purpose in purposes:
        variable, default, listen = VARIABLES[purpose]
        port = settings.get(variable, default)
        if isinstance(port, bool) or not isinstance(port, int):
            # Told where the variable is read.
            port = default
        if port > 0 and not _is_local(settings.get(listen, LISTENS.get(listen, "")) if listen else ""):
            found.append(Port(port, purpose, purpose != SSH))
    return tuple(found)


def _is_local(listen: Any) -> bool:
    addresses = [word.strip() for word in str(listen or "").split(",") if word.strip()]
    return bool(addresses) and all(is_loopback(address) or address.lower() in OWN_NAMES for address in addresses)


def check_ports(cluster: Cluster, problems: Problems) -> None:
    """Two services of one host on one port: the second would not start."""
    for name, host in cluster.hosts.items():
        first: dict[int, str] = {}
        for port in host.ports:
            other = first.setdefault(port.port, port.purpose)
            if other != port.purpose:
                problems.add(
                    "CC119",
                    VARIABLES[port.purpose][0],
                    f"is {port.port}, which is the port of {other} ({VARIABLES[other][0]}) on the same host",
                    "write another one",
                    name,
                )

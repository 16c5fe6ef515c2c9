# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports of each host that others may find open: what a firewall lets in, and what a scan may show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .addresses import OWN_NAMES, is_loopback
from .brokers import is_cluster
from .databases import ACCESS, NO_POOLER, POOLER_PORT, SERVER_PORT
from .flower import BACKEND_PORT, NGINX
from .model import Cluster, Port
from .problems import Problems

AMQP, MANAGEMENT, DISTRIBUTION, METRICS = "AMQP", "management API", "distribution", "metrics of the broker"
DATABASE, POOLER, SSH, FLOWER = "PostgreSQL", "pooler of PostgreSQL", "SSH", "Flower"
BACKEND = "Flower behind nginx"

#: Purpose -> its variable, what the variable is without a word, and the variable that says who may connect.
VARIABLES = {
    AMQP: ("celery_broker_port", 5671, "rabbitmq_listen_address"),
    MANAGEMENT: ("celery_broker_management_port", 15671, "rabbitmq_management_listen_address"),
    DISTRIBUTION: ("rabbitmq_distribution_port", 25672, ""),
    METRICS: ("rabbitmq_prometheus_port", 0, ""),
    DATABASE: ("celery_database_port", SERVER_PORT, "postgresql_listen_addresses"),
    POOLER: ("postgresql_pooler_port", POOLER_PORT, "postgresql_listen_addresses"),
    SSH: ("code_source_ssh_port", 22, ""),
    FLOWER: ("flower_port", 5555, "flower_listen_address"),
    # Always on the loopback address: nobody sets this one.
    BACKEND: ("flower_backend_port", BACKEND_PORT, "flower_backend_address"),
}
#: What is not said for the address means every address, except for Flower.
LISTENS = {"flower_listen_address": "127.0.0.1", "flower_backend_address": "127.0.0.1"}


def open_ports(host: str, cluster: Cluster, settings: Mapping[str, Any]) -> tuple[Port, ...]:
    """In the order of the table above. A service that listens on a loopback address only is not among them."""
    return tuple(port for port, is_local in _services(host, cluster, settings) if not is_local)


def _services(host: str, cluster: Cluster, settings: Mapping[str, Any]) -> Iterator[tuple[Port, bool]]:
    """Each port that something listens on, and whether only on a loopback address."""
    purposes = []
    if host in cluster.brokers:
        purposes += [AMQP, MANAGEMENT, *([DISTRIBUTION] if is_cluster(cluster.brokers) else []), METRICS]
    if host == cluster.database:
        purposes += [DATABASE, *([] if cluster.database_pooler == NO_POOLER else [POOLER])]
    purposes += [SSH] if host == cluster.source else []
    if host in cluster.flower:
        purposes += [FLOWER, *([BACKEND] if settings.get("flower_proxy", NGINX) == NGINX else [])]
    for purpose in purposes:
        variable, default, listen = VARIABLES[purpose]
        port = settings.get(variable, default)
        if isinstance(port, bool) or not isinstance(port, int):
            # Told where the variable is read.
            port = default
        # What the variable says of an existing server is not what it does.
        is_open = not listen or (purpose == DATABASE and cluster.database_mode == ACCESS)
        if port > 0:
            local = not is_open and _is_local(settings.get(listen, LISTENS.get(listen, "")))
            yield Port(port, purpose, purpose != SSH), local


def _is_local(listen: Any) -> bool:
    addresses = [word.strip() for word in str(listen or "").split(",") if word.strip()]
    return bool(addresses) and all(is_loopback(address) or address.lower() in OWN_NAMES for address in addresses)


def check_ports(cluster: Cluster, settings: Mapping[str, Any], problems: Problems) -> None:
    """Two services of one host on one port: the second would not start."""
    for name in cluster.hosts:
        first: dict[tuple[int, bool], str] = {}
        for port, is_local in _services(name, cluster, settings):
            other = first.setdefault((port.port, is_local), port.purpose)
            if other != port.purpose:
                problems.add(
                    "CC119",
                    VARIABLES[port.purpose][0],
                    f"is {port.port}, which is the port of {other} ({VARIABLES[other][0]}) on the same host",
                    "write another one",
                    name,
                )

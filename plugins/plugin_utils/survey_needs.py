# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each host is asked before anything is changed: the arguments of the host_survey module."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .ports import DISTRIBUTION

#: The package that makes a broker.
BROKER_PACKAGE = "rabbitmq-server"
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*")
#: Where a result backend listens when its URL does not say.
DEFAULT_PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379, "rediss": 6379}


class Link(NamedTuple):
    """A connection that a host will make. ``to``: the inventory name of the server, empty outside of the inventory."""

    name: str
    to: str
    address: str
    port: int


def is_name(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return True
    return False


def endpoint(url: object) -> tuple[str, int] | None:
    """Host and port in the URL of an existing result backend, where they are beyond doubt.

    Passwords are often written without the quoting a URL needs, and a piece of one must not be taken for a host.
    """
    text = str(url or "")
    if text.count("@") > 1 or text.count("://") != 1:
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or not re.fullmatch(r"[a-z0-9.:_-]+", host) or ("@" in text and "@" not in parts.netloc):
        return None
    scheme = parts.scheme.removeprefix("db+").partition("+")[0]
    port = port or DEFAULT_PORTS.get(scheme)
    return (host, port) if port else None


def distribution_port(cluster: Mapping[str, Any], broker: str) -> int | None:
    """Where other brokers reach this one; None when there are no others."""
    ports = cluster["hosts"][broker]["ports"]
    return next((port["port"] for port in ports if port["purpose"] == DISTRIBUTION), None)


def _broker_links(cluster: Mapping[str, Any], host: str) -> list[Link]:
    """Every broker of a cluster connects to every other one."""
    found = []
    for broker in cluster["brokers"] if host in cluster["brokers"] else ():
        port = distribution_port(cluster, broker)
        if broker != host and port is not None:
            found.append(Link("broker to broker", broker, cluster["hosts"][broker]["address"], port))
    return found


def _database_links(cluster: Mapping[str, Any], host: str, database: str) -> list[Link]:
    address, port, server = (
        cluster["hosts"][database]["address"],
        cluster["database_port"],
        cluster["database_server_port"],
    )
    found = [Link("database", database, address, port)]
    # The owner's commands, and the lock of beat.
    direct = {cluster["submitter"], *(client["name"] for client in cluster.get("lock_clients") or ())}
    if host in direct and server != port:
        found.append(Link("database, past the pooler", database, address, server))
    return found


def links(cluster: Mapping[str, Any], host: str, settings: Mapping[str, Any]) -> list[Link]:
    """The connections that the processes and the deployment of a host will make."""
    hosts, found = cluster["hosts"], _broker_links(cluster, host)
    if host not in cluster["release_hosts"]:
        return found
    for broker in cluster["brokers"]:
        address = hosts[broker]["address"]
        found.append(Link("broker", broker, address, settings["celery_broker_port"]))
        if host in cluster["flower"]:
            found.append(Link("management API", broker, address, settings["celery_broker_management_port"]))
    database, source = cluster["database"], cluster["source"]
    if database:
        found += _database_links(cluster, host, database)
    if source and source != host:
        found.append(Link("code over SSH", source, hosts[source]["address"], settings["code_source_ssh_port"]))
    backend = endpoint(settings.get("celery_result_backend_url"))
    if backend:
        found.append(Link("result backend", "", *backend))
    return found


def needs(cluster: Mapping[str, Any], host: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of host_survey for one host.

    cluster: the fact celery_cluster. settings: variables by their names, as this host has them. On a host of which only
    the database is used nothing is made or installed, so it is asked for its clock and its listeners alone.
    """
    prepared = host in cluster["prepared_hosts"]
    wanted = links(cluster, host, settings)
    names = [link.address for link in wanted]
    if cluster["database"] and prepared:
        # The proof of the cluster tries a login from every host.
        names.append(cluster["hosts"][cluster["database"]]["address"])
    served = [
        (cluster["brokers"], "celery_broker_port"),
        (cluster["brokers"], "celery_broker_management_port"),
        ([cluster["source"]], "code_source_ssh_port"),
    ]
    database = {cluster["database_server_port"], cluster["database_port"]} if host == cluster["database"] else ()
    distribution = distribution_port(cluster, host) if host in cluster["brokers"] else None
    return {
        "names": [name for name in dict.fromkeys(names) if is_name(name)],
        "ports": [{"name": link.name, "to": link.to, "host": link.address, "port": link.port} for link in wanted],
        "listening": [
            *(settings[port] for servers, port in served if host in servers),
            *sorted(database),
            *([] if distribution is None else [distribution]),
        ],
        "paths": [settings["celery_root"], settings["celery_state_directory"]] if prepared else [],
        "interpreter": settings["code_python"] if host in cluster["release_hosts"] else "",
        "packages": _packages(cluster, host, settings) if prepared else [],
    }


def _packages(cluster: Mapping[str, Any], host: str, settings: Mapping[str, Any]) -> list[str]:
    """The broker's package, and those of the operator by their plain names: apt takes name=version as well."""
    wanted = settings.get("celery_apt_packages")
    names = [re.split("[=/:]", str(item))[0] for item in wanted] if isinstance(wanted, (list, tuple)) else []
    broker = [BROKER_PACKAGE] if host in cluster["brokers"] else []
    return [name for name in dict.fromkeys([*broker, *names]) if PACKAGE.fullmatch(name)]

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster as one value: who runs what, who talks to whom, derived from groups and variables.

Pure Python: no I/O and no Ansible imports. Roles ask the result one question and render the answer;
this file is the only place that relates hosts to each other.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..module_utils.rabbitmq import permissions
from .workers import normalize_worker

#: The groups of the inventory interface; a host of none of them is not part of the cluster.
GROUPS = ("rabbitmq", "postgresql", "celery_source", "celery_workers", "celery_beat", "flower")

#: Names travel into systemd unit names, node names, broker users and paths: keep what all of them carry.
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
#: A name that certificates can carry.
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


class TopologyError(ValueError):
    """Every problem of an inventory at once; ``problems`` is the list of messages."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(f"- {problem}" for problem in self.problems))


def is_address(text: object) -> bool:
    """True for one IPv4 or IPv6 address (no network, no name, no address that one link only knows)."""
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return "%" not in str(text)


def is_loopback(text: object) -> bool:
    """True for an address that leads back to the host that uses it."""
    return is_address(text) and ipaddress.ip_address(str(text)).is_loopback


def fact_addresses(facts: Mapping[str, Any]) -> list[str]:
    """The default IPv4 and IPv6 address of a host's gathered facts, in that order."""
    found = []
    for family in ("default_ipv4", "default_ipv6"):
        address = (facts.get(family) or {}).get("address")
        if address and is_address(address):
            found.append(str(address))
    return found


def connect_address(variables: Mapping[str, Any]) -> str | None:
    """Where other hosts reach this one: celery_address, else ansible_host, else the default address fact.

    A loopback ansible_host (a forwarded port) leads other hosts nowhere and is passed over.
    """
    explicit = variables.get("celery_address")
    if explicit:
        return str(explicit)
    managed = variables.get("ansible_host")
    if managed and is_address(managed) and not is_loopback(managed):
        return str(managed)
    facts = fact_addresses(variables.get("ansible_facts") or {})
    return facts[0] if facts else None


def source_addresses(variables: Mapping[str, Any]) -> list[str]:
    """The addresses this host's own connections come from: what a firewall or pg_hba sees.

    celery_address may be loopback: a cluster of one host talks to itself over it.
    """
    found = []
    for name in ("celery_address", "ansible_host"):
        value = variables.get(name)
        if value and is_address(value) and not (name == "ansible_host" and is_loopback(value)):
            found.append(str(value))
    found.extend(fact_addresses(variables.get("ansible_facts") or {}))
    return list(dict.fromkeys(str(ipaddress.ip_address(address)) for address in found))


def cidr(client: str) -> str:
    """An address as a network of exactly one host; a network that is one already stays as it is."""
    network = str(ipaddress.ip_network(client))
    if "%" in network:
        raise ValueError(f"{client!r} is known to one link only")
    return network


def certificate_names(name: str, variables: Mapping[str, Any]) -> dict[str, list[str]]:
    """Subject alternative names of a host's certificate: every name and address a client may use."""
    facts = variables.get("ansible_facts") or {}
    names = [name, facts.get("hostname"), facts.get("fqdn"), "localhost"]
    addresses = ["127.0.0.1", "::1", *source_addresses(variables)]
    for key in ("celery_address", "ansible_host"):
        value = variables.get(key)
        if value and not is_address(value):
            names.append(str(value))
    dns = [str(item) for item in names if item and HOST_NAME.fullmatch(str(item))]
    return {
        "dns": list(dict.fromkeys(dns)),
        "ip": list(dict.fromkeys(str(ipaddress.ip_address(item)) for item in addresses)),
    }


def _first(hosts: Sequence[str]) -> str | None:
    return hosts[0] if hosts else None


def build(
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
    cluster: Mapping[str, Any],
    match: Callable[[str], Sequence[str]],
) -> dict[str, Any]:
    """The model of the cluster.

    groups: group name -> host names. hostvars: host name -> celery_address, ansible_host, ansible_facts.
    cluster: ``name``, ``app``, ``workers``, ``allowed_clients``, ``result_backend_url``.
    match: an inventory pattern -> the host names it matches.
    Raises TopologyError with all problems.
    """
    problems: list[str] = []
    members = {group: list(groups.get(group, [])) for group in GROUPS}
    name = str(cluster["name"])
    if not NAME.fullmatch(name):
        problems.append(f"celery_name is {name!r}: write a lower-case letter followed by up to 30 of a-z, 0-9 and _")
    if not cluster.get("app"):
        problems.append("celery_app is not set: write what `celery -A` takes, for example shop.celery:app")
    if len(members["rabbitmq"]) != 1:
        problems.append(
            f"the group rabbitmq has {len(members['rabbitmq'])} hosts: this version deploys exactly one broker"
        )
    for group in ("postgresql", "celery_source"):
        if len(members[group]) > 1:
            problems.append(f"the group {group} has {len(members[group])} hosts, at most one is possible: remove one")
    if not members["postgresql"] and not cluster.get("result_backend_url"):
        problems.append(
            "the group postgresql is empty and celery_result_backend_url is not set: add the database host to "
            "the group, or write the URL of an existing result backend"
        )

    workers = _workers(cluster.get("workers") or {}, match, problems)
    placed = {host for worker in workers.values() for host in worker["hosts"]}
    everyone = list(dict.fromkeys(host for group in GROUPS for host in members[group]))
    for host in sorted(placed - set(everyone)):
        problems.append(
            f"{host} is matched by celery_workers but is in none of the cluster's groups: add it to the group "
            "celery_workers"
        )

    hosts: dict[str, Any] = {}
    for host in everyone:
        variables = hostvars.get(host) or {}
        address = connect_address(variables)
        if address is None:
            problems.append(
                f"the address of {host} is unknown: set celery_address for it, or let the playbook gather its facts"
            )
            continue
        wrong = _address_problem(host, address, len(everyone))
        if wrong:
            problems.append(wrong)
            continue
        hosts[host] = {
            "address": address,
            "addresses": source_addresses(variables),
            "names": certificate_names(host, variables),
        }
    clients = _database_clients(members, sorted(placed), hosts, cluster.get("allowed_clients") or [], problems)
    if problems:
        raise TopologyError(problems)

    queues: dict[str, list[dict[str, str]]] = {}
    for kind, worker in workers.items():
        for queue in worker["queues"]:
            queues.setdefault(queue, []).extend({"worker": kind, "host": host} for host in worker["hosts"])
    source = _first(members["celery_source"])
    beat = _first(members["celery_beat"])
    releases = [host for host in everyone if host in placed or host in (source, beat) or host in members["flower"]]
    return {
        "name": name,
        "hosts": hosts,
        "brokers": members["rabbitmq"],
        "database": _first(members["postgresql"]),
        "source": source,
        "beat": beat,
        "flower": members["flower"],
        "workers": workers,
        "worker_hosts": [host for host in everyone if host in placed],
        "queues": queues,
        "release_hosts": releases,
        "producers": [host for host in everyone if host in (source, beat)],
        # Who submits the proof: where the application publishes, else beat, else a worker.
        "submitter": source or beat or releases[0],
        "database_clients": clients,
    }


def _address_problem(host: str, address: str, cluster_size: int) -> str | None:
    if not is_address(address) and (not HOST_NAME.fullmatch(address) or address.rsplit(".", 1)[-1].isdigit()):
        return f"celery_address of {host} is {address!r}: write one address or host name, without port or network"
    if is_loopback(address) and cluster_size > 1:
        return (
            f"celery_address of {host} is {address}, which leads every other host to itself: write the address the "
            "other hosts reach it by"
        )
    return None


def _workers(wanted: Any, match: Callable[[str], Sequence[str]], problems: list[str]) -> dict[str, dict[str, Any]]:
    workers: dict[str, dict[str, Any]] = {}
    if not isinstance(wanted, Mapping):
        problems.append(
            f"celery_workers is {wanted!r}: write a mapping of names to options, for example "
            "{default: {queues: [celery]}}"
        )
        return workers
    if not wanted:
        problems.append("celery_workers is empty: name at least one kind of worker and its queues")
    for kind, options in wanted.items():
        place = f"celery_workers.{kind}"
        if not NAME.fullmatch(str(kind)):
            problems.append(f"{place}: a kind of worker is a lower-case letter followed by up to 30 of a-z, 0-9, _")
        worker, found = normalize_worker(place, options)
        problems.extend(found)
        if worker is None:
            continue
        hosts = list(match(worker["pattern"]))
        if not hosts:
            problems.append(f"{place}.hosts: the pattern {worker['pattern']!r} matches no host of the inventory")
        # The model is a fact, and facts may be cached: the environment, which may hold secrets, stays out of it.
        del worker["environment"]
        workers[str(kind)] = {**worker, "hosts": hosts}
    try:
        permissions("worker", {queue for worker in workers.values() for queue in worker["queues"]})
    except ValueError as error:
        problems.append(f"celery_workers has the queue {error}")
    return workers


def _database_clients(
    members: Mapping[str, Sequence[str]],
    worker_hosts: Sequence[str],
    hosts: Mapping[str, Any],
    allowed: Any,
    problems: list[str],
) -> list[dict[str, str]]:
    """One entry per address that may log in: every host that stores or reads results, and no other."""
    clients: list[dict[str, str]] = []
    users = dict.fromkeys([*worker_hosts, *members["celery_source"], *members["celery_beat"], *members["flower"]])
    for host in users:
        if host not in hosts:
            continue
        if members["postgresql"] and not hosts[host]["addresses"]:
            problems.append(
                f"{host} needs the database but no address of it is known: celery_address is a name, so let the "
                "playbook gather its facts"
            )
        clients.extend({"name": host, "cidr": cidr(address)} for address in hosts[host]["addresses"])
    if not isinstance(allowed, (list, tuple)):
        problems.append(f"celery_allowed_clients is {allowed!r}: write a list, for example [192.0.2.10]")
        allowed = []
    for client in allowed:
        try:
            clients.append({"name": "celery_allowed_clients", "cidr": cidr(str(client))})
        except ValueError:
            problems.append(
                f"celery_allowed_clients has {client!r}: write one address or a network without host bits, for "
                "example 192.0.2.10 or 192.0.2.8/29"
            )
    seen: dict[str, dict[str, str]] = {}
    for entry in clients:
        seen.setdefault(entry["cidr"], entry)
    return list(seen.values())

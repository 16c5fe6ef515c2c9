# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster as one value: who runs what, who talks to whom, derived from groups and variables.

Pure Python: no I/O and no Ansible imports. Roles ask the result one question and render the answer; this is the only
place that relates hosts to each other. What one host, one kind of worker or one value needs is checked next door.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .addresses import is_host_name, read_clients, read_hosts
from .broker_users import broker_login, broker_users, check_broker_users, users_of_host
from .brokers import broker_name, node_names, rotated
from .budget import check_budgets, database_budget
from .credentials import check_credentials
from .databases import (
    NO_POOLER,
    check_databases,
    check_pooled_clients,
    client_port,
    lock_clients,
    login,
    mode,
    owners,
    pooler,
    prepared,
    server_port,
)
from .flower import check_flower, flower_site
from .groups import check_groups
from .identities import check_identities
from .log import check_log
from .model import GROUPS, Cluster, Consumer, Host, Inventory, Names, Worker
from .paths import check_paths
from .ports import check_ports, open_ports
from .problems import Problems
from .queue_type import check_queue_type, queue_settings, queue_type
from .queues import check_queues
from .source import check_source
from .unit_options import check_unit_options
from .workers import read_workers

#: RabbitMQ's own default (seconds); a delivered task may take twice the longest time a stopping worker has.
CONSUMER_TIMEOUT = 1800


def build(inventory: Inventory, problems: Problems) -> Cluster | None:
    """The model of the cluster, or None when the problems found so far hold an error.

    Everything is looked at, whatever was found before it: all problems are told at once.
    """
    members = {group: tuple(inventory.groups.get(group, ())) for group in GROUPS}
    everyone = tuple(dict.fromkeys(host for group in GROUPS for host in members[group]))
    check_groups(members, inventory, problems)
    check_identities(inventory, problems)
    check_databases(bool(members["postgresql"]), inventory, problems)
    check_paths(inventory, problems)
    check_credentials(inventory, problems)
    check_log(inventory, problems)
    check_unit_options(inventory, problems)
    check_source(inventory, problems)
    check_flower(inventory, problems)
    workers = read_workers(inventory.settings.get("celery_workers"), inventory, problems)
    check_queue_type(inventory, problems)
    check_queues(workers, inventory, problems)
    hosts = read_hosts(everyone, inventory, problems)
    cluster = _cluster(members, everyone, workers, hosts, inventory, problems)
    if cluster is not None:
        check_budgets(cluster, inventory, problems)
        check_broker_users(cluster.broker_users, inventory, problems)
        check_pooled_clients(cluster, problems)
        check_ports(cluster, inventory.settings, problems)
    return None if problems.errors else cluster


def _cluster(
    members: Mapping[str, Sequence[str]],
    everyone: Sequence[str],
    workers: Mapping[str, Worker],
    hosts: Mapping[str, Host],
    inventory: Inventory,
    problems: Problems,
) -> Cluster | None:
    placed = {host for worker in workers.values() for host in worker.hosts}
    source, beats = _first(members["celery_source"]), tuple(members["celery_beat"])
    flower = tuple(members["flower"])
    worker_hosts = tuple(host for host in everyone if host in placed)
    users = [*worker_hosts, *members["celery_source"], *members["celery_beat"], *flower]
    clients = read_clients(list(dict.fromkeys(users)), hosts, bool(members["postgresql"]), inventory, problems)
    releases = tuple(host for host in everyone if host in placed or host in (source, *beats, *flower))
    if not releases:
        # Nobody runs anything: already told, and there is no cluster to describe.
        return None
    producers = tuple(host for host in everyone if host in (source, *beats))
    brokers, database = tuple(members["rabbitmq"]), _first(members["postgresql"])
    settings, nodes = inventory.settings, node_names(brokers, inventory)
    addresses = tuple(hosts[broker].address for broker in brokers if broker in hosts)
    site = flower_site(settings) if flower else {}
    own_names = {
        name: [
            # A broker answers to its node's name and to the one name of all brokers, Flower to that of its page.
            *([nodes[name].partition("@")[2], broker_name(settings)] if name in nodes else []),
            *([str(site["name"])] if name in flower else []),
        ]
        for name in hosts
    }
    known = {}
    for name, host in hosts.items():
        identities = _identities(name, worker_hosts, producers, flower)
        known[name] = replace(
            host,
            names=_names(host.names, *own_names[name]),
            identities=identities,
            broker_users=users_of_host(name, identities, settings),
            broker_addresses=rotated(addresses, name),
        )
    # Who submits the proof: where the application publishes, else beat, else a worker.
    submitter = source or _first(beats) or releases[0]
    cluster = Cluster(
        name=str(settings.get("celery_name", "")),
        hosts=known,
        brokers=brokers,
        broker_addresses=addresses,
        broker_nodes=nodes,
        broker_name=broker_name(settings),
        broker_login=broker_login(settings),
        broker_users=broker_users(known, settings),
        queue_type=queue_type(inventory),
        queue_settings=queue_settings(inventory),
        consumer_timeout=max([CONSUMER_TIMEOUT, *(2 * worker.stop_timeout for worker in workers.values())]),
        database=database,
        database_address=_address(hosts, database),
        source=source,
        source_address=_address(hosts, source),
        beat=_first(beats),
        beat_hosts=beats,
        flower=flower,
        workers=workers,
        worker_hosts=worker_hosts,
        queues=_queues(workers),
        release_hosts=releases,
        producers=producers,
        submitter=submitter,
        database_mode=mode(settings) if database else None,
        database_port=client_port(settings) if database else None,
        database_server_port=server_port(settings) if database else None,
        database_pooler=pooler(settings) if database else NO_POOLER,
        database_login=login(settings),
        database_clients=clients,
        database_owners=owners(submitter, known) if database else (),
        database_users=releases if database else (),
        database_connections=0,
        prepared_hosts=prepared(everyone, members, releases, settings),
        lock_clients=lock_clients(beats, known, settings) if database else (),
        flower_site=site,
    )
    budget = database_budget(cluster, inventory)
    return replace(
        cluster,
        database_connections=budget.total if budget else 0,
        hosts={name: replace(host, ports=open_ports(name, cluster, settings)) for name, host in known.items()},
    )


def _names(names: Names, *more: str) -> Names:
    """What a host's certificate says beside the host's own names."""
    return replace(names, dns=tuple(dict.fromkeys((*names.dns, *(name for name in more if is_host_name(name))))))


def _address(hosts: Mapping[str, Host], name: str | None) -> str | None:
    host = hosts.get(name) if name else None
    return host.address if host else None


def _first(hosts: Sequence[str]) -> str | None:
    return hosts[0] if hosts else None


def _identities(host: str, workers: Sequence[str], producers: Sequence[str], flower: Sequence[str]) -> tuple[str, ...]:
    places = {"worker": workers, "producer": producers, "flower": flower}
    return tuple(identity for identity, hosts in places.items() if host in hosts)


def _queues(workers: Mapping[str, Worker]) -> dict[str, tuple[Consumer, ...]]:
    queues: dict[str, list[Consumer]] = {}
    for kind, worker in workers.items():
        for queue in worker.queues:
            queues.setdefault(queue, []).extend(Consumer(kind, host) for host in worker.hosts)
    return {queue: tuple(consumers) for queue, consumers in queues.items()}

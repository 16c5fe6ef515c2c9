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

from .addresses import read_clients, read_hosts
from .budget import check_budgets
from .groups import check_groups
from .identities import check_identities
from .model import GROUPS, Cluster, Consumer, Host, Inventory, Worker
from .paths import check_paths
from .problems import Problems
from .queues import check_queues
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
    check_paths(inventory, problems)
    workers = read_workers(inventory.settings.get("celery_workers"), inventory, problems)
    check_queues(workers, inventory, problems)
    hosts = read_hosts(everyone, inventory, problems)
    cluster = _cluster(members, everyone, workers, hosts, inventory, problems)
    if cluster is not None:
        check_budgets(cluster, inventory, problems)
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
    source, beat = _first(members["celery_source"]), _first(members["celery_beat"])
    flower = tuple(members["flower"])
    worker_hosts = tuple(host for host in everyone if host in placed)
    users = [*worker_hosts, *members["celery_source"], *members["celery_beat"], *flower]
    clients = read_clients(list(dict.fromkeys(users)), hosts, bool(members["postgresql"]), inventory, problems)
    releases = tuple(host for host in everyone if host in placed or host in (source, beat) or host in flower)
    if not releases:
        # Nobody runs anything: already told, and there is no cluster to describe.
        return None
    producers = tuple(host for host in everyone if host in (source, beat))
    brokers, database = tuple(members["rabbitmq"]), _first(members["postgresql"])
    return Cluster(
        name=str(inventory.settings.get("celery_name", "")),
        hosts={
            name: replace(host, identities=_identities(name, worker_hosts, producers, flower))
            for name, host in hosts.items()
        },
        brokers=brokers,
        broker_addresses=tuple(hosts[broker].address for broker in brokers if broker in hosts),
        consumer_timeout=max([CONSUMER_TIMEOUT, *(2 * worker.stop_timeout for worker in workers.values())]),
        database=database,
        database_address=_address(hosts, database),
        source=source,
        source_address=_address(hosts, source),
        beat=beat,
        flower=flower,
        workers=workers,
        worker_hosts=worker_hosts,
        queues=_queues(workers),
        release_hosts=releases,
        producers=producers,
        # Who submits the proof: where the application publishes, else beat, else a worker.
        submitter=source or beat or releases[0],
        database_clients=clients,
    )


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

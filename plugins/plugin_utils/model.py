# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster as one immutable value: the types that topology.py fills and everything else reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: The groups of the inventory interface; a host of none of them is not part of the cluster.
GROUPS = ("rabbitmq", "postgresql", "celery_source", "celery_workers", "celery_beat", "flower")


@dataclass(frozen=True)
class Inventory:
    """What the model is computed from. Plain values: whoever reads an inventory fills it in.

    groups: group name -> host names.
    hosts: host name -> ``celery_address``, ``ansible_host``, ``ansible_facts`` (each may be missing).
    settings: variable name -> value, for every variable that is set or has a literal default; a value that cannot be
      known (computed on the host) is missing.
    own: names of the variables that the inventory sets itself, so that defaults are not judged as the user's words.
    match: an inventory pattern -> the host names it matches.
    complete: whether the hosts' facts are gathered; before, an unknown address is no problem yet.
    read: a path on the controller -> its text, None when it cannot be read. Without it, files are not judged.
    """

    groups: Mapping[str, Sequence[str]]
    hosts: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    match: Callable[[str], Sequence[str]]
    own: frozenset[str] = frozenset()
    complete: bool = True
    read: Callable[[str], str | None] | None = None


@dataclass(frozen=True)
class Names:
    """Subject alternative names of a certificate."""

    dns: tuple[str, ...]
    ip: tuple[str, ...]


@dataclass(frozen=True)
class Port:
    """A port that other hosts may find open. tls: whether nothing is served there without TLS."""

    port: int
    purpose: str
    tls: bool


@dataclass(frozen=True)
class Host:
    """address: where others reach it. addresses: where its own connections come from.

    identities: the broker identities whose services or commands run on it: worker, producer, flower.
    broker_users: the broker user of each of them. broker_addresses: all brokers, in the order it shall try them.
    ports: everything that may be open to other hosts; whatever else is reachable does not belong to the cluster.
    """

    name: str
    address: str
    addresses: tuple[str, ...]
    names: Names
    identities: tuple[str, ...] = ()
    broker_users: Mapping[str, str] = field(default_factory=dict)
    broker_addresses: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class BrokerUser:
    """A user of the broker. identity: worker, producer, flower or admin. host: whose it is, None when it is shared.

    login: ``password``, or ``certificate`` for a user that has no password at all.
    """

    name: str
    identity: str
    host: str | None
    login: str


@dataclass(frozen=True)
class Worker:
    """One kind of worker with all its options; times in seconds, max_memory_per_child in KiB. None: left to Celery.

    unit_options: directive of systemd -> value, beyond what the other options say.
    """

    kind: str
    queues: tuple[str, ...]
    hosts: tuple[str, ...]
    pattern: str
    pool: str
    concurrency: int
    autoscale: tuple[int, int] | None
    prefetch_multiplier: int | None
    time_limit: int | None
    soft_time_limit: int | None
    max_tasks_per_child: int | None
    max_memory_per_child: int | None
    memory_max: str | None
    stop_timeout: int
    log_level: str
    arguments: tuple[str, ...]
    memory_high: str | None = None
    cpu_quota: str | None = None
    tasks_max: int | None = None
    unit_options: Mapping[str, str] = field(default_factory=dict)
    strategy: str = "overlap"

    @property
    def children(self) -> int:
        """The most tasks it runs at once."""
        if self.pool == "solo":
            return 1
        return self.autoscale[1] if self.autoscale else self.concurrency


@dataclass(frozen=True)
class Consumer:
    """A kind of worker on a host, seen from a queue."""

    worker: str
    host: str


@dataclass(frozen=True)
class Client:
    """One entry of pg_hba. cidr: a network, or a host name (which PostgreSQL looks up backwards)."""

    name: str
    cidr: str


@dataclass(frozen=True)
class Cluster:
    """The whole cluster. ``as_dict`` is the fact that roles read.

    broker_nodes: broker -> its Erlang node. broker_name: what every broker's certificate says, whichever it is.
    consumer_timeout: seconds that a delivered message may stay unacknowledged before the broker takes it back.
    queue_settings: what makes Celery declare queues of queue_type; empty for classic ones, which are its default.
    database_mode: managed, or access for a server of somebody else; None without a database host.
    database_port: where clients connect, the pooler's port with one. database_server_port: the server's own port.
    database_pooler: none, session or transaction.
    database_login: how its clients log in, by password or certificate. The owner has a password in any case.
    database_clients, database_owners: who may log in as the user, and who as the owner: the submitter.
    database_users: the hosts of a release whose processes connect to the database.
    database_connections: the most that all clients open at once.
    beat: where beat runs, the first of beat_hosts. beat_hosts: all that may run it; with several, one sends at a time.
    lock_clients: who logs in as the user past a pooler: the beat hosts, when a lock decides which of them sends.
    flower_site: where Flower's page is, and what it answers to whom; empty without a host of Flower.
    prepared_hosts: all on which the roles work as root: every host but that of an existing database server alone.
    """

    name: str
    hosts: Mapping[str, Host]
    brokers: tuple[str, ...]
    broker_addresses: tuple[str, ...]
    broker_nodes: Mapping[str, str]
    broker_name: str
    broker_login: str
    broker_users: tuple[BrokerUser, ...]
    consumer_timeout: int
    queue_type: str
    queue_settings: Mapping[str, str]
    database: str | None
    database_address: str | None
    source: str | None
    source_address: str | None
    beat: str | None
    beat_hosts: tuple[str, ...]
    flower: tuple[str, ...]
    workers: Mapping[str, Worker]
    worker_hosts: tuple[str, ...]
    queues: Mapping[str, tuple[Consumer, ...]]
    release_hosts: tuple[str, ...]
    producers: tuple[str, ...]
    submitter: str
    database_mode: str | None
    database_port: int | None
    database_server_port: int | None
    database_pooler: str
    database_login: str
    database_clients: tuple[Client, ...]
    database_owners: tuple[Client, ...]
    database_users: tuple[str, ...]
    database_connections: int
    prepared_hosts: tuple[str, ...]
    lock_clients: tuple[Client, ...] = ()
    flower_site: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Lists and mappings only, as JSON and Jinja have them."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cluster needs at most of things that have a limit: database connections, sockets of the broker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .databases import ACCESS, NO_POOLER, POOLER_SIZE, SESSION
from .model import Cluster, Inventory, Worker
from .problems import Problems

#: The defaults of PostgreSQL: connections, and those that only a superuser gets.
MAX_CONNECTIONS, RESERVED_CONNECTIONS = 100, 3
#: The default of the role rabbitmq.
OPEN_FILES = 16384
#: Nobody knows what the application on the source host opens: a web server of this many threads.
APPLICATION_CONNECTIONS = 10
#: The owner, while the commands run that set up the tables: past a pooler.
OWNER_CONNECTIONS = 2
#: A running worker keeps one connection that consumes and one that publishes (gossip, which takes more, is off).
WORKER_SOCKETS = 2
#: Part of the database connections beyond which a warning is told.
FULL = Decimal("0.8")

SIZE = re.compile(r"([0-9]{1,20})(\.[0-9]{1,20})?([KMGTPE]?)B?")
UNITS = {unit: 1024**power for power, unit in enumerate(("", "K", "M", "G", "T", "P", "E"))}
MIB = UNITS["M"]


@dataclass(frozen=True)
class Line:
    """Who needs how many connections of the database."""

    who: str
    connections: int


@dataclass(frozen=True)
class Budget:
    """total: what all clients need together. server: what the server itself sees of it, which a pooler makes less.

    limit: what the server has for them; None when the setting that says it is unusable, and for an existing server,
    which is asked itself.
    """

    lines: tuple[Line, ...]
    total: int
    server: int
    limit: int | None


def size(text: object) -> int | None:
    """Bytes of a size as systemd reads it: 8G is 8 * 1024^3. None for anything else, `infinity` and `50%` included."""
    found = SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    whole, fraction, unit = found.groups()
    return int(Decimal(whole + (fraction or "")) * UNITS[unit])


def connections(worker: Worker) -> int:
    """Database connections of one running worker.

    Each child of the prefork pool keeps one, and its parent opens one now and then. The other pools open one for each
    result that is stored at the same time.
    """
    return worker.children + 1 if worker.pool == "prefork" else worker.children


def database_budget(cluster: Cluster, inventory: Inventory) -> Budget | None:
    """None when the cluster manages no database."""
    if cluster.database is None:
        return None
    lines = [
        Line(
            f"worker {kind}: {_hosts(len(worker.hosts))}, each {connections(worker)}",
            connections(worker) * len(worker.hosts),
        )
        for kind, worker in cluster.workers.items()
    ]
    beats, locks = cluster.beat_hosts, lock_connections(cluster)
    if beats:
        lines.append(Line(f"beat on {', '.join(beats)}", len(beats)))
    if locks:
        lines.append(Line(f"the lock of beat: {_hosts(locks)}, each 1", locks))
    if cluster.flower:
        lines.append(Line(f"Flower: {_hosts(len(cluster.flower))}, each 1", len(cluster.flower)))
    if cluster.source:
        lines.append(Line(f"the application on {cluster.source} (assumed)", APPLICATION_CONNECTIONS))
    _place, reserved, limit = _database_limits(inventory.settings)
    total = sum(line.connections for line in lines)
    server = total if cluster.database_pooler == NO_POOLER else _pooler_size(inventory.settings) + _past_pooler(cluster)
    if limit is None or cluster.database_mode == ACCESS:
        return Budget(tuple(lines), total, server, None)
    return Budget(tuple(lines), total, server, max(0, limit - reserved))


def check_budgets(cluster: Cluster, inventory: Inventory, problems: Problems) -> None:
    _check_database(cluster, inventory, problems)
    _check_session_pooler(cluster, inventory, problems)
    _check_sockets(cluster, inventory, problems)


def lock_connections(cluster: Cluster) -> int:
    """One session on each beat host, of the one that sends and of those that wait. A single one has no lock."""
    return len(cluster.beat_hosts) if len(cluster.beat_hosts) > 1 else 0


def _past_pooler(cluster: Cluster) -> int:
    return OWNER_CONNECTIONS + lock_connections(cluster)


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def _number(value: Any) -> int | None:
    """A whole number, also one in digits; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


# --------------------------------------------------------------------------------------------------
# Database connections


def _database_limits(settings: Mapping[str, Any]) -> tuple[str, int, int | None]:
    """The place that says how many connections there are, those nobody of us gets, and how many there are."""
    further = settings.get("postgresql_settings")
    further = further if isinstance(further, Mapping) else {}
    superuser = _number(further.get("superuser_reserved_connections"))
    reserved = (RESERVED_CONNECTIONS if superuser is None else superuser) + (
        _number(further.get("reserved_connections")) or 0
    )
    # postgresql_settings come last in the server's file and win.
    if "max_connections" in further:
        return "postgresql_settings.max_connections", reserved, _number(further["max_connections"])
    return "postgresql_max_connections", reserved, _number(settings.get("postgresql_max_connections", MAX_CONNECTIONS))


def _pooler_size(settings: Mapping[str, Any]) -> int:
    """One that is no number is told with the pooler."""
    return _number(settings.get("postgresql_pooler_size", POOLER_SIZE)) or POOLER_SIZE


def _check_database(cluster: Cluster, inventory: Inventory, problems: Problems) -> None:
    budget = database_budget(cluster, inventory)
    if budget is None or budget.limit is None or budget.server <= FULL * budget.limit:
        return
    place, reserved, configured = _database_limits(inventory.settings)
    # Filled to four fifths at most, and a round number.
    enough = -(-(budget.server * 5 // 4 + 1 + reserved) // 10) * 10
    what = f"is {configured}, which leaves {budget.limit} connections without those reserved for superusers"
    if cluster.database_pooler == NO_POOLER:
        largest = max(budget.lines, key=lambda line: line.connections)
        code = "CC401" if budget.total > budget.limit else "CC402"
        what += f"; the cluster needs up to {budget.total} (the most: {largest.connections} for {largest.who})"
        instead = (
            f"write {enough} or more, lower the concurrency of the workers, or write transaction into postgresql_pooler"
        )
    elif budget.server > budget.limit:
        code, locks = "CC401", lock_connections(cluster)
        size = budget.server - _past_pooler(cluster)
        what += f"; the pooler opens up to {size} (postgresql_pooler_size), and the owner {OWNER_CONNECTIONS} past it"
        what += f", the lock of beat {locks}" if locks else ""
        instead = f"write {enough} or more, or a smaller postgresql_pooler_size"
    else:
        # The pooler opens no more, however many workers there are.
        return
    problems.add(code, place, what, instead)


def _check_session_pooler(cluster: Cluster, inventory: Inventory, problems: Problems) -> None:
    """In a session each client has a connection of the server's for as long as it stays. Children of prefork stay."""
    size = _pooler_size(inventory.settings)
    kept = sum(worker.children * len(worker.hosts) for worker in cluster.workers.values() if worker.pool == "prefork")
    # While a release replaces another one, the workers of both run.
    most = 2 * kept + (APPLICATION_CONNECTIONS if cluster.source else 0)
    if cluster.database_pooler != SESSION or most <= size:
        return
    problems.add(
        "CC403" if kept > size else "CC406",
        "postgresql_pooler_size",
        f"is {size}, and the children of the prefork workers keep {kept} connections, of which a session pooler lends "
        f"none to others; with the application and while a release replaces another one, up to {most} are in use",
        f"write {most} or more, or write transaction into postgresql_pooler",
    )


# --------------------------------------------------------------------------------------------------
# Sockets of the broker


def broker_sockets(cluster: Cluster) -> int:
    """The least number of connections the broker must carry when everything runs."""
    workers = sum(len(worker.hosts) for worker in cluster.workers.values())
    return WORKER_SOCKETS * workers + len(cluster.beat_hosts) + WORKER_SOCKETS * len(cluster.flower)


def _sockets(open_files: int) -> int:
    """What RabbitMQ 3 leaves for sockets: nine tenths of what it does not keep for its own files."""
    return max(0, (open_files - 100) * 9 // 10 - 2)


def _check_sockets(cluster: Cluster, inventory: Inventory, problems: Problems) -> None:
    open_files = _number(inventory.settings.get("rabbitmq_open_files", OPEN_FILES))
    needed = broker_sockets(cluster)
    if open_files is None or needed <= _sockets(open_files):
        return
    # Twice as many: an application's own connections come on top, and so do those of a deployment.
    enough = -(-(2 * needed * 10 // 9 + 200) // 1024) * 1024
    problems.add(
        "CC404",
        "rabbitmq_open_files",
        f"is {open_files}, which leaves {_sockets(open_files)} sockets; workers, beat and Flower alone open {needed}",
        f"write {enough} or more",
    )

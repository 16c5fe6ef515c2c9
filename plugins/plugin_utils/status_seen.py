# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a status is judged from: the model, the answers of all hosts, and what the operator set."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .catalogue import ERROR
from .status_catalogue import FINDINGS

Row = dict[str, Any]

COLLECTION = "taskfleet.celery_cluster"
BROKER_UNIT = "rabbitmq-server.service"
POOLER_UNIT = "pgbouncer.service"
POSTGRESQL_UNIT = re.compile(r"postgresql@.*\.service")
RUNNING = ("active", "reloading", "refreshing")


class Finding(NamedTuple):
    """One thing that is wrong. what: in words that follow the host. remedy: a command."""

    code: str
    host: str
    what: str
    remedy: str

    @property
    def is_error(self) -> bool:
        return FINDINGS[self.code].severity == ERROR

    def as_dict(self) -> dict[str, str]:
        kind = FINDINGS[self.code]
        return {**self._asdict(), "severity": kind.severity, "title": kind.title}


class Service(NamedTuple):
    """What should run on a host. prefix: what its units begin with, where each release has its own."""

    host: str
    role: str  #: worker, beat, flower, broker, database or pooler
    kind: str  #: of a worker, else empty
    prefix: str = ""

    @property
    def title(self) -> str:
        names = {"broker": "RabbitMQ", "database": "PostgreSQL", "pooler": "PgBouncer", "flower": "Flower"}
        return f"worker {self.kind}" if self.role == "worker" else names.get(self.role, self.role)


@dataclass(frozen=True)
class Limits:
    """From which values on something is wrong. warnings_fail: whether warnings count as errors do."""

    certificate_days: int = 21
    disk_percent: int = 90
    memory_percent: int = 90
    canary_hours: int = 24
    growth: int = 100
    beat_silent: int = 120
    warnings_fail: int = 0


@dataclass(frozen=True)
class Seen:
    """model: the cluster. settings: its variables. hosts: those that were asked, and what each answered.

    brokers, databases: the same for the broker's and the database's own words. inventory: how a command names it.
    """

    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    hosts: Mapping[str, Mapping[str, Any]]
    brokers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    databases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budget: Mapping[str, Any] | None = None
    limits: Limits = field(default_factory=Limits)
    inventory: Sequence[str] = ("INVENTORY",)

    @property
    def name(self) -> str:
        return str(self.model["name"])

    @property
    def answers(self) -> dict[str, Mapping[str, Any]]:
        return {host: answer for host, answer in self.hosts.items() if answer.get("answered")}

    @property
    def broker(self) -> Mapping[str, Any] | None:
        """The first broker that told of the queues: they all tell the same."""
        return next((answer for answer in self.brokers.values() if answer.get("answered")), None)

    # --- commands ----------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return " ".join(f"-i {shlex.quote(source)}" for source in self.inventory)

    def on(self, host: str, *command: str) -> str:
        """A command of a host, as it is typed on the controller."""
        return f"ansible {self._where} {host} -m ansible.builtin.command -a {shlex.quote(' '.join(command))}"

    def ping(self, host: str) -> str:
        return f"ansible {self._where} {host} -m ansible.builtin.ping"

    def playbook(self, name: str, *options: str) -> str:
        return " ".join(["ansible-playbook", self._where, f"{COLLECTION}.{name}", *options])

    def log(self, host: str, unit: str) -> str:
        # It finds the log in whichever journal the unit writes to.
        return self.on(host, "systemctl status --no-pager --full -n 50", unit)

    # --- what should be there ----------------------------------------------------------------------------------------

    def beat_hosts(self) -> list[str]:
        """All on which beat may run; a model without the list knows the first one only."""
        listed = self.model.get("beat_hosts") or [self.model.get("beat")]
        return [str(host) for host in listed if host]

    def services(self) -> Iterator[Service]:
        """Of the hosts that were asked, each host's together."""
        for host in self.hosts:
            if host in self.model["brokers"]:
                yield Service(host, "broker", "")
            if host == self.model.get("database") and self.model.get("database_mode") == "managed":
                yield Service(host, "database", "")
                if self.model.get("database_pooler") not in (None, "none"):
                    yield Service(host, "pooler", "")
            for kind, worker in self.model["workers"].items():
                if host in worker["hosts"]:
                    yield Service(host, "worker", str(kind), f"{self.name}-worker-{kind}@")
            if host in self.beat_hosts():
                yield Service(host, "beat", "", f"{self.name}-beat@")
            if host in self.model["flower"]:
                yield Service(host, "flower", "", f"{self.name}-flower@")

    def release(self) -> str:
        """The release of the cluster: what its submitter has, or else most of the hosts that answered."""
        told = {host: answer["releases"]["current"] for host, answer in self.answers.items()}
        known = [told[host] for host in self.model["release_hosts"] if told.get(host)]
        return str(told.get(self.model["submitter"]) or max(known, key=known.count, default=""))

    def unit(self, service: Service) -> Mapping[str, Any] | None:
        """The unit that does a service's work, or should: one that runs, the host's own release before others."""
        units = self.answers[service.host]["units"]
        current = self.answers[service.host]["releases"]["current"]
        if service.role == "broker":
            found = [unit for unit in units if unit["name"] == BROKER_UNIT]
        elif service.role == "database":
            found = [unit for unit in units if POSTGRESQL_UNIT.fullmatch(unit["name"])]
        elif service.role == "pooler":
            found = [unit for unit in units if unit["name"] == POOLER_UNIT]
        else:
            found = [unit for unit in units if unit["name"].startswith(service.prefix)]

        def order(unit: Mapping[str, Any]) -> tuple[bool, bool, bool, str]:
            is_current = unit["name"] == f"{service.prefix}{current}.service"
            enabled = str(unit["enabled"]).startswith("enabled")
            return unit["active"] not in RUNNING, not is_current, not enabled, unit["name"]

        return min(found, key=order, default=None)

    def expected_unit(self, service: Service) -> str:
        """The name of the unit that should do it."""
        if service.role == "broker":
            return BROKER_UNIT
        if service.role == "pooler":
            return POOLER_UNIT
        if service.role == "database":
            unit = self.unit(service)
            return str(unit["name"]) if unit else "postgresql.service"
        current = self.answers[service.host]["releases"]["current"] or self.release()
        unit = self.unit(service)
        return str(unit["name"]) if unit and not current else f"{service.prefix}{current}.service"


def instance(unit: str) -> str:
    """4f2c of shop-worker-default@4f2c.service."""
    return unit.removesuffix(".service").partition("@")[2]


def is_running(unit: Mapping[str, Any] | None) -> bool:
    return unit is not None and unit["active"] in RUNNING


def duration(seconds: float | None) -> str:
    """The two largest parts of a time: 3 d 4 h, 12 min, 8 s."""
    if seconds is None:
        return ""
    rest, parts = int(seconds), []
    for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def size(count: float | None) -> str:
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "K", "M", "G"):
        if value < 1024:
            return f"{value:.0f}{unit}" if value >= 10 or unit == "B" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"

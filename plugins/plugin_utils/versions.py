# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of RabbitMQ, Celery and kombu do not work together, and which upgrades of a broker do not."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from .model import Inventory
from .problems import Problems
from .queue_type import QUORUM, celery_setting, queue_type, quorum_place

Version = tuple[int, int, int]
Series = tuple[int, int]

#: Debian's epoch, then the upstream version; what follows (revision, ~rc1, +deb12u1) does not matter here.
VERSION = re.compile(r"\s*(?:[0-9]+:)?[vV]?([0-9]{1,6})\.([0-9]{1,6})(?:\.([0-9]{1,6}))?(?![0-9])")

#: Upgrades in place that RabbitMQ supports.
UPGRADES: dict[Series, tuple[Series, ...]] = {
    (3, 7): ((3, 8),),
    (3, 8): ((3, 9),),
    (3, 9): ((3, 10),),
    (3, 10): ((3, 11),),
    (3, 11): ((3, 12),),
    (3, 12): ((3, 13),),
    (3, 13): ((4, 0), (4, 1), (4, 2)),
    (4, 0): ((4, 1), (4, 2)),
    (4, 1): ((4, 2),),
    (4, 2): ((4, 3),),
}
#: The last release of a series where only that one can be upgraded.
LEAVE_FROM: dict[Series, Version] = {(3, 7): (3, 7, 18), (3, 11): (3, 11, 18)}
#: The newest series that the scenarios run, and the first one that is known to differ.
NEWEST: Series = (4, 0)
UNTRIED: Version = (4, 3, 0)
PERMIT_TRANSIENT = "deprecated_features.permit.transient_nonexcl_queues"


def version(text: object) -> Version | None:
    """The first three numbers of a version; None for what is no version, for example of a package that is missing."""
    found = VERSION.match(text) if isinstance(text, str) else None
    if found is None:
        return None
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch or 0)


def check_versions(
    broker: str, celery: str, kombu: str, settings: Mapping[str, Any], problems: Problems, host: str = ""
) -> None:
    """Combinations that are known not to work; a version that is unknown (empty, or no version) is not judged.

    settings: ``celery_queue_type``, ``celery_settings`` and ``rabbitmq_settings``; each may be missing.
    host: where these versions were found.
    """
    has_broker, has_celery, has_kombu = version(broker), version(celery), version(kombu)
    inventory = Inventory({}, {}, settings, lambda _pattern: ())
    quorum = quorum_place(inventory)
    if has_broker and has_kombu and has_broker >= (4, 0, 0) and has_kombu >= (5, 7, 0) and not quorum:
        problems.add(
            "CC851",
            "celery_queue_type",
            f"is classic, and kombu {kombu} with RabbitMQ {broker} lets tasks with an ETA or countdown block the "
            "worker of a classic queue",
            "write quorum, unless no task has an ETA, countdown or retry",
            host,
        )
    if not has_celery:
        return
    # 5.5 consumes quorum queues, and has no setting for the type of those that it declares by their name alone.
    needed = (5, 6, 0) if quorum == "celery_queue_type" else (5, 5, 0)
    if quorum and has_celery < needed:
        problems.add(
            "CC852",
            quorum,
            f"asks for quorum queues, which Celery {celery} cannot "
            + ("consume" if has_celery < (5, 5, 0) else "declare"),
            f"install Celery {_name(needed)} or newer, or write classic into celery_queue_type"
            + (f" and take them out of {quorum}" if quorum != "celery_queue_type" else ""),
            host,
        )
    elif quorum and not _is_topic(inventory):
        problems.add(
            "CC853",
            "celery_settings.task_default_exchange_type",
            "is not topic: with quorum queues on a direct exchange, tasks with an ETA or countdown block the worker",
            "remove it and write quorum into celery_queue_type, or write topic",
            host,
        )
    if has_broker and has_broker >= (4, 3, 0) and has_celery < (5, 7, 0) and not _is_ready(has_celery, inventory):
        upgrade = "install Celery 5.7 or newer"
        problems.add(
            "CC854",
            "celery_settings.control_queue_exclusive",
            f"is not in force: RabbitMQ {broker} refuses the control and event queues of Celery {celery}",
            upgrade if has_celery < (5, 6, 0) else f"{upgrade}, or write true here and into event_queue_exclusive",
            host,
        )
    if has_celery < (5, 0, 0):
        problems.add(
            "CC855",
            "celery_app",
            f"runs on Celery {celery}, which does not verify the broker's certificate for a URL with ?ssl=1",
            "install Celery 5.5 or newer, or set broker_use_ssl with cert_reqs and ca_certs where the application "
            "publishes outside the cluster's services",
            host,
        )


def _is_topic(inventory: Inventory) -> bool:
    """Whether the default queue's exchange is one that delayed delivery works with; celery_queue_type makes it one."""
    kind = celery_setting(inventory, "task_default_exchange_type")[1]
    return bool(kind == "topic" if kind is not None else queue_type(inventory) == QUORUM)


def _is_ready(celery: Version, inventory: Inventory) -> bool:
    """Whether RabbitMQ permits transient queues, or Celery declares none; Celery 5.6 can be told so."""
    broker = inventory.settings.get("rabbitmq_settings")
    if isinstance(broker, Mapping) and str(broker.get(PERMIT_TRANSIENT)).lower() == "true":
        return True
    return celery >= (5, 6, 0) and all(
        any(celery_setting(inventory, f"{queue}_queue_{how}")[1] is True for how in ("exclusive", "durable"))
        for queue in ("control", "event")
    )


# --------------------------------------------------------------------------------------------------
# Upgrades of the broker


def check_broker_jump(installed: str, candidate: str, problems: Problems, host: str = "") -> None:
    """Whether the installed RabbitMQ may become the candidate in place; empty or unknown versions are not judged."""
    old, new = version(installed), version(candidate)
    if old is None or new is None or old[:2] == new[:2]:
        return
    if new < old:
        problems.add(
            "CC857",
            "rabbitmq-server",
            f"is {installed}, and the package source offers the older {candidate}",
            "restore the package source of the installed version: RabbitMQ supports no downgrade",
            host,
        )
        return
    steps = _path(old[:2], new[:2])
    least = LEAVE_FROM.get(old[:2], old)
    if steps is not None and len(steps) == 1 and old >= least:
        return
    if steps is None:
        way = f"look the way to {_name(new)} up in RabbitMQ's upgrade guide"
    else:
        first = [".".join(map(str, least))] if old < least else []
        through = ", ".join([*first, *(_name(step) for step in steps)])
        way = f"upgrade to {through} one after the other, all stable feature flags enabled before each step"
    problems.add(
        "CC856",
        "rabbitmq-server",
        f"is {installed}, which cannot become {candidate} in place",
        f"{way}, or move to a new broker host",
        host,
    )


def _name(series: tuple[int, ...]) -> str:
    return f"{series[0]}.{series[1]}"


def _next(series: Series) -> tuple[Series, ...]:
    known = UPGRADES.get(series)
    if known is None:
        # Newer or older than the table: the next minor is the only step that RabbitMQ promises.
        return ((series[0], series[1] + 1),)
    return known


def _path(old: Series, new: Series) -> list[Series] | None:
    """The shortest way from one series to another, without the first; None when none is known."""
    waiting: deque[list[Series]] = deque([[old]])
    seen = {old}
    while waiting:
        way = waiting.popleft()
        for step in _next(way[-1]):
            if step == new:
                return [*way[1:], step]
            if step < new and step not in seen and len(way) < 32:
                seen.add(step)
                waiting.append([*way, step])
    return None


# --------------------------------------------------------------------------------------------------
# Brokers that shall be one cluster


def check_broker_age(installed: str, candidate: str, problems: Problems, host: str = "") -> None:
    """Whether the broker, as it is or as it will be installed, is newer than what the roles were tried with."""
    found = version(installed) or version(candidate)
    if found is not None and found >= UNTRIED:
        problems.add(
            "CC860",
            "rabbitmq-server",
            f"is {installed or candidate}, and the newest that was tried is {_name(NEWEST)}",
            "look the release up in RabbitMQ's release notes, and try it before you depend on it",
            host,
        )


def check_broker_series(brokers: Mapping[str, Mapping[str, str]], problems: Problems) -> None:
    """Whether the brokers can be one cluster. brokers: host -> its package, ``installed`` and ``candidate``.

    A broker that is not installed counts as what would be installed; one that is unknown is not judged.
    """
    series: dict[Series, list[str]] = {}
    installed: set[Series] = set()
    for host, package in brokers.items():
        there = version(package.get("installed"))
        found = there or version(package.get("candidate"))
        if found is not None:
            series.setdefault(found[:2], []).append(host)
        if there is not None:
            installed.add(there[:2])
    if len(series) < 2:
        return
    oldest, newest = min(series), max(series)
    what = "; ".join(f"{_name(one)} on {', '.join(series[one])}" for one in sorted(series))
    if len(series) == 2 and series.keys() == installed and newest in _next(oldest):
        problems.add(
            "CC859",
            "rabbitmq-server",
            f"is of two series: {what}. RabbitMQ allows this during an upgrade only",
            f"finish the upgrade: run playbooks/upgrade_broker.yml until all have {_name(newest)}",
        )
        return
    problems.add(
        "CC858",
        "rabbitmq-server",
        f"is not of one series: {what}. Such brokers do not become one cluster",
        "use the same Debian release and package source on all hosts of the group rabbitmq",
    )

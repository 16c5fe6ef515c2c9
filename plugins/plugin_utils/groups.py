# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster as a whole: its name, its application, and how many hosts each group may have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .brokers import check_brokers
from .model import Inventory
from .problems import Problems
from .results import check_results

#: Names travel into systemd unit names, node names, broker users and paths: keep what all of them carry. The longest
#: account made from one is <name>-source, and useradd takes 32 characters.
NAME = re.compile(r"[a-z][a-z0-9_]{0,24}")


def check_groups(members: Mapping[str, Sequence[str]], inventory: Inventory, problems: Problems) -> None:
    """members: each group of the interface -> its hosts."""
    settings = inventory.settings
    name = settings.get("celery_name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.add(
            "CC101", "celery_name", f"is {name!r}", "write a lower-case letter followed by up to 24 of a-z, 0-9 and _"
        )
    if not settings.get("celery_app"):
        problems.add("CC102", "celery_app", "is not set", "write what `celery -A` takes, for example shop.celery:app")
    check_brokers(members["rabbitmq"], inventory, problems)
    for code, group in (("CC104", "celery_source"), ("CC105", "postgresql")):
        if len(members[group]) > 1:
            problems.add(
                code,
                f"group {group}",
                f"has {len(members[group])} hosts ({', '.join(members[group])}), at most one is possible",
                "keep one of them",
            )
    if not members["postgresql"] and not settings.get("celery_result_backend_url"):
        problems.add(
            "CC106",
            "group postgresql",
            "is empty and celery_result_backend_url is not set",
            "add the database host to the group, or write the URL of an existing result backend",
        )
    _check_beat(members["celery_beat"], bool(members["postgresql"]), settings, problems)
    check_results(members["celery_beat"], bool(members["postgresql"]), settings, problems)


def _check_beat(beat: Sequence[str], database: bool, settings: Mapping[str, object], problems: Problems) -> None:
    wanted = settings.get("celery_settings")
    if not beat:
        if isinstance(wanted, Mapping) and wanted.get("beat_schedule"):
            problems.add(
                "CC112",
                "celery_settings.beat_schedule",
                "is set and the group celery_beat is empty",
                "add the host that shall send the periodic tasks to the group celery_beat",
            )
    elif len(beat) > 1 and not database:
        problems.add(
            "CC125",
            "group celery_beat",
            f"has {len(beat)} hosts ({', '.join(beat)}), and the group postgresql is empty, so that no lock keeps them "
            "from sending every periodic task each",
            f"keep one of them, for example {beat[0]}, or add the database host to the group postgresql",
        )

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of tasks: whether somebody removes them where they do not go away by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .problems import Problems, shown

#: Result backends, as a URL names them, that keep results until the task celery.backend_cleanup removes them. In the
#: others results expire, or there is no clean-up at all.
CLEANED = frozenset({"db", "database", "file", "filesystem", "mongodb", "arangodb"})
#: Celery's setting that says how old results become, by its new and its old name.
EXPIRES = ("result_expires", "CELERY_TASK_RESULT_EXPIRES")


def needs_cleanup(database: bool, settings: Mapping[str, Any]) -> bool:
    """database: whether the cluster has a database host, which stores the results unless a URL names another place."""
    url = settings.get("celery_result_backend_url")
    if not url:
        return database
    scheme, found, _rest = str(url).partition("://")
    return bool(found) and scheme.partition("+")[0].lower() in CLEANED


def check_results(beat: Sequence[str], database: bool, settings: Mapping[str, Any], problems: Problems) -> None:
    """beat: the hosts of the group celery_beat."""
    if not needs_cleanup(database, settings):
        return
    wanted = settings.get("celery_settings")
    wanted = wanted if isinstance(wanted, Mapping) else {}
    # Beat with a schedule and without a host is told as that.
    if not beat and not wanted.get("beat_schedule"):
        problems.add(
            "CC114",
            "group celery_beat",
            "is empty, so nobody removes results that are older than celery_settings.result_expires",
            "add one host to the group, or run `celery call celery.backend_cleanup` every day another way",
        )
    for name in EXPIRES:
        if name in wanted and not wanted[name]:
            problems.add(
                "CC124",
                f"celery_settings.{name}",
                f"is {shown(wanted[name])}, with which beat sends no clean-up, so that every result stays for ever",
                "write seconds, for example 86400, or remove it: Celery keeps results for a day",
            )

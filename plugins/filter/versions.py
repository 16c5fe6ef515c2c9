# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the versions of a release and of the broker work together, and whether a broker may be upgraded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..plugin_utils.problems import Problems, summary
from ..plugin_utils.versions import check_broker_jump, check_versions


def version_problems(versions: Mapping[str, str], settings: Mapping[str, Any], host: str) -> dict[str, Any]:
    problems = Problems()
    known = {name: str(versions.get(name) or "") for name in ("broker", "celery", "kombu")}
    check_versions(known["broker"], known["celery"], known["kombu"], settings, problems, host)
    return summary(problems)


def upgrade_problems(packages: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    problems = Problems()
    for host in sorted(packages):
        check_broker_jump(packages[host]["installed"], packages[host]["candidate"], problems, host)
    return summary(problems)


class FilterModule:
    """A thin skin on plugin_utils."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"upgrade_problems": upgrade_problems, "version_problems": version_problems}

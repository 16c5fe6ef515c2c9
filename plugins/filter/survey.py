# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters around the survey of the hosts: what to ask them, and what their answers mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..plugin_utils.problems import Problems, summary
from ..plugin_utils.survey import check_hosts, check_systems
from ..plugin_utils.survey_needs import needs


def survey_problems(
    cluster: Mapping[str, Any],
    surveys: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    problems = Problems()
    check_systems(cluster, facts, problems)
    check_hosts(cluster, surveys, settings, problems)
    return summary(problems)


class FilterModule:
    """Thin skins on plugin_utils."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"survey_needs": needs, "survey_problems": survey_problems}

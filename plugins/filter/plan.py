# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that show the cluster that would be built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..plugin_utils.plan import plan, plan_text
from ..plugin_utils.plan_html import plan_html


class FilterModule:
    """Thin skins on plugin_utils."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"plan": plan, "plan_html": plan_html, "plan_text": plan_text}

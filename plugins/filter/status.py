# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that judge and show how the cluster is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..plugin_utils.status import cluster_status, status_text
from ..plugin_utils.status_html import status_html


class FilterModule:
    """Thin skins on plugin_utils."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"cluster_status": cluster_status, "status_html": status_html, "status_text": status_text}

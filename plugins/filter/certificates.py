# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters about certificates: which a host needs, where they are, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..plugin_utils.certificates import (
    brought_certificates,
    certificate_problems,
    made_certificates,
    placed_certificates,
    wanted_certificates,
)


class FilterModule:
    """Thin skins on plugin_utils."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "brought_certificates": brought_certificates,
            "certificate_problems": certificate_problems,
            "made_certificates": made_certificates,
            "placed_certificates": placed_certificates,
            "wanted_certificates": wanted_certificates,
        }

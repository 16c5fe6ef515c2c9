# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host_status action: the module of this name, and no failure when there is no answer."""

from __future__ import annotations

from ..plugin_utils.asking import AskingAction


class ActionModule(AskingAction):
    """What is common to all of them is next door."""

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long, and how much, the journal keeps of the services' log."""

from __future__ import annotations

from .budget import size
from .model import Inventory
from .problems import Problems, shown

RETENTION, MAX_SIZE = "celery_log_retention", "celery_log_max_size"
#: Days; ten years are more than any rule asks for.
MOST_DAYS = 3650
#: A journal file that has just been begun takes 8 MiB, and journald wants room for a few of them.
LEAST_SIZE = 64 * 2**20


def check_log(inventory: Inventory, problems: Problems) -> None:
    days = inventory.settings.get(RETENTION, 0)
    if not isinstance(days, int) or isinstance(days, bool) or not 0 <= days <= MOST_DAYS:
        instead = f"write a number of days from 1 to {MOST_DAYS}, or 0 for the system's own rules"
        problems.add("CC130", RETENTION, f"is {shown(days)}", instead)
    text = inventory.settings.get(MAX_SIZE, "")
    if text == "":
        return
    wanted = size(text)
    if wanted is None or not isinstance(text, str) or text != text.strip():
        problems.add("CC131", MAX_SIZE, f"is {shown(text)}", "write a size such as 512M or 2G, or remove it")
    elif wanted < LEAST_SIZE:
        problems.add(
            "CC131", MAX_SIZE, f"is {shown(text)}, of which journald keeps next to nothing", "write 64M or more"
        )

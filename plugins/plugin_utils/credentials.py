# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of the services: files that systemd hands to them, and to nobody else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .model import Inventory
from .problems import Problems, shown

VARIABLE = "celery_credentials"
#: A file name, and no more than systemd, a unit and a shell carry without quotes.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
#: systemd takes no more for one service, names included (bytes).
MOST = 2**20


def check_credentials(inventory: Inventory, problems: Problems) -> None:
    """No content is put into a problem."""
    given = inventory.settings.get(VARIABLE)
    if not isinstance(given, Mapping):
        # Of another type: told with the types of all variables.
        return
    total = 0
    for name, content in given.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            instead = "write a name that begins with a letter or digit, then up to 99 letters, digits and . _ -"
            problems.add("CC650", VARIABLE, f"has the name {shown(name)}", instead)
            continue
        place = f"{VARIABLE}.{name}"
        if not isinstance(content, str):
            problems.add("CC651", place, "is no text", "write its content as a text, in quotes if in doubt")
        elif not content:
            problems.add("CC651", place, "is empty", "write its content, or remove the name")
        elif not _is_utf8(content):
            problems.add("CC651", place, "is no text of Unicode", "write what is binary as base64")
        else:
            total += len(name.encode()) + len(content.encode())
    if total > MOST:
        problems.add("CC652", VARIABLE, f"has {total} bytes", f"write at most {MOST} bytes, names included")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names and texts as SQL that psql reads: inside quotes it looks for no variables and no commands of its own."""

from __future__ import annotations

from collections.abc import Iterable


def identifier(*names: str) -> str:
    """A quoted name, with several that of a thing in a schema."""
    return ".".join('"' + _checked(name).replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """A quoted text; standard_conforming_strings is on in every connection of ours."""
    return "'" + _checked(text).replace("'", "''") + "'"


def array(texts: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(literal(text) for text in texts)}]::text[]"


def _checked(text: str) -> str:
    if "\0" in text:
        raise ValueError("PostgreSQL knows no text with a zero byte in it")
    return text

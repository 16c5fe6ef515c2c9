# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A status as one HTML page: no script, nothing to load, in the style of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .plan_html import _code, _muted, _section, _table
from .plan_style import STYLE
from .plan_svg import escape
from .status import database_rows, host_rows, proof_text, queue_rows, service_rows, short, summary
from .status_seen import Row

#: Beyond the plan's: states stand out, and remedies are as wide as they need to be.
OWN_STYLE = """
.remedy { display: block; margin-top: .25rem; color: var(--muted); }
.good { color: var(--code); }
.wrong { color: var(--error); font-weight: 600; }
td { overflow-wrap: anywhere; }
""".strip()

_GOOD = ("active", "standby", "yes")
_WRONG = ("failed", "inactive", "missing", "stopped", "activating", "deactivating", "NO", "FAILED")


def status_html(content: Mapping[str, Any]) -> str:
    """The page of a status that ``cluster_status`` made."""
    name = escape(content["name"])
    release = _code(short(content["release"])) or _muted("no release")
    lead = f"How the cluster is: {escape(summary(content))}."
    about = f"Release {release}. Last proof: {escape(proof_text(content))}."
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{name}: {escape(summary(content))}</title>",
        f"<style>{STYLE}\n{OWN_STYLE}</style>",
        "</head>",
        "<body>",
        f'<header><h1>{name}</h1><p class="lead">{lead}</p><p class="app">{about}</p></header>',
        "<main>",
        _findings(content["findings"]),
        _rows("services", "Services", service_rows(content, repeat=True), (5, 6, 7, 8)),
        _rows("queues", "Queues, as the broker sees them", queue_rows(content), (1, 2, 3, 4, 5, 6, 7)),
        _rows("machines", "Hosts", host_rows(content)),
        _rows("database", "Connections of the database", database_rows(content)),
        "</main>",
        f"<footer><p>As it was on {escape(content['time'] or 'no host')}. Nothing was changed.</p></footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _findings(findings: Sequence[Mapping[str, str]]) -> str:
    if not findings:
        return '<p class="fine">Nothing is wrong.</p>'
    items = []
    for row in findings:
        severity = "error" if row["severity"] == "error" else "warning"
        host = f"{_code(row['host'])}: " if row["host"] else ""
        items.append(
            f'<li class="{severity}"><span class="severity">{severity} {escape(row["code"])}</span> '
            f'<span>{host}{escape(row["what"])}<span class="remedy">{_code(row["remedy"])}</span></span></li>'
        )
    lines = "\n".join(items)
    return _section("problems", "What is wrong, and what to do", f'<ul class="problems">\n{lines}\n</ul>')


def _cell(value: object) -> str:
    text = escape(value)
    if value in _GOOD:
        return f'<span class="good">{text}</span>'
    if value in _WRONG:
        return f'<span class="wrong">{text}</span>'
    return text


def _rows(identity: str, heading: str, rows: Sequence[Row], numbers: Sequence[int] = ()) -> str:
    if not rows:
        return ""
    columns = list(rows[0])
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    return _section(identity, heading, _table([column.capitalize() for column in columns], cells, numbers))

# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A status as one HTML page: no script, nothing to load, in the style of the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .html_page import code, finding, findings, muted, page, section, table
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
    release = code(short(content["release"])) or muted("no release")
    lead = f"How the cluster is: {escape(summary(content))}."
    about = f"Release {release}. Last proof: {escape(proof_text(content))}."
    header = f'<h1>{name}</h1><p class="lead">{lead}</p><p class="app">{about}</p>'
    sections = [
        _findings(content["findings"]),
        _rows("services", "Services", service_rows(content, repeat=True), (5, 6, 7, 8)),
        _rows("queues", "Queues, as the broker sees them", queue_rows(content), (1, 2, 3, 4, 5, 6, 7)),
        _rows("machines", "Hosts", host_rows(content)),
        _rows("database", "Connections of the database", database_rows(content)),
    ]
    footer = f"As it was on {escape(content['time'] or 'no host')}. Nothing was changed."
    return page(f"{name}: {escape(summary(content))}", header, sections, footer, f"\n{OWN_STYLE}")


def _findings(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return '<p class="fine">Nothing is wrong.</p>'
    items = []
    for row in rows:
        text = f'{escape(row["what"])}<span class="remedy">{code(row["remedy"])}</span>'
        items.append(finding(row, text))
    return findings("What is wrong, and what to do", items)


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
    return section(identity, heading, table([column.capitalize() for column in columns], cells, numbers))

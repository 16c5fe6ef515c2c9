# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages of the plan and of the status are made of. Texts of an inventory are escaped, the rest is HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .plan_style import STYLE
from .plan_svg import escape


def page(title: str, header: str, sections: Iterable[str], footer: str, style: str = "") -> str:
    """A whole page without a script and with nothing to load. Empty sections are left out."""
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{title}</title>",
        f"<style>{STYLE}{style}</style>",
        "</head>",
        "<body>",
        f"<header>{header}</header>",
        "<main>",
        *(section for section in sections if section),
        "</main>",
        f"<footer><p>{footer}</p></footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def finding(row: Mapping[str, str], text: str) -> str:
    """One line of the list of what is wrong: severity, code and host of the row, and a text that is HTML already."""
    severity = "error" if row["severity"] == "error" else "warning"
    host = f"{code(row['host'])}: " if row["host"] else ""
    label = f"{severity} {escape(row['code'])}"
    return f'<li class="{severity}"><span class="severity">{label}</span> <span>{host}{text}</span></li>'


def findings(heading: str, items: Iterable[str]) -> str:
    lines = "\n".join(items)
    return section("problems", heading, f'<ul class="problems">\n{lines}\n</ul>')


def section(identity: str, heading: str, body: str, lead: str = "") -> str:
    paragraph = f'<p class="note">{lead}</p>' if lead else ""
    return f'<section id="{identity}">\n<h2>{heading}</h2>\n{paragraph}{body}\n</section>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Cells are HTML already. Each names its column, because a phone shows rows as blocks."""

    def cell(index: int, text: str) -> str:
        style = ' class="number"' if index in numbers else ""
        return f'<td{style} data-label="{escape(columns[index])}">{text}</td>'

    head = "".join(
        f'<th scope="col"{" class=number" if index in numbers else ""}>{escape(column)}</th>'
        for index, column in enumerate(columns)
    )
    lines = ("".join(cell(index, text) for index, text in enumerate(row)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def code(value: object) -> str:
    return f"<code>{escape(value)}</code>" if value != "" else ""


def codes(names: Iterable[str]) -> str:
    return ", ".join(code(name) for name in names)


def muted(text: str) -> str:
    return f'<span class="muted">{text}</span>'

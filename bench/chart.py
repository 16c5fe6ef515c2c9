"""The chart and the tables of docs/performance.md, out of docs/performance.json.

    bench/chart.py
What the parts wrote goes there first: a part that ran replaces its figures of an earlier run, on whatever machine, and
the other parts keep theirs. The page says where its tables belong: between `<!-- table PART -->` and
`<!-- end PART -->`, where PART may also be `machine`. What stands around them is prose and stays.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import results
from common import CHECKOUT, UserError, main, say

PAGE = CHECKOUT / "docs" / "performance.md"
PICTURE = CHECKOUT / "docs" / "performance.svg"
#: Part -> what results.write says of it.
FIGURES = CHECKOUT / "docs" / "performance.json"
#: All cases of these parts are bars; the growing cluster is lines.
BARS, LINES = ("site", "deploy", "runtime"), "scale"
BY_WORKERS = re.compile(r"(.+), by workers")
WORKERS = re.compile(r"([0-9]+) workers")
WIDTH, LEFT, RIGHT, ROW, GAP = 790, 240, 130, 22, 16
PLOT = 220
#: Of the text and of what is drawn, by day and by night. The first series is ours.
STYLE = """
text{font:13px system-ui,sans-serif;fill:#24292f}.head{font-weight:600}.quiet{fill:#57606a}
.s0{fill:#0969da;stroke:#0969da}.s1{fill:#8c959f;stroke:#8c959f}.s2{fill:#bf8700;stroke:#bf8700}
.s3{fill:#1a7f37;stroke:#1a7f37}.axis{stroke:#8c959f}rect{stroke:none!important}
polyline{fill:none!important;stroke-width:2}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}
.s0{fill:#4493f8;stroke:#4493f8}.s1{fill:#6e7681;stroke:#6e7681}.s2{fill:#d29922;stroke:#d29922}
.s3{fill:#3fb950;stroke:#3fb950}}
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    look = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{look} text-anchor="{anchor}">{escape(words)}</text>'


def bars(case: Mapping[str, Any], top: float) -> tuple[list[str], float]:
    """One case: a bar for each figure, on a scale of its own, and where the next case begins."""
    shown = [(name, found) for name, values in case["figures"].items() if (found := results.summary(values))]
    if not shown:
        return [], top
    largest = max(found.median for _name, found in shown) or 1
    drawn = [text(0, top + 14, str(case["case"]), "head")]
    top += ROW
    for place, (name, found) in enumerate(shown):
        y, width = top + place * ROW, max(1.0, (WIDTH - LEFT - RIGHT) * found.median / largest)
        drawn.append(text(LEFT - 8, y + 14, name, "", "end"))
        kind = "s0" if place == 0 or name.startswith("ours") else "s1"
        drawn.append(f'<rect x="{LEFT}" y="{y + 3:g}" width="{width:.1f}" height="{ROW - 6}" class="{kind}"/>')
        drawn.append(text(LEFT + width + 6, y + 14, f"{results.number(found.median)} {case['unit']}", "quiet"))
    return drawn, top + len(shown) * ROW + GAP


def series(cases: list[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """What was measured at every size, of the part that grows: name -> (workers, seconds)."""
    found = {}
    for case in cases:
        if not (named := BY_WORKERS.fullmatch(str(case["case"]))):
            continue
        points = [
            (int(size[1]), summary.median)
            for name, values in case["figures"].items()
            if (size := WORKERS.fullmatch(name)) and (summary := results.summary(values))
        ]
        if points:
            found[named[1]] = sorted(points)
    return found


def lines(found: Mapping[str, list[tuple[int, float]]], top: float) -> tuple[list[str], float]:
    """Seconds by the number of workers, named at the end of each line."""
    if not found:
        return [], top
    most = max(size for points in found.values() for size, _seconds in points)
    largest = max(seconds for points in found.values() for _size, seconds in points) or 1
    left, right = 50, 240
    bottom = top + 2 * ROW + PLOT

    def at(size: float, seconds: float) -> tuple[float, float]:
        return left + (WIDTH - left - right) * size / most, bottom - PLOT * seconds / largest

    drawn = [text(0, top + 14, "Seconds by the number of worker hosts", "head")]
    drawn.append(f'<path d="M{left} {bottom - PLOT:g}V{bottom:g}H{WIDTH - right}" fill="none" class="axis"/>')
    for seconds in (0, largest / 2, largest):
        drawn.append(text(left - 6, at(0, seconds)[1] + 4, f"{seconds:.0f}", "quiet", "end"))
    for size in sorted({size for points in found.values() for size, _seconds in points}):
        drawn.append(text(at(size, 0)[0], bottom + 18, str(size), "quiet", "middle"))
    taken: list[float] = []
    for place, (name, points) in enumerate(sorted(found.items(), key=lambda item: -item[1][-1][1])):
        kind = f"s{place % 4}"
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        drawn.append(f'<polyline points="{places}" class="{kind}"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="{kind}"/>' for x, y in (at(*one) for one in points)]
        # Names of lines that end close to each other stand below each other.
        y = at(*points[-1])[1] + 4
        while any(abs(y - other) < 15 for other in taken):
            y += 3
        taken.append(y)
        x = at(*points[-1])[0] + 8
        drawn.append(f'<circle cx="{x + 4:.1f}" cy="{y - 4:.1f}" r="4" class="{kind}"/>')
        drawn.append(text(x + 12, y, f"{name}: {results.number(points[-1][1])} s", ""))
    return drawn, max([bottom + 24, *(y + 10 for y in taken)]) + GAP


def svg(found: Mapping[str, Mapping[str, Any]]) -> str:
    drawn: list[str] = []
    top = 4.0
    for part in BARS:
        for case in found.get(part, {}).get("cases", []):
            more, top = bars(case, top)
            drawn += more
    more, top = lines(series(found.get(LINES, {}).get("cases", [])), top)
    drawn += more
    title = "<title>What runs of the collection take, beside what they are measured against</title>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" width="{WIDTH}" role="img">'
    return "\n".join([head, title, f"<style>{STYLE}</style>", *drawn, "</svg>"]) + "\n"


def markdown(content: Mapping[str, Any]) -> str:
    """The table of one part, with what is to be said of its cases."""
    cases = content["cases"]
    found = ["| " + " | ".join(results.HEADINGS) + " |", "|" + "---|" * len(results.HEADINGS)]
    for case in cases:
        for place, row in enumerate(results.rows(case)):
            found.append("| " + " | ".join(("" if place else row[0], *row[1:])).replace("|  ", "| ") + " |")
    told = [f"- {note}" for note in results.notes(cases)]
    return "\n".join(found + (["", *told] if told else []))


def machine(found: Mapping[str, Mapping[str, Any]]) -> str:
    """On what it was measured: one row for each part, which may have run on another day."""
    columns = ("date", "processors", "processor", "memory_gb", "system", "ansible", "docker", "load")
    rows = ["| part | " + " | ".join(columns).replace("_gb", " (GB)") + " |", "|" + "---|" * (len(columns) + 1)]
    for part, content in found.items():
        facts = content["machine"]
        cells = [facts.get(name, "") for name in columns]
        shown = [", ".join(map(str, cell)) if isinstance(cell, list) else str(cell) for cell in cells]
        rows.append("| " + " | ".join([part, *shown]).replace("|  ", "| ") + " |")
    return "\n".join(rows)


def filled(page: str, tables: Mapping[str, str]) -> str:
    """The page with its tables replaced; a table that has no place there is refused."""
    for name, table in tables.items():
        first, last = f"<!-- table {name} -->\n", f"<!-- end {name} -->"
        before, found, rest = page.partition(first)
        _old, ended, after = rest.partition(last)
        if not found or not ended:
            raise UserError(
                f"docs/performance.md has no place for {name}: `<!-- table {name} -->` … `<!-- end {name} -->`"
            )
        page = f"{before}{first}\n{table}\n\n{last}{after}"
    return page


def rendered(figures: Mapping[str, Mapping[str, Any]], page: str) -> tuple[str, str]:
    """The page with its tables, and the picture."""
    tables = {part: markdown(content) for part, content in figures.items()}
    return filled(page, {**tables, "machine": machine(figures)}), svg(figures)


def update(found: Mapping[str, dict[str, Any]], directory: Path = FIGURES.parent) -> None:
    """Into the three files of that name in a directory."""
    page, picture, kept = (directory / file.name for file in (PAGE, PICTURE, FIGURES))
    figures = results.ordered({**(json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}), **found})
    if not figures:
        raise UserError("nothing was measured yet: run `make bench`")
    text, image = rendered(figures, page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")
    picture.write_text(image, encoding="utf-8")
    kept.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    say(f"\nwritten: {page.name}, {picture.name}, {kept.name}")


if __name__ == "__main__":
    main(lambda: update(results.read()))

"""What the parts of `make bench` measured: figures of a case, what stands beside them, and whether a goal is met.

Each part writes .cache/bench/PART.json:
    {"machine": {...}, "cases": [{"case": ..., "unit": "s", "figures": {"ours": [...], "ping": [...]}, "note": ...,
     "goals": [{"figure": "ours", "against": "ping", "at_most": 12}]}]}
A goal without `against` limits the figure itself, `at_least` is the other direction.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import CACHE, CHECKOUT, UserError, run

DIRECTORY = CACHE / "bench"
HEADINGS = ("case", "figure", "against", "ratio", "goal", "met")
#: In this order in tables; other parts come after them.
ORDER = ("site", "scale", "deploy", "runtime", "model", "strategy")
#: Figures that others are measured against; the ratio is that of the case's first figure to them.
BESIDE = ("floor", "conventional", "ping", "plain", "bare rsync", "linear and free")


@dataclass(frozen=True)
class Summary:
    """Several repetitions in three numbers."""

    median: float
    low: float
    high: float
    count: int


def summary(values: Sequence[float]) -> Summary | None:
    return Summary(statistics.median(values), min(values), max(values), len(values)) if values else None


def number(value: float) -> str:
    """As many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(found: Summary | None, unit: str) -> str:
    """The median and, of several repetitions, where they lie."""
    if found is None:
        return "not measured"
    between = f" ({number(found.low)} to {number(found.high)})" if found.count > 1 else ""
    return f"{number(found.median)} {unit}{between}"


@dataclass(frozen=True)
class Verdict:
    """What one goal comes to. `value` is the ratio, or the figure itself when nothing stands beside it."""

    figure: str
    against: str | None
    goal: str
    value: float | None
    met: bool | None


def verdict(case: Mapping[str, Any], goal: Mapping[str, Any]) -> Verdict:
    figures = case["figures"]
    ours, against = summary(figures.get(goal["figure"], [])), goal.get("against")
    beside = summary(figures.get(against, [])) if against else None
    is_limit = "at_most" in goal
    limit = float(goal["at_most"] if is_limit else goal["at_least"])
    text = f"{'≤' if is_limit else '≥'} {limit:g}{' x' if against else ' ' + str(case['unit'])}"
    if ours is None or (against and (beside is None or beside.median == 0)):
        return Verdict(goal["figure"], against, text, None, None)
    value = ours.median / beside.median if beside else ours.median
    return Verdict(goal["figure"], against, text, value, value <= limit if is_limit else value >= limit)


def rows(case: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row for each goal, and one for each figure that no goal speaks of."""
    found: list[tuple[str, ...]] = []
    unit, figures = str(case["unit"]), case["figures"]
    told: set[str] = set()
    for goal in case.get("goals", []):
        judged = verdict(case, goal)
        told |= {judged.figure, judged.against or ""}
        beside = summary(figures.get(judged.against, [])) if judged.against else None
        found.append(
            (
                str(case["case"]),
                f"{judged.figure}: {spread(summary(figures.get(judged.figure, [])), unit)}",
                f"{judged.against}: {spread(beside, unit)}" if judged.against else "",
                number(judged.value) if judged.value is not None and judged.against else "",
                judged.goal,
                {True: "yes", False: "no", None: "?"}[judged.met],
            )
        )
    first = summary(figures.get(next(iter(figures), ""), []))
    for name, values in figures.items():
        if name in told:
            continue
        this, text = summary(values), f"{name}: {spread(summary(values), unit)}"
        if name not in BESIDE:
            found.append((str(case["case"]), text, "", "", "", ""))
        else:
            ratio = number(first.median / this.median) if first and this and this.median else ""
            found.append((str(case["case"]), "", text, ratio, "", ""))
    return found


def table(cases: Iterable[Mapping[str, Any]]) -> str:
    """For the terminal: a case is named in its first row only; what is to be said of it follows."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    cases = list(cases)
    for case in cases:
        for place, row in enumerate(rows(case)):
            lines.append(("" if place else row[0], *row[1:]))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(["  ".join(cells).rstrip() for cells in padded] + notes(cases))


def notes(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"{case['case']}: {case['note']}" for case in cases if case.get("note")]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    core = run([str(CHECKOUT / ".venv" / "bin" / "ansible"), "--version"], timeout=60).stdout.partition("\n")[0]
    engine = run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout=20).stdout.strip()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processors": os.cpu_count(),
        "processor": processor(Path("/proc/cpuinfo")),
        "memory_gb": round(memory / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "ansible": core,
        "docker": engine,
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def processor(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(part: str, cases: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], directory: Path = DIRECTORY) -> None:
    """Whole or not at all: an interrupted run leaves the figures of the one before it."""
    directory.mkdir(parents=True, exist_ok=True)
    new = directory / f".{part}.json"
    new.write_text(json.dumps({"machine": facts, "cases": list(cases)}, indent=2) + "\n", encoding="utf-8")
    new.replace(directory / f"{part}.json")


def read(directory: Path = DIRECTORY) -> dict[str, dict[str, Any]]:
    """Part -> what it wrote, of every part that ever ran here."""
    found = {}
    for file in directory.glob("*.json"):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            for case in content["cases"]:
                rows(case)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            text = f"{file} is not a result of this version ({fault!r}): remove it, or run the part again"
            raise UserError(text) from fault
        found[file.stem] = content
    return ordered(found)


def ordered(found: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    def place(part: str) -> tuple[int, str]:
        return (ORDER.index(part) if part in ORDER else len(ORDER)), part

    return {part: found[part] for part in sorted(found, key=place)}

"""The chart and the tables of the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import chart
import common

NAMESPACE = "{http://www.w3.org/2000/svg}"


def part(*cases: dict[str, Any]) -> dict[str, Any]:
    return {"machine": {"date": "2026-01-01", "processors": 2, "load": [0.1, 0.2]}, "cases": list(cases)}


def case(name: str, figures: dict[str, list[float]], note: str = "") -> dict[str, Any]:
    goals = [{"figure": "ours", "against": "ping", "at_most": 12}] if "ping" in figures else []
    return {"case": name, "unit": "s", "figures": figures, "goals": goals, "note": note}


FOUND = {
    "site": part(case("nothing <to> change", {"ours": [8, 9, 10], "ping": [1]}, "three rounds")),
    "scale": part(
        case("nothing to change, by workers", {"2 workers": [8], "10 workers": [12], "50 workers": [40]}),
        case("a ping, by workers", {"2 workers": [1], "10 workers": [2], "50 workers": [39.5]}),
        case("nothing to change, each further worker", {"2 to 10": [0.5]}),
    ),
}


def words(picture: str) -> list[str]:
    # What is parsed was made a line above.
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{NAMESPACE}text")]  # noqa: S314


def test_the_picture_is_well_formed_and_its_words_are_text() -> None:
    found = words(chart.svg(FOUND))
    assert {"nothing <to> change", "ours", "ping", "9.00 s", "1.00 s"} <= set(found)
    assert {"nothing to change: 40.0 s", "a ping: 39.5 s", "2", "10", "50"} <= set(found)


def test_bars_are_as_long_as_what_they_show() -> None:
    drawn, _top = chart.bars(case("x", {"ours": [2], "ping": [1], "none": []}), 0)
    widths = [float(line.split('width="')[1].split('"')[0]) for line in drawn if line.startswith("<rect")]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert len(widths) == 2


def test_names_of_lines_do_not_cover_each_other() -> None:
    drawn, _top = chart.lines(chart.series(FOUND["scale"]["cases"]), 0)
    heights = [float(line.split(' y="')[1].split('"')[0]) for line in drawn if " s</text>" in line]
    assert abs(heights[0] - heights[1]) >= 15


def test_without_figures_there_is_an_empty_picture() -> None:
    assert words(chart.svg({})) == []


PAGE = """# Performance
Prose.
<!-- table site -->
old
<!-- end site -->
Between.
<!-- table scale -->
<!-- end scale -->
<!-- table machine -->
<!-- end machine -->
"""


def test_tables_are_filled_and_prose_stays(tmp_path: Path) -> None:
    page, picture = tmp_path / "performance.md", tmp_path / "performance.svg"
    page.write_text(PAGE, encoding="utf-8")
    chart.update(FOUND, tmp_path)
    first = page.read_text(encoding="utf-8")
    assert "| nothing <to> change | ours: 9.00 s (8.00 to 10.0) | ping: 1.00 s | 9.00 | ≤ 12 x | yes |" in first
    assert "- nothing <to> change: three rounds" in first
    assert "| site | 2026-01-01 | 2 |" in first
    assert "old" not in first
    assert "Prose.\n" in first
    assert "Between.\n" in first
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    # The same figures are the same page.
    chart.update(FOUND, tmp_path)
    assert page.read_text(encoding="utf-8") == first
    # What ran again replaces its figures, and the other parts keep theirs.
    chart.update({"site": part(case("another", {"ours": [3]}))}, tmp_path)
    second = page.read_text(encoding="utf-8")
    assert "another" in second and "nothing <to> change" not in second
    assert "| 50 workers: 40.0 s |" in second
    assert {"another", "a ping: 39.5 s"} <= set(words(picture.read_text(encoding="utf-8")))


def test_page_and_picture_show_the_figures_beside_them() -> None:
    figures = json.loads(chart.FIGURES.read_text(encoding="utf-8"))
    page = chart.PAGE.read_text(encoding="utf-8")
    assert chart.rendered(figures, page) == (page, chart.PICTURE.read_text(encoding="utf-8"))
    assert list(figures) == list(chart.results.ORDER)


def test_a_table_without_a_place_is_refused() -> None:
    with pytest.raises(common.UserError, match="has no place for runtime"):
        chart.filled(PAGE, {"runtime": "x"})


def test_nothing_measured_is_said(tmp_path: Path) -> None:
    with pytest.raises(common.UserError, match="nothing was measured yet"):
        chart.update({}, tmp_path)


def test_every_part_has_a_place_on_the_page() -> None:
    page = chart.PAGE.read_text(encoding="utf-8")
    places = [f"<!-- table {name} -->" for name in (*chart.results.ORDER, "machine")]
    assert [place for place in places if place not in page] == []

"""Figures, ratios and goals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import common
import results

PING = {"figure": "ours", "against": "ping", "at_most": 12}


def case(figures: dict[str, list[float]], *goals: dict[str, Any], unit: str = "s") -> dict[str, Any]:
    return {"case": "nothing to change", "unit": unit, "figures": figures, "goals": list(goals), "note": ""}


@pytest.mark.parametrize(
    ("figures", "goal", "value", "met"),
    [
        ({"ours": [9, 8, 30], "ping": [1.0, 0.5, 2]}, PING, 9.0, True),
        ({"ours": [13], "ping": [1]}, PING, 13.0, False),
        ({"ours": [95], "plain": [100]}, {"figure": "ours", "against": "plain", "at_least": 0.9}, 0.95, True),
        ({"ours": [80], "plain": [100]}, {"figure": "ours", "against": "plain", "at_least": 0.9}, 0.8, False),
        ({"ours": [1.5, 0.5]}, {"figure": "ours", "against": None, "at_most": 1.2}, 1.0, True),
        ({"ours": [13]}, PING, None, None),
        ({"ours": [], "ping": [1]}, PING, None, None),
        ({"ours": [1], "ping": [0]}, PING, None, None),
    ],
)
def test_a_goal_is_judged_by_medians(
    figures: dict[str, list[float]], goal: dict[str, Any], value: float | None, met: bool | None
) -> None:
    judged = results.verdict(case(figures), goal)
    assert (judged.value if value is None else pytest.approx(judged.value), judged.met) == (value, met)


def test_what_a_goal_limits_is_told_with_its_unit() -> None:
    assert results.verdict(case({}), PING).goal == "≤ 12 x"
    assert results.verdict(case({}, unit="tasks/s"), {"figure": "ours", "at_least": 5}).goal == "≥ 5 tasks/s"


def test_each_goal_is_a_row_and_so_is_what_no_goal_speaks_of() -> None:
    found = results.rows(case({"ours": [8, 9, 10], "ping": [1], "floor": [3]}, PING))
    assert found == [
        ("nothing to change", "ours: 9.00 s (8.00 to 10.0)", "ping: 1.00 s", "9.00", "≤ 12 x", "yes"),
        ("nothing to change", "", "floor: 3.00 s", "3.00", "", ""),
    ]


def test_figures_without_a_goal_stand_beside_the_first() -> None:
    found = results.rows(case({"ours": [8], "conventional": [32]}))
    assert [row[1:4] for row in found] == [("ours: 8.00 s", "", ""), ("", "conventional: 32.0 s", "0.25")]


def test_a_figure_that_nothing_is_measured_against_has_no_ratio() -> None:
    assert results.rows(case({"ours": [8], "worker start": [2]}))[1][1:4] == ("worker start: 2.00 s", "", "")


def test_the_table_names_a_case_once() -> None:
    told = {**case({"ours": [8], "ping": [1], "floor": [2]}, PING), "note": "one repetition"}
    lines = results.table([told]).splitlines()
    assert lines[-1] == "nothing to change: one repetition"
    assert lines[0].split() == list(results.HEADINGS)
    assert "nothing to change" in lines[1]
    assert "nothing to change" not in lines[2]


def test_what_is_written_is_read_in_the_order_of_the_parts(tmp_path: Path) -> None:
    for part in ("another", "model", "site"):
        results.write(part, [case({"ours": [1]}, PING)], {"processors": 2}, tmp_path)
    assert list(results.read(tmp_path)) == ["site", "model", "another"]
    assert results.read(tmp_path)["site"]["cases"][0]["figures"] == {"ours": [1]}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("text", ["{", "[]", '{"cases": [{"case": "x"}]}', json.dumps({"small": {}, "large": {}})])
def test_a_file_of_another_version_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "deploy.json").write_text(text, encoding="utf-8")
    with pytest.raises(common.UserError, match=r"deploy\.json is not a result of this version"):
        results.read(tmp_path)


def test_the_processor_is_named(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast One\n", encoding="utf-8")
    assert results.processor(tmp_path / "cpuinfo") == "Fast One"
    assert results.processor(tmp_path / "none")

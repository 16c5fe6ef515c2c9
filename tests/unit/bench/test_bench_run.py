"""The parts, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import common
import results
import run


def test_all_parts_in_their_order_or_those_that_are_named() -> None:
    assert run.parts([]) == list(run.FILES)
    assert run.parts(["model", "site"]) == ["site", "model"]
    assert list(run.FILES) == list(results.ORDER)


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(common.UserError, match="there is no part speed: choose from site, "):
        run.parts(["site", "speed"])


@pytest.mark.parametrize("broken", [(), ("scale",)], ids=["all well", "one broken"])
def test_a_part_that_fails_does_not_keep_the_others_from_running(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def logged(argv: Sequence[str], log: Path, **_more: Any) -> int:
        name = next(part for part, file in run.FILES.items() if argv[1].endswith(f"/{file}"))
        ran.append(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"words of {name}\n", encoding="utf-8")
        return 1 if name in broken else 0

    reported: list[str] = []
    monkeypatch.setattr(run, "CHECKOUT", tmp_path)
    monkeypatch.setattr(run, "CACHE", tmp_path / ".cache")
    monkeypatch.setattr(run, "logged", logged)
    monkeypatch.setattr(run, "report", lambda: reported.append("report"))
    monkeypatch.setattr(run.sys, "argv", ["run.py", "site", "scale", "model"])
    if broken:
        with pytest.raises(common.UserError, match="failed: scale"):
            run.command()
        assert "words of scale" in capsys.readouterr().out
    else:
        run.command()
        assert "words of" not in capsys.readouterr().out
    assert ran == ["site", "scale", "model"]
    assert reported == ["report"]

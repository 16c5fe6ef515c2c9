"""The pictures of the documentation, without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

import common
import pictures


class Page:
    """A page of a height, with a picture that has so many bytes per line."""

    def __init__(self, height: int, weight: int) -> None:
        self.own, self.weight, self.window = height, weight, (0, 0)

    def size(self, width: int, height: int) -> None:
        self.window = (width, height)

    def height(self) -> int:
        return max(self.own, self.window[1])

    def rest(self, _seconds: float) -> None:
        pass

    def picture(self, file: Path) -> None:
        file.write_bytes(b"x" * self.window[1] * self.weight)


@pytest.mark.parametrize(
    ("height", "weight", "taken"),
    [(657, 90, 657), (100, 90, 320), (5000, 90, 1340), (5000, 160, 1240), (5000, 300, 640)],
    ids=["as long as it is", "not less than a strip", "no longer than one looks", "cut once", "cut until it is small"],
)
def test_a_picture_is_as_long_as_is_useful(tmp_path: Path, height: int, weight: int, taken: int) -> None:
    page = Page(height, weight)
    pictures.of_page(page, tmp_path / "x.png")  # type: ignore[arg-type]
    assert page.window == (pictures.WIDTH, taken)
    assert (tmp_path / "x.png").stat().st_size < pictures.LIMIT


def test_a_picture_that_does_not_get_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(common.UserError, match=r"x\.png has .* bytes, and 200000 are the limit"):
        pictures.of_page(Page(5000, 10_000), tmp_path / "x.png")  # type: ignore[arg-type]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    shelf, docs = tmp_path / "shelf", tmp_path / "docs"
    shelf.mkdir()
    docs.mkdir()
    monkeypatch.setattr(pictures, "SHELF", shelf)
    monkeypatch.setattr(pictures, "DOCS", docs)
    monkeypatch.setattr(pictures, "CHECKOUT", tmp_path)
    return shelf, docs


def test_all_pictures_are_kept(places: tuple[Path, Path]) -> None:
    shelf, docs = places
    for name in pictures.NAMES:
        (shelf / f"{name}.png").write_text(name)
    pictures.keep()
    assert {file.name: file.read_text() for file in docs.iterdir()} == {f"{name}.png": name for name in pictures.NAMES}


def test_of_some_pictures_none_is_kept(places: tuple[Path, Path]) -> None:
    shelf, docs = places
    (shelf / "plan.png").write_text("plan")
    with pytest.raises(common.UserError, match="there is no picture of status, flower in"):
        pictures.keep()
    assert list(docs.iterdir()) == []


@pytest.mark.parametrize("is_there", [True, False], ids=["a cluster that is there", "a cluster of its own"])
@pytest.mark.parametrize("is_broken", [False, True], ids=["well", "broken"])
def test_only_its_own_cluster_is_removed(
    monkeypatch: pytest.MonkeyPatch, places: tuple[Path, Path], is_there: bool, is_broken: bool
) -> None:
    steps: list[str] = []

    def molecule(step: str, extra: dict[str, str] | None = None) -> None:
        steps.append(step)
        if step == "verify":
            assert extra == {"PYTEST_ADDOPTS": "-k test_pictures"}
            if is_broken:
                raise common.UserError("it failed")
            for name in pictures.NAMES:
                (places[0] / f"{name}.png").write_text(name)

    monkeypatch.setattr(pictures, "molecule", molecule)
    monkeypatch.setattr(pictures.browser, "ensure", lambda: "chromium")
    monkeypatch.setattr(pictures.containers, "labelled", lambda _kind, _label: ["core1"] if is_there else [])
    monkeypatch.setattr(pictures.sys, "argv", ["pictures.py"])
    monkeypatch.setattr(pictures, "LOG", places[0] / "log")
    if is_broken:
        with pytest.raises(common.UserError, match="it failed"):
            pictures.take()
    else:
        pictures.take()
    assert steps == (["verify"] if is_there else ["destroy", "create", "converge", "verify", "destroy"])
    assert len(list(places[1].iterdir())) == (0 if is_broken else len(pictures.NAMES))

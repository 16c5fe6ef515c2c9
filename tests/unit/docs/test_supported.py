"""What docs/supported.md states is what the scenarios, the locks and the collection's own files say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
PAGE = (CHECKOUT / "docs" / "supported.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def load(path: str) -> Any:
    return yaml.safe_load((CHECKOUT / path).read_text(encoding="utf-8"))


def images(scenario: Path) -> set[str]:
    found = set(re.findall(r"testbed_image: (\w+)", (scenario / "inventory" / "hosts.yml").read_text(encoding="utf-8")))
    assert found, scenario
    return found


def test_the_scenarios_run_on_the_stated_versions_of_debian() -> None:
    stated = {f"debian{row[0].split()[0]}": set(row[3].split(", ")) for row in rows("Managed hosts")}
    tested: dict[str, set[str]] = {}
    for file in (CHECKOUT / "molecule").glob("*/inventory/hosts.yml"):
        for image in images(file.parents[1]):
            tested.setdefault(image, set()).add(file.parents[1].name)
    # A scenario that is not there yet may be stated: its tests are.
    for image, names in stated.items():
        names -= {name for name in names if not (CHECKOUT / "molecule" / name / "inventory").exists()}
        assert names == tested.pop(image)
    assert tested == {}


def test_the_locks_have_the_stated_celery() -> None:
    stated = {row[0]: row[1] for row in rows("Applications")}["Celery"]
    locks = list((CHECKOUT / "examples").glob("*/requirements.lock"))
    found = {re.findall(r"^celery==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)[0] for lock in locks}
    assert locks and found == {stated}


def test_the_controller() -> None:
    stated = {(row[0], row[2]) for row in rows("Controller")}
    least = load("meta/runtime.yml")["requires_ansible"].removeprefix(">=")
    assert f"an older ansible-core than {least}" in PAGE
    assert min(core for core, _package in stated) == least.rpartition(".")[0]
    packages = set(re.findall(r'"ansible==(\S+) ;', (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")))
    assert {package.removeprefix("ansible ") for _core, package in stated} == packages


def test_the_collections_it_needs() -> None:
    needed = load("galaxy.yml")["dependencies"]
    text = " ".join(PAGE.split())
    for name, version in needed.items():
        assert f"{name} {version}" in text
    definition = load("execution-environment.yml")["dependencies"]["galaxy"]["collections"]
    assert {one["name"]: one.get("version") for one in definition} == {"taskfleet.celery_cluster": None, **needed}


def test_the_execution_environment_has_what_the_collection_asks_for() -> None:
    stated = load("execution-environment.yml")["dependencies"]
    lines = (CHECKOUT / "meta" / "ee-requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == stated["python"]
    asked = (CHECKOUT / "meta" / "ee-bindep.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line.split()[0] for line in asked if not line.startswith("#") and "platform:dpkg" not in line}
    assert wanted == {line.split()[0] for line in stated["system"]}

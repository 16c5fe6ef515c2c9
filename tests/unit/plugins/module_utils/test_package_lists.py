"""Which lists of packages stand for an environment, and which have a part of the tree in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.package_lists import (
    Lists,
    environment_name,
    interpreter,
    is_named,
    logical_lines,
    read_lists,
)

LOCK = """version = 1
[[package]]
name = "shop"
version = "1.0"
source = { virtual = "." }
[[package]]
name = "celery"
source = { registry = "https://pypi.org/simple" }
"""


@pytest.mark.parametrize(
    "line",
    [
        "celery",
        "celery==5.7.0",
        "celery[redis, sqs] >=5,<6",
        "celery ~= 5.7 ; python_version < '3.13'",
        "celery (>=5)",
        "celery==5.7.0 --hash=sha256:aa --hash=sha256:bb",
        "tool @ https://example.org/tool-1.0.tar.gz",
        "tool @ git+https://example.org/tool@main",
        "--index-url https://example.org/simple",
        "-i https://example.org/simple",
        "--only-binary :all:",
        "--require-hashes",
        "--pre",
    ],
)
def test_named_packages(line: str) -> None:
    assert is_named(line)


@pytest.mark.parametrize(
    "line",
    [
        ".",
        "./lib",
        "libs/tool",
        "/srv/lib",
        "-e .",
        "--editable=./lib",
        "file:lib",
        "tool @ file:///srv/lib",
        "tool @ ./lib",
        "tool @ git+file:///srv/lib",
        "tool-1.0-py3-none-any.whl",
        "tool-1.0.tar.gz",
        "tool-1.0.zip[extra] ; python_version > '3'",
        "--find-links wheels",
        "-f wheels",
        "--extra-index-url=file:///srv/simple --pre",
        "[project]",
        "--something-new",
    ],
)
def test_what_may_be_of_the_tree(line: str) -> None:
    assert not is_named(line)


def test_logical_lines() -> None:
    text = "a==1 \\\n    --hash=sha256:x\n\n# comment\nb  # why\nc @ https://example.org/x#egg=c\n"
    assert logical_lines(text) == ["a==1      --hash=sha256:x", "b", "c @ https://example.org/x#egg=c"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "more").mkdir(parents=True)
    (root / "uv.lock").write_text(LOCK)
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "requirements.txt").write_text("-r more/base.txt\nflower\n")
    (root / "more" / "base.txt").write_text("-c limits.txt\n-r ../requirements.txt\ncelery\n")
    (root / "more" / "limits.txt").write_text("celery<6\n")
    return root


def test_a_lock(tree: Path) -> None:
    found = read_lists(tree, "lock", "uv.lock")
    assert not found.local and set(found.files) == {"uv.lock", "pyproject.toml"}
    (tree / ".python-version").write_text("3.12\n")
    assert set(read_lists(tree, "lock", "uv.lock").files) == {"uv.lock", "pyproject.toml", ".python-version"}


@pytest.mark.parametrize("source", ['editable = "lib"', 'directory = "./lib"', 'path = "a.whl"', 'virtual = "../x"'])
def test_a_lock_with_packages_of_the_tree(tree: Path, source: str) -> None:
    (tree / "uv.lock").write_text(LOCK + f"[[package]]\nsource = {{ {source} }}\n")
    assert "packages of the tree" in read_lists(tree, "lock", "uv.lock").local


def test_a_lock_without_its_project(tree: Path) -> None:
    (tree / "pyproject.toml").unlink()
    assert "pyproject.toml" in read_lists(tree, "lock", "uv.lock").local


def test_requirements_with_what_they_include(tree: Path) -> None:
    found = read_lists(tree, "requirements", "requirements.txt")
    assert not found.local
    assert set(found.files) == {"requirements.txt", "more/base.txt", "more/limits.txt"}


@pytest.mark.parametrize("line", ["-r ../outside.txt", "-r missing.txt", "-r https://example.org/list.txt", "-e ."])
def test_requirements_that_belong_to_the_tree(tree: Path, line: str) -> None:
    (tree.parent / "outside.txt").write_text("celery\n")
    (tree / "more" / "base.txt").write_text(f"celery\n{line}\n")
    assert read_lists(tree, "requirements", "requirements.txt").local


def test_a_list_of_another_kind(tree: Path) -> None:
    assert read_lists(tree, "requirements", "pyproject.toml").local


def test_extra_packages(tree: Path) -> None:
    assert not read_lists(tree, "none", "", ["flower==2.2.0"]).local
    assert "./lib" in read_lists(tree, "none", "", ["flower==2.2.0", "./lib"]).local
    assert "./lib" in read_lists(tree, "requirements", "requirements.txt", ["./lib"]).local


GIVEN = {"python": "/usr/bin/python3", "extra": ["flower"], "edition": ""}


@pytest.mark.parametrize(
    ("files", "given"),
    [
        ({"uv.lock": "b"}, GIVEN),
        ({"other.lock": "a"}, GIVEN),
        ({"uv.lock": "a"}, {**GIVEN, "python": "/usr/bin/python3.12"}),
        ({"uv.lock": "a"}, {**GIVEN, "extra": ["flower", "gevent"]}),
        ({"uv.lock": "a"}, {**GIVEN, "edition": "2026-11-22"}),
        ({"uv.lock": "a"}, {**GIVEN, "interpreter": ["3.11.3"]}),
    ],
)
def test_the_name_follows_what_decides(files: dict[str, str], given: dict) -> None:
    name = environment_name(Lists({"uv.lock": "a"}), GIVEN)
    assert environment_name(Lists({"uv.lock": "a"}), dict(reversed(GIVEN.items()))) == name
    assert environment_name(Lists(files), given) != name


def test_the_interpreter_says_what_it_is() -> None:
    found = interpreter(lambda argv: (0, 'noise\n["3.11.2 (main)", "cpython-311"]\n', ""), "/usr/bin/python3")
    assert found[:2] == ["3.11.2 (main)", "cpython-311"]
    with pytest.raises(ValueError, match="does not run: not found"):
        interpreter(lambda argv: (127, "", "not found"), "/usr/bin/python9")

"""Environments: made once, shared, made again when somebody changed one, and a release's own when they must be."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import environments
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.environments import (
    Environments,
    Packages,
    PackagesError,
    Tools,
    is_intact,
    link_environment,
    synchronised,
)

PYTHON = "/usr/bin/python3"
IDS = (os.getuid(), os.getgid())


class Uv:
    """Stands for uv, setpriv and the interpreter."""

    def __init__(self) -> None:
        self.version = "3.11.2"
        self.calls: list[list[str]] = []
        self.directories: list[str | None] = []
        self.variables: list[dict[str, str]] = []
        self.failures = 0
        self.constraints: list[str] = []

    def __call__(
        self,
        argv: Sequence[str],
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> tuple[int, str, str]:
        if argv[0] == PYTHON:
            return 0, json.dumps([self.version, "cpython-311"]), ""
        assert argv[:5] == ["setpriv", "--reuid=build", "--regid=build", "--init-groups", "--"]
        assert len(pass_fds) == 1
        words = list(argv[6:])
        self.calls.append(words)
        self.directories.append(cwd)
        self.variables.append(dict(env or {}))
        self.constraints += [
            Path(word.partition("=")[2]).read_text() for word in words if word.startswith("--build-constraints=")
        ]
        if words[0] == "venv":
            (Path(words[-1]) / "bin").mkdir()
            (Path(words[-1]) / "bin" / "python").write_text("")
        elif self.failures:
            self.failures -= 1
            return 1, "", "no such package\nnothing fits"
        else:
            target = next((word.partition("=")[2] for word in words if word.startswith("--python=")), "")
            place = Path(target).parents[1] if target else Path((env or {})["UV_PROJECT_ENVIRONMENT"])
            (place / f"installed-{len(self.calls)}").write_text("x")
        return 0, "", ""

    @property
    def made(self) -> int:
        return sum(call[0] == "venv" for call in self.calls)


@pytest.fixture
def uv() -> Uv:
    return Uv()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "releases").mkdir()
    return tmp_path


@pytest.fixture
def known(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("known") / "files")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ownership is root's business.
    monkeypatch.setattr(os, "chown", lambda *arguments, **named: None)


def release(root: Path, name: str, requirements: str = "celery\n") -> Path:
    code = root / "releases" / name / "code"
    code.mkdir(parents=True)
    (code / "requirements.txt").write_text(requirements)
    return code.parent


def environments_of(root: Path, uv: Uv, known: str) -> Environments:
    tools = Tools("uv", "build", IDS, {"UV_NO_CONFIG": "1"})
    return Environments(str(root), tools, uv, known, sleep=lambda _seconds: None)


def packages(**given) -> Packages:
    return Packages(**{"python": PYTHON, "way": "requirements", "requirements": "requirements.txt", **given})


def test_two_releases_share_one(root: Path, uv: Uv, known: str) -> None:
    one, two = release(root, "one"), release(root, "two")
    (two / "code" / "app.py").write_text("changed")
    first = environments_of(root, uv, known).provide("one", packages())
    second = environments_of(root, uv, known).provide("two", packages())
    assert (first.made, second.made, uv.made) == (True, False, 1)
    assert first.path == second.path and first.path.startswith(f"{root}/environments/")
    assert (one / "venv").resolve() == (two / "venv").resolve() == Path(first.path) / "venv"
    assert str((one / "venv").readlink()).startswith("../../environments/")
    assert (one / "venv" / "bin" / "python").exists()
    assert uv.directories[-1] == str(one / "code")
    assert uv.variables[-1]["UV_NO_CONFIG"] == "1"
    told = json.loads((Path(first.path) / "complete").read_text())
    assert told["files"].keys() == {"requirements.txt"} and told["python"] == PYTHON


@pytest.mark.parametrize(
    "given",
    [
        {"extra": ["flower==2.2.0"]},
        {"constraints": ["setuptools<80"]},
        {"edition": "2"},
        {"index_url": "https://example.org/simple"},
        {"way": "none", "requirements": ""},
    ],
)
def test_other_packages_are_another_one(root: Path, uv: Uv, known: str, given: dict) -> None:
    release(root, "one")
    release(root, "two")
    first = environments_of(root, uv, known).provide("one", packages())
    second = environments_of(root, uv, known).provide("two", packages(**given))
    assert first.path != second.path and uv.made == 2
    assert (Path(first.path) / "venv" / "bin").is_dir(), "the one before has to stay for the release before"


def test_another_list_or_interpreter_is_another_one(root: Path, uv: Uv, known: str) -> None:
    release(root, "one")
    release(root, "two", "celery\nflower\n")
    release(root, "three")
    environments_of(root, uv, known).provide("one", packages())
    environments_of(root, uv, known).provide("two", packages())
    uv.version = "3.13.1"
    environments_of(root, uv, known).provide("three", packages())
    assert uv.made == 3


def test_a_lock_is_installed_frozen_and_without_the_project(root: Path, uv: Uv, known: str) -> None:
    code = release(root, "one") / "code"
    (code / "uv.lock").write_text("")
    (code / "pyproject.toml").write_text("")
    found = environments_of(root, uv, known).provide("one", packages(way="lock", requirements="uv.lock"))
    assert uv.calls[-1][:1] == ["sync"] and {"--frozen", "--no-install-project", "--no-dev"} < set(uv.calls[-1])
    assert uv.variables[-1]["UV_PROJECT_ENVIRONMENT"] == f"{found.path}/venv"


def test_constraints_reach_both_installations(root: Path, uv: Uv, known: str) -> None:
    release(root, "one")
    environments_of(root, uv, known).provide("one", packages(constraints=["a<1", "b<2"], extra=["c"]))
    assert uv.constraints == ["a<1\nb<2\n"] * 2


def test_one_with_a_part_of_the_tree_is_the_release_s_own(root: Path, uv: Uv, known: str) -> None:
    one, two = release(root, "one", "-e ./lib\n"), release(root, "two", "-e ./lib\n")
    found = [environments_of(root, uv, known).provide(name, packages()) for name in ("one", "two")]
    assert uv.made == 2 and all("-e ./lib" in one.local for one in found)
    assert not (one / "venv").is_symlink() and (two / "venv" / "bin").is_dir()
    # Of a complete release it stays: it is in use.
    (one / "complete").write_text("{}")
    assert not environments_of(root, uv, known).provide("one", packages()).made


def test_what_a_failed_attempt_left_is_never_used(root: Path, uv: Uv, known: str) -> None:
    directory = release(root, "one")
    uv.failures = environments.ATTEMPTS
    with pytest.raises(PackagesError, match="no such package nothing fits"):
        environments_of(root, uv, known).provide("one", packages())
    (half,) = [path for path in (root / "environments").iterdir() if path.is_dir()]
    assert not (half / "complete").exists() and not (directory / "venv").exists()
    (half / "venv" / "left").write_text("of other versions")
    found = environments_of(root, uv, known).provide("one", packages())
    assert found.made and found.path == str(half) and not (half / "venv" / "left").exists()


def test_it_is_tried_again(root: Path, uv: Uv, known: str) -> None:
    release(root, "one")
    uv.failures = environments.ATTEMPTS - 1
    assert environments_of(root, uv, known).provide("one", packages()).made


@pytest.mark.parametrize("change", ["content", "deleted", "added", "mark"])
def test_one_that_was_altered_is_left_and_made_anew(root: Path, uv: Uv, known: str, change: str) -> None:
    one = release(root, "one")
    first = Path(environments_of(root, uv, known).provide("one", packages()).path)
    file = first / "venv" / "bin" / "python"
    before = file.stat()
    assert is_intact(first, known)
    if change == "content":
        file.write_text("")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert is_intact(first, known)
        file.write_text("y")
    elif change == "deleted":
        file.unlink()
    elif change == "added":
        (first / "venv" / "more").write_text("")
    else:
        (first / "complete").write_text("garbage")
    assert not is_intact(first, known)
    second = environments_of(root, uv, known).provide("one", packages())
    assert second.made and second.path == f"{first}-2" and (one / "venv").resolve() == Path(second.path) / "venv"
    assert first.is_dir(), "something may run with it"
    assert environments_of(root, uv, known).provide("one", packages()).path == second.path and uv.made == 2


def test_one_that_was_made_anew_is_shared_when_the_first_is_gone(root: Path, uv: Uv, known: str) -> None:
    release(root, "one")
    release(root, "two")
    first = Path(environments_of(root, uv, known).provide("one", packages()).path)
    (first / "venv" / "more").write_text("")
    second = environments_of(root, uv, known).provide("one", packages())
    shutil.rmtree(first)
    assert environments_of(root, uv, known).provide("two", packages()) == (second.path, False, "")


def test_a_release_of_the_layout_before_gets_a_link(root: Path, uv: Uv, known: str) -> None:
    directory = release(root, "one")
    (directory / "venv" / "bin").mkdir(parents=True)
    found = environments_of(root, uv, known).provide("one", packages())
    assert (directory / "venv").resolve() == Path(found.path) / "venv"
    assert sorted(path.name for path in directory.iterdir()) == ["code", "venv"]


def test_an_interpreter_that_does_not_run(root: Path, uv: Uv, known: str) -> None:
    release(root, "one")

    def broken(argv: Sequence[str], *_more, **_named) -> tuple[int, str, str]:
        return 127, "", "not found"

    tools = Tools("uv", "build", IDS, {})
    with pytest.raises(PackagesError, match="does not run: not found"):
        Environments(str(root), tools, broken, known).provide("one", packages())


def test_two_runs_make_it_once(root: Path, uv: Uv, known: str) -> None:
    release(root, "one")
    release(root, "two")
    threads = [
        threading.Thread(target=environments_of(root, uv, known).provide, args=(name, packages()))
        for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert uv.made == 1


def test_a_run_that_never_ends_is_named(root: Path, uv: Uv, known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release(root, "one")
    monkeypatch.setattr(environments, "PATIENCE", 0.0)
    (root / "environments").mkdir()
    with (root / "environments" / "lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(PackagesError, match="environments/lock is its lock"):
            environments_of(root, uv, known).provide("one", packages())


def test_a_made_environment_is_read_only_for_its_builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, **named: owners.update({Path(path).name: (uid, gid)}))
    place = tmp_path / "venv"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "tool").write_text("")
    (place / "bin" / "tool").chmod(0o700)
    (place / "data").write_text("")
    (place / "data").chmod(0o664)
    (place / "bin" / "python").symlink_to("/usr/bin/python3")
    environments.hand_over(place, (0, 7))
    assert owners == dict.fromkeys(("venv", "bin", "tool", "data", "python"), (0, 7))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (place / "bin" / "tool", place / "data")}
    assert modes == {"tool": 0o750, "data": 0o644}


def test_a_link_is_replaced_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    link_environment(tmp_path / "venv", tmp_path / "a")
    link_environment(tmp_path / "venv", tmp_path / "b")
    link_environment(tmp_path / "venv", tmp_path / "b")
    assert str((tmp_path / "venv").readlink()) == "b"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("settings", "answer", "fits"),
    [
        ("version = 3.11.2\n", (0, "3.11\n", ""), True),
        ("version_info = 3.11.2.final.0\n", (0, "3.11\n", ""), True),
        ("version = 3.12.1\n", (0, "3.11\n", ""), False),
        ("version = 3.11.2\n", (127, "", "not found"), False),
        ("home = /usr/bin\n", (0, "3.11\n", ""), False),
        (None, (0, "3.11\n", ""), False),
    ],
)
def test_an_environment_of_the_tree(tmp_path: Path, settings: str | None, answer, fits: bool) -> None:
    (tmp_path / "code" / ".venv").mkdir(parents=True)
    if settings is not None:
        (tmp_path / "code" / ".venv" / "pyvenv.cfg").write_text(settings)

    def run(*_arguments, **_named) -> tuple[int, str, str]:
        return answer

    if fits:
        assert synchronised(tmp_path, ".venv", run).path == str(tmp_path / "venv")
        assert str((tmp_path / "venv").readlink()) == "code/.venv"
    else:
        with pytest.raises(PackagesError, match="Python"):
            synchronised(tmp_path, ".venv", run)

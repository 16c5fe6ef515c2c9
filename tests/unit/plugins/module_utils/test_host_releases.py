"""Releases of a host: fetched by the real rsync, looked at, and removed when nobody needs them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import manifest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import release_make as making
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import build
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.release_make import (
    ReleaseError,
    Releases,
    Tree,
    directory_of,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.releases import gone, look, prune

RSYNC = ("rsync", "--recursive", "--links", "--perms", "--times", "--hard-links", "--delete")
FILES = 12


def run(argv, *_more, **_named) -> tuple[int, str, str]:

    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


class Host:
    """A host with a source tree beside its releases."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.config = self.root / "config"
        self.source = place / "source"
        self.known = str(place / "known")
        (self.root / "releases").mkdir(parents=True)
        (self.config / "releases").mkdir(parents=True)
        for number in range(FILES):
            path = self.source / f"d{number % 2}" / f"{number}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"number {number:04}")

    def tree(self, **given) -> Tree:
        digest = build(str(self.source)).digest
        return Tree(**{**Tree(digest, FILES, "/srv/shop", "w1", RSYNC, f"{self.source}/")._asdict(), **given})

    def releases(self) -> Releases:
        return Releases(str(self.root), self.known, run, sleep=lambda _seconds: None)

    def deploy(self, name: str, **given) -> Path:
        """Fetched, complete, with an environment, and switched on."""
        directory = directory_of(str(self.root), name, (os.getuid(), os.getgid()))
        tree = self.tree(**given)
        self.releases().fetch(directory, tree)
        environment = self.root / "environments" / f"of-{name}"
        (environment / "venv" / "bin").mkdir(parents=True)
        content = {"manifest": build(str(environment / "venv")).digest}
        (environment / "complete").write_text(json.dumps(content))
        (directory / "venv").symlink_to(f"../../environments/of-{name}/venv")
        (directory / "complete").write_text(json.dumps({"id": name, "manifest": tree.digest}))
        (self.config / "releases" / name).mkdir()
        self.switch(name)
        return directory

    def switch(self, name: str) -> None:
        link = self.root / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(f"releases/{name}")

    def prune(self, kept: list[str], keep: int = 1, units: tuple[str, ...] = (), check: bool = False):
        return prune(str(self.root), str(self.config), kept, keep, units, self.known, check)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(os, "chown", lambda *arguments, **named: None)
    return Host(tmp_path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    paths: list[str] = []
    original = manifest._hash_file

    def counted(path: bytes) -> tuple[int, bytes]:
        paths.append(Path(os.fsdecode(path)).name)
        return original(path)

    monkeypatch.setattr(manifest, "_hash_file", counted)
    return paths


def in_releases(host: Host, read: list[str], name: str) -> list[str]:
    """What is read while the release is fetched."""
    tree = host.tree()
    directory = directory_of(str(host.root), name, (0, 0))
    read.clear()
    host.releases().fetch(directory, tree)
    return sorted(read)


def behind(path: Path, content: str) -> None:
    """Other content of the same size under the same time."""
    before = path.stat()
    path.write_text(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_only_changed_files_are_read_on_the_receiving_host(host: Host, read: list[str]) -> None:
    host.deploy("one")
    (host.source / "d0" / "0.py").write_text("number 9999")
    assert in_releases(host, read, "two") == ["0.py"]
    one, two = (host.root / "releases" / name / "code" / "d1" / "1.py" for name in ("one", "two"))
    assert one.stat().st_ino == two.stat().st_ino


def test_also_after_old_releases_were_removed(host: Host, read: list[str]) -> None:
    for name in ("one", "two", "three"):
        (host.source / "d0" / "0.py").write_text(f"number {name}")
        host.deploy(name)
    assert host.prune(["three"]).releases == ["two", "one"] or host.prune(["three"]).releases == []
    (host.source / "d0" / "0.py").write_text("number 9999")
    assert in_releases(host, read, "four") == ["0.py"]


def test_a_file_changed_behind_its_time_is_not_taken_into_the_next_release(host: Host) -> None:
    one = host.deploy("one")
    behind(one / "code" / "d1" / "1.py", "NUMBER 0001")
    two = host.deploy("two")
    assert (two / "code" / "d1" / "1.py").read_text() == "number 0001"
    assert look(str(host.root), "two", host.known).changed == ""


def test_a_source_that_changes_meanwhile(host: Host) -> None:
    with pytest.raises(
        ReleaseError, match=r"tree on w1 \(12 files\) differs from its source .* /srv/shop; the running"
    ):
        host.deploy("one", digest="0" * 64)


def test_a_source_that_cannot_be_read(host: Host) -> None:
    with pytest.raises(ReleaseError, match=r"rsync cannot fetch /srv/shop .*No such file"):
        host.deploy("one", rsync_source=f"{host.source}/nothing/")


def test_rsync_is_tried_again(host: Host) -> None:
    codes = iter([(10, "", "socket")] * (making.ATTEMPTS - 1))

    def at_last(argv, *_more, **_named) -> tuple[int, str, str]:
        return next(codes, None) or run(argv)

    directory = directory_of(str(host.root), "one", (0, 0))
    Releases(str(host.root), host.known, at_last, sleep=lambda _seconds: None).fetch(directory, host.tree())


def test_a_tree_that_comes_from_the_controller(host: Host, read: list[str]) -> None:
    host.deploy("one")
    (host.source / "d0" / "0.py").write_text("number 99999")
    directory = directory_of(str(host.root), "two", (0, 0))
    tree = host.tree(rsync=())
    read.clear()
    share, intact = host.releases().begin(directory)
    assert (share, intact) == (str(host.root / "releases" / "one" / "code"), True)
    run([*RSYNC, f"--link-dest={share}", f"{host.source}/", f"{directory}/code/"])
    host.releases().fetch(directory, tree)
    assert read == ["0.py"]
    behind(directory / "code" / "d1" / "1.py", "NUMBER 0001")
    host.switch("one")
    assert host.releases().begin(directory_of(str(host.root), "three", (0, 0)))[1] is False, "one shares the file"


def test_what_differed_is_compared_by_content_the_next_time(host: Host) -> None:
    directory = directory_of(str(host.root), "one", (0, 0))
    host.releases().begin(directory)
    run([*RSYNC, f"{host.source}/", f"{directory}/code/"])
    behind(host.source / "d1" / "1.py", "NUMBER 0001")
    with pytest.raises(ReleaseError, match="differs from its source"):
        host.releases().fetch(directory, host.tree(rsync=()))
    assert host.releases().begin(directory) == ("", False)
    run([*RSYNC, "--checksum", f"{host.source}/", f"{directory}/code/"])
    host.releases().fetch(directory, host.tree(rsync=()))
    assert host.releases().begin(directory) == ("", True)


def test_the_first_release_shares_nothing(host: Host) -> None:
    assert host.releases().begin(directory_of(str(host.root), "one", (0, 0))) == ("", True)


def test_look(host: Host) -> None:
    assert look(str(host.root / "nothing"), "one", host.known) == (False, "", {}, "")
    assert look(str(host.root), "one", host.known) == (False, "", {}, "")
    one = host.deploy("one")
    (host.root / "other").symlink_to("elsewhere")
    assert look(str(host.root), "one", host.known) == (True, "", {"current": "one"}, str(one / "code"))
    assert not look(str(host.root), "", host.known).complete


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("content", "code is not what was deployed"),
        ("added", "code is not what was deployed"),
        ("deleted", "code is not what was deployed"),
        ("mark", "cannot be read"),
        ("no environment", "venv is not there"),
        ("environment", "is not what was installed"),
    ],
)
def test_what_was_altered_is_told(host: Host, change: str, told: str) -> None:
    one = host.deploy("one")
    file = one / "code" / "d1" / "1.py"
    assert not look(str(host.root), "one", host.known).changed
    if change == "content":
        behind(file, "NUMBER 0001")
    elif change == "added":
        (one / "code" / "more.py").write_text("")
    elif change == "deleted":
        file.unlink()
    elif change == "mark":
        (one / "complete").write_text("{}")
    elif change == "no environment":
        (one / "venv").unlink()
    else:
        (one / "venv" / "bin" / "more").write_text("")
    assert told in look(str(host.root), "one", host.known).changed


def test_what_was_altered_is_mended(host: Host) -> None:
    one = host.deploy("one")
    behind(one / "code" / "d1" / "1.py", "NUMBER 0001")
    (one / "code" / "more.py").write_text("")
    (one / "code" / "d0" / "0.py").unlink()
    host.releases().fetch(one, host.tree())
    assert look(str(host.root), "one", host.known).changed == ""


def test_a_release_of_the_layout_before_is_whole(host: Host) -> None:
    one = host.deploy("one")
    (one / "venv").unlink()
    (one / "venv" / "bin").mkdir(parents=True)
    assert look(str(host.root), "one", host.known).changed == ""


FOUND = [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0), ("e", 5.0)]


@pytest.mark.parametrize(
    ("kept", "keep", "units", "left"),
    [
        (["e", "d"], 3, [], ["c", "d", "e"]),
        (["a"], 2, [], ["a", "e"]),
        (["a", "b", ""], 1, [], ["a", "b"]),
        (["e"], 1, ["shop-worker-x@b.service", "shop-beat@c.2.service", "shop-flower@dd.service"], ["b", "c", "e"]),
        ([], 9, [], ["a", "b", "c", "d", "e"]),
    ],
)
def test_which_releases_stay(kept: list[str], keep: int, units: list[str], left: list[str]) -> None:
    assert sorted({name for name, _made in FOUND} - set(gone(FOUND, kept, keep, units))) == left


def test_prune(host: Host) -> None:
    for number, name in enumerate(("one", "two", "three")):
        os.utime(host.deploy(name), (number, number))
    for place in (host.root, host.config):
        (place / "releases" / "one.2").symlink_to("one")
        (place / "releases" / "three.2").symlink_to("three")
    (host.root / "environments" / "half" / "venv").mkdir(parents=True)
    expected = (["one"], [f"{place}/releases/one.2" for place in (host.root, host.config)], ["half", "of-one"])
    assert host.prune(["three", "two"], keep=2, check=True) == expected
    assert (host.root / "releases" / "one").is_dir()
    assert host.prune(["three", "two"], keep=2) == expected
    for place in (host.root, host.config):
        assert sorted(path.name for path in (place / "releases").iterdir()) == ["three", "three.2", "two"]
    assert sorted(path.name for path in (host.root / "environments").iterdir()) == ["lock", "of-three", "of-two"]
    assert host.prune(["three", "two"], keep=2) == ([], [], [])


def test_an_environment_that_two_releases_share_stays_until_both_are_gone(host: Host) -> None:
    for number, name in enumerate(("one", "two")):
        os.utime(host.deploy(name), (number, number))
    link = host.root / "releases" / "two" / "venv"
    link.unlink()
    link.symlink_to("../../environments/of-one/venv")
    assert host.prune(["two"]).environments == ["of-two"]
    assert (link / "bin").is_dir()


def test_no_environment_goes_while_one_is_made(host: Host) -> None:
    host.deploy("one")
    (host.root / "environments" / "being-made").mkdir()
    with (host.root / "environments" / "lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert host.prune(["one"]).environments == []
    assert host.prune(["one"]).environments == ["being-made"]


def test_nothing_to_prune_on_an_empty_host(tmp_path: Path) -> None:
    assert prune(str(tmp_path / "no"), str(tmp_path / "no"), [], 1, [], str(tmp_path / "k"), False) == ([], [], [])


def test_a_look_that_keeps_nothing(host: Host) -> None:
    host.deploy("one")
    before = {path.name: path.read_bytes() for path in Path(host.known).iterdir()}
    (host.root / "releases" / "one" / "code" / "more.py").write_text("")
    assert look(str(host.root), "one", host.known, keep=False).changed
    assert {path.name: path.read_bytes() for path in Path(host.known).iterdir()} == before
    assert look(str(host.root), "one", host.known).changed
    assert {path.name: path.read_bytes() for path in Path(host.known).iterdir()} != before

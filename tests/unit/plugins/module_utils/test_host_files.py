"""Files, directories and links as they come to be on a real file system, with real users."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import host_files
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.host_files import Entry, FileError, apply

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")

NOGROUP = grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name
BIG = 1 << 20


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def place(
    path: Path, check: bool = False, planned: dict[str, Any] | None = None, **options: Any
) -> tuple[str, str] | None:
    return apply(Entry({"path": str(path), **options}), check, planned)


def attributes(path: Path) -> tuple[str, str, str]:
    there = path.lstat()
    return pwd.getpwuid(there.st_uid)[0], grp.getgrgid(there.st_gid)[0], f"{stat.S_IMODE(there.st_mode):04o}"


def snapshot(folder: Path) -> dict[str, Any]:
    """Everything below a folder that a check must leave alone, including the time of the last change."""
    found: dict[str, Any] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        there = path.lstat()
        found[str(path)] = (
            there.st_mode,
            there.st_uid,
            there.st_gid,
            there.st_ino,
            there.st_ctime_ns,
            path.read_bytes() if stat.S_ISREG(there.st_mode) else path.readlink() if path.is_symlink() else None,
        )
    return found


# --------------------------------------------------------------------------------------------------
# Files


def test_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    assert place(file, content="x = 1\n", owner="nobody", group=NOGROUP, mode="0640") == ("", "x = 1\n")
    assert file.read_text() == "x = 1\n"
    assert attributes(file) == ("nobody", NOGROUP, "0640")
    assert list(tmp_path.iterdir()) == [file]


def test_defaults_are_not_the_umask(tmp_path: Path) -> None:
    place(tmp_path / "file", content="")
    place(tmp_path / "folder", state="directory")
    assert attributes(tmp_path / "file") == ("root", "root", "0644")
    assert attributes(tmp_path / "folder") == ("root", "root", "0755")


def test_the_second_time_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "part").write_text("part\n")
    wishes: list[dict[str, Any]] = [
        {"path": tmp_path / "d", "state": "directory", "owner": "nobody", "group": NOGROUP, "mode": "02750"},
        {"path": tmp_path / "d/f", "content": "é\n", "owner": "nobody", "group": NOGROUP, "mode": "0600"},
        {"path": tmp_path / "d/joined", "parts": [str(tmp_path / "part"), str(tmp_path / "d/f")]},
        {"path": tmp_path / "l", "state": "link", "src": "d/f"},
        {"path": tmp_path / "gone", "state": "absent"},
    ]
    first = [place(**wish) for wish in wishes]
    assert [change is None for change in first] == [False, False, False, False, True]
    assert attributes(tmp_path / "d") == ("nobody", NOGROUP, "2750")
    before = snapshot(tmp_path)
    assert [place(**wish) for wish in wishes] == [None] * 5
    assert snapshot(tmp_path) == before


def test_a_changed_file_is_a_new_one_with_its_attributes(tmp_path: Path) -> None:
    file = tmp_path / "a"
    place(file, content="old\n")
    inode = file.stat().st_ino
    assert place(file, content="new\n", owner="nobody", group=NOGROUP, mode="0600") == ("old\n", "new\n")
    assert attributes(file) == ("nobody", NOGROUP, "0600")
    assert file.stat().st_ino != inode


def test_only_the_attributes_are_changed_when_the_content_is_right(tmp_path: Path) -> None:
    file = tmp_path / "a"
    place(file, content="same\n")
    inode = file.stat().st_ino
    assert place(file, content="same\n", owner="nobody", group=NOGROUP, mode="0600") == (
        "owner: root\ngroup: root\nmode: 0644\n",
        f"owner: nobody\ngroup: {NOGROUP}\nmode: 0600\n",
    )
    assert attributes(file) == ("nobody", NOGROUP, "0600")
    assert file.stat().st_ino == inode


def test_an_owner_without_a_name_is_shown_by_number(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    os.chown(file, 54321, 54322)
    change = place(file, content="x")
    assert change is not None
    assert change[0].startswith("owner: 54321\ngroup: 54322\n")


def test_the_content_of_a_secret_is_in_no_diff(tmp_path: Path) -> None:
    file = tmp_path / "a"
    changes = [place(file, content=text, secret=True, mode="0600") for text in ("hunter1", "hunter2")]
    changes.append(place(file, content="hunter2", secret=True, mode="0640"))
    assert all(changes)
    assert "hunter" not in str(changes)
    assert file.read_text() == "hunter2"


@pytest.mark.parametrize("mode", ["640", "416", "0o640", "u=rw", "0888", "0640\n", "007777"])
def test_a_mode_that_is_ambiguous_is_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(FileError, match="is not a quoted octal number with a leading 0"):
        place(tmp_path / "a", content="x", mode=mode)


def test_what_stands_in_the_way_is_not_removed(tmp_path: Path) -> None:
    folder, file, link = tmp_path / "folder", tmp_path / "file", tmp_path / "link"
    folder.mkdir()
    file.write_text("x")
    link.symlink_to("/etc/passwd")
    before = snapshot(tmp_path)
    for path, options, message in (
        (folder, {"content": ""}, "is not a regular file"),
        (link, {"content": ""}, "is not a regular file"),
        (file, {"state": "directory"}, "is not a directory"),
        (link, {"state": "directory"}, "is not a directory"),
        (file, {"state": "link", "src": "x"}, "is not a link"),
        (folder, {"state": "link", "src": "x"}, "is not a link"),
        (folder, {"state": "absent"}, "is a directory"),
    ):
        for check in (True, False):
            with pytest.raises(FileError, match=message):
                place(path, check=check, **options)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content": "x", "owner": "nobody-of-that-name"}, "no user nobody-of-that-name or no group"),
        ({"content": "x", "owner": "root", "group": "no-such-group"}, "no group no-such-group"),
        ({"parts": ["/no/such/part"]}, "its part /no/such/part does not exist"),
    ],
)
def test_what_is_missing_is_named_and_a_check_counts_it_as_a_change(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    for name in ("new", "old"):
        (tmp_path / "old").write_text("y")
        before = snapshot(tmp_path)
        assert place(tmp_path / name, check=True, **options) is not None
        with pytest.raises(FileError, match=message):
            place(tmp_path / name, **options)
        assert snapshot(tmp_path) == before


def test_a_right_file_whose_owner_does_not_exist_yet_is_a_change_in_check_mode(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert place(tmp_path / "a", check=True, content="x", owner="nobody-of-that-name") is not None
    assert place(tmp_path / "d", check=True, state="directory", owner="nobody-of-that-name") is not None


def test_a_relative_path_and_a_missing_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="absolute path"):
        apply(Entry({"path": "a", "content": ""}), False)
    with pytest.raises(FileError, match=f"the directory {tmp_path}/no does not exist: list it before the file"):
        place(tmp_path / "no" / "a", content="")


# --------------------------------------------------------------------------------------------------
# Parts


def test_parts_are_joined_at_line_ends(tmp_path: Path) -> None:
    for name, content in (("a", "one"), ("b", ""), ("c", "two\n"), ("d", "three")):
        (tmp_path / name).write_text(content)
    place(tmp_path / "all", parts=[str(tmp_path / name) for name in "abcd"])
    assert (tmp_path / "all").read_text() == "one\ntwo\nthree\n"


def test_a_check_knows_the_parts_that_it_would_have_written(tmp_path: Path) -> None:
    place(tmp_path / "ca", content="old\n")
    place(tmp_path / "trust", parts=[str(tmp_path / "ca")])
    for ca, changed in (("new\n", True), ("old\n", False)):
        planned: dict[str, Any] = {}
        assert (place(tmp_path / "ca", check=True, planned=planned, content=ca) is not None) is changed
        change = place(tmp_path / "trust", check=True, planned=planned, parts=[str(tmp_path / "ca")])
        assert change == (("old\n", "new\n") if changed else None)
    planned = {}
    place(tmp_path / "ca", check=True, planned=planned, parts=["/no/such/part"])
    assert place(tmp_path / "trust", check=True, planned=planned, parts=[str(tmp_path / "ca")]) is not None


# --------------------------------------------------------------------------------------------------
# Links


def test_a_link_is_made_and_switched(tmp_path: Path) -> None:
    link = tmp_path / "current"
    assert place(link, state="link", src="releases/1") == ("state: absent\n", "src: releases/1\n")
    assert place(link, state="link", src="releases/2") == ("src: releases/1\n", "src: releases/2\n")
    assert str(link.readlink()) == "releases/2"
    assert place(link, state="absent") == ("state: present\n", "state: absent\n")
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_cannot_be_switched_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "current"
    link.symlink_to("1")
    monkeypatch.setattr(host_files.os, "replace", failing(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        place(link, state="link", src="2")
    assert str(link.readlink()) == "1"
    assert list(tmp_path.iterdir()) == [link]


# --------------------------------------------------------------------------------------------------
# Check mode, and writes that fail


CHANGES: list[dict[str, Any]] = [
    {"path": "new", "content": "x\n"},
    {"path": "old", "content": "changed\n"},
    {"path": "old", "content": "old\n", "mode": "0600"},
    {"path": "old", "content": "old\n", "owner": "nobody", "group": NOGROUP},
    {"path": "old", "parts": ["/etc/hostname", "/etc/passwd"]},
    {"path": "old", "state": "absent"},
    {"path": "folder", "state": "directory", "mode": "0700"},
    {"path": "folder", "state": "directory", "group": NOGROUP},
    {"path": "new", "state": "directory"},
    {"path": "link", "state": "link", "src": "elsewhere"},
    {"path": "link", "state": "absent"},
    {"path": "new", "state": "link", "src": "old"},
]


@pytest.mark.parametrize("wish", CHANGES, ids=lambda wish: " ".join(map(str, wish.values())))
def test_a_check_says_what_a_run_does_and_does_nothing(tmp_path: Path, wish: dict[str, Any]) -> None:
    place(tmp_path / "old", content="old\n")
    place(tmp_path / "folder", state="directory")
    place(tmp_path / "link", state="link", src="old")
    wish = {**wish, "path": tmp_path / wish["path"]}
    before = snapshot(tmp_path)
    predicted = place(**wish, check=True)
    assert snapshot(tmp_path) == before
    assert predicted is not None
    assert place(**wish) == predicted
    assert place(**wish, check=True) is None


def failing(error: BaseException) -> Callable[..., Any]:
    def call(*_arguments: Any, **_options: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize("step", ["fsync", "chown", "chmod", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stopped"]
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    file = tmp_path / "a"
    place(file, content="old\n", mode="0640")
    before = snapshot(file)
    with monkeypatch.context() as patch:
        patch.setattr(host_files.os, step, failing(error))
        with pytest.raises(type(error)):
            place(file, content="new\n")
    assert snapshot(file) == before
    assert list(tmp_path.iterdir()) == [file]


def test_the_kernel_stops_a_write_half_way(tmp_path: Path) -> None:
    file = tmp_path / "a"
    place(file, content="old\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BIG // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            place(file, content="n" * BIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [file]


def test_readers_see_one_file_or_the_other(tmp_path: Path) -> None:
    file = tmp_path / "a"
    contents = ["a" * BIG, "b" * BIG]
    place(file, content=contents[0], owner="nobody", group=NOGROUP, mode="0600")
    done = threading.Event()
    seen: list[tuple[str, int, tuple[str, str, str]]] = []

    def read() -> None:
        while not done.is_set():
            text = file.read_text()
            seen.append((text[0], len(set(text)) + len(text), attributes(file)))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 16):
        place(file, content=contents[number % 2], owner="nobody", group=NOGROUP, mode="0600")
    done.set()
    reader.join()
    assert {kind for kind, _size, _attributes in seen} == {"a", "b"}
    assert {(size, owned) for _kind, size, owned in seen} == {(BIG + 1, ("nobody", NOGROUP, "0600"))}

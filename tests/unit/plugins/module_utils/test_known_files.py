"""Files that did not change are not read again, and every file that changed is."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import known_files, manifest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.known_files import KnownFiles, Store
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import build, build_with_store

FILES = 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number in range(FILES):
        path = root / f"d{number % 3}" / f"{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"number {number:04}")
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read."""
    paths: list[str] = []
    original = manifest._hash_file

    def counted(path: bytes) -> tuple[int, bytes]:
        paths.append(os.fsdecode(path))
        return original(path)

    monkeypatch.setattr(manifest, "_hash_file", counted)
    return paths


def names(read: list[str]) -> list[str]:
    found = sorted(Path(path).name for path in read)
    read.clear()
    return found


def test_only_what_changed_is_read_again(tree: Path, tmp_path: Path, read: list[str]) -> None:
    known = str(tmp_path / "known")
    first = build_with_store(str(tree), [], known)
    assert len(names(read)) == FILES
    assert build_with_store(str(tree), [], known) == first
    assert names(read) == []
    (tree / "d0" / "0.py").write_text("number 9999")
    (tree / "d1" / "new.py").write_text("new")
    second = build_with_store(str(tree), [], known)
    assert names(read) == ["0.py", "new.py"]
    assert second == build(str(tree)) and second.digest != first.digest


def same_inode(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"NUMBER")


def other_inode(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes().replace(b"number", b"NUMBER"))
    other.replace(path)


@pytest.mark.parametrize("change", [same_inode, other_inode])
def test_a_change_behind_a_restored_time_is_found(tree: Path, tmp_path: Path, change) -> None:
    known, path = str(tmp_path / "known"), tree / "d1" / "1.py"
    first = build_with_store(str(tree), [], known)
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert build_with_store(str(tree), [], known).digest != first.digest


def test_a_file_that_was_just_written_is_not_kept(tree: Path) -> None:
    """Its next change could fall into the same tick of the clock."""
    files = KnownFiles(sleep=lambda _seconds: None)
    (tree / "d0" / "0.py").write_text("just now")
    build(str(tree), (), files)
    assert (tree / "d0" / "0.py").stat().st_ino not in {key[1] for key in files.used}


def test_after_a_moment_it_is(tree: Path) -> None:
    (tree / "d0" / "0.py").write_text("just now")
    files = KnownFiles()
    build(str(tree), (), files)
    assert len(files.used) == FILES


@pytest.mark.parametrize(("age", "kept"), [(1.0, False), (3.0, True)])
def test_whole_seconds_are_a_coarse_clock(age: float, kept: bool) -> None:
    whole = 100 * known_files.SECOND
    info = SimpleNamespace(st_mode=0o100644, st_dev=5, st_ino=6, st_size=7, st_mtime_ns=whole, st_ctime_ns=whole)
    files = KnownFiles(clock=lambda: int((100 + age) * known_files.SECOND), sleep=lambda _seconds: None)
    files.begin()
    files.remember(info, b"x" * 32)
    assert bool(files.used) == kept


def linked(tree: Path, target: Path) -> None:
    subprocess.run(["rsync", "-rlpt", f"--link-dest={tree}", f"{tree}/", f"{target}/"], check=True)


def test_new_names_do_not_make_files_unknown(tree: Path, tmp_path: Path, read: list[str]) -> None:
    files = KnownFiles()
    digest = build(str(tree), (), files).digest
    names(read)
    later = KnownFiles(files.used)
    later.before_linking(str(tree))
    linked(tree, tmp_path / "copy")
    assert build(str(tmp_path / "copy"), (), later).digest == digest
    assert names(read) == []
    # What is kept for the next time is good for both, until names go.
    assert build(str(tree), (), KnownFiles(later.used)).digest == digest
    assert names(read) == []
    last = KnownFiles(later.used)
    last.before_linking(str(tree))
    shutil.rmtree(tmp_path / "copy")
    last.renew(str(tree))
    assert build(str(tree), (), KnownFiles(last.used)).digest == digest
    assert names(read) == []


def test_new_names_without_a_note_are_read(tree: Path, tmp_path: Path, read: list[str]) -> None:
    files = KnownFiles()
    build(str(tree), (), files)
    names(read)
    linked(tree, tmp_path / "copy")
    build(str(tmp_path / "copy"), (), KnownFiles(files.used))
    assert len(names(read)) == FILES


def test_what_was_changed_before_the_note_is_read(tree: Path, tmp_path: Path, read: list[str]) -> None:
    files = KnownFiles()
    build(str(tree), (), files)
    names(read)
    path = tree / "d1" / "1.py"
    before = path.stat()
    same_inode(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    later = KnownFiles(files.used)
    later.before_linking(str(tree))
    linked(tree, tmp_path / "copy")
    build(str(tmp_path / "copy"), (), later)
    assert names(read) == ["1.py"]


KEY = (1, 2, 3, 4, 5)


def test_a_store_gives_back_what_it_got(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "a" / "b"), "x")
    assert store.save({KEY: b"d" * 32})
    assert store.load() == {KEY: b"d" * 32}
    assert store.path.stat().st_mode & 0o777 == 0o600 and store.path.parent.stat().st_mode & 0o777 == 0o700
    store.remove()
    assert store.load() == {}
    store.remove()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)


def replaced(path: Path) -> None:
    path.write_text("not ours")


def writable(path: Path) -> None:
    path.chmod(0o666)


def open_directory(path: Path) -> None:
    path.parent.chmod(0o777)


def link(path: Path) -> None:
    path.rename(path.with_name("y"))
    path.symlink_to("y")


@pytest.mark.parametrize("spoil", [cut, flipped, replaced, writable, open_directory, link])
def test_a_store_that_cannot_be_trusted_is_empty(tmp_path: Path, spoil) -> None:
    store = Store(str(tmp_path / "known"), "x")
    assert store.save({KEY: b"d" * 32})
    spoil(store.path)
    assert store.load() == {}


def test_a_store_that_cannot_be_written_is_no_reason_to_fail(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert build_with_store(str(tree), [], str(tmp_path / "file")) == build(str(tree))


@pytest.mark.parametrize("place", [".", "d0", "new/deeper"])
def test_no_store_in_the_tree_itself(tree: Path, place: str) -> None:
    before = build(str(tree))
    assert build_with_store(str(tree), [], str(tree / place)) == before
    assert build(str(tree)) == before


def test_a_large_tree_is_known_quickly(tmp_path: Path) -> None:
    for number in range(100):
        directory = tmp_path / "tree" / f"d{number:03}"
        directory.mkdir(parents=True)
        for inner in range(50):
            (directory / f"f{inner}.py").write_bytes(b"%d/%d" % (number, inner))
    known = str(tmp_path / "known")
    build_with_store(str(tmp_path / "tree"), [], known)
    started = time.monotonic()
    assert build_with_store(str(tmp_path / "tree"), [], known).files == 5000
    assert time.monotonic() - started < 6

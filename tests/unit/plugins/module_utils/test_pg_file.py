"""Replacing pg_hba.conf: the old content is within reach until the judgement, and nobody else's change is lost."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import pg_file
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_file import FileError, Swap, write_secret

OLD, NEW = b"local all all peer\n# caf\xe9", b"local all all peer\r\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pg_hba.conf"
    path.write_bytes(OLD)
    path.chmod(0o640)
    os.utime(path, (1000, 1000))
    return path


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_the_old_content_stays_beside_until_it_is_settled(file: Path) -> None:
    swap = Swap(str(file))
    swap.replace(OLD, NEW)
    assert file.read_bytes() == NEW
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.stat().st_mtime > 1000
    assert names(file.parent) == [".pg_hba.conf.celery-cluster-before", "pg_hba.conf"]
    assert swap.left_over() == OLD
    swap.settle()
    assert names(file.parent) == ["pg_hba.conf"]
    assert swap.left_over() is None


def test_put_back_it_is_the_same_file(file: Path) -> None:
    number = file.stat().st_ino
    swap = Swap(str(file))
    swap.replace(OLD, NEW)
    swap.restore()
    there = file.stat()
    assert (file.read_bytes(), there.st_ino, there.st_mtime) == (OLD, number, 1000)
    assert names(file.parent) == ["pg_hba.conf"]


def test_put_back_as_of_now_so_that_a_server_reads_it_again(file: Path) -> None:
    swap = Swap(str(file))
    swap.replace(OLD, NEW)
    written = file.stat().st_mtime
    swap.restore(touch=True)
    assert file.read_bytes() == OLD
    assert file.stat().st_mtime >= written


def test_a_link_is_followed_and_stays(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "etc" / "hba"
    link.parent.mkdir()
    link.symlink_to(file)
    swap = Swap(str(link))
    swap.replace(OLD, NEW)
    assert link.is_symlink()
    assert file.read_bytes() == NEW
    assert swap.left_over() == OLD
    assert names(link.parent) == ["hba"]


@pytest.mark.parametrize("when", ["before", "while"])
def test_the_change_of_somebody_else_is_noticed(file: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    if when == "before":
        file.write_bytes(b"theirs")
    else:
        written_aside = Swap._written_aside

        def meanwhile(self: Swap, new: bytes) -> Path:
            file.write_bytes(b"theirs")
            return written_aside(self, new)

        monkeypatch.setattr(Swap, "_written_aside", meanwhile)
    with pytest.raises(FileError, match="changed by somebody else while this ran: run again"):
        Swap(str(file)).replace(OLD, NEW)
    assert file.read_bytes() == b"theirs"
    assert names(file.parent) == ["pg_hba.conf"]


def test_a_failure_while_writing_leaves_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Swap(str(file)).replace(OLD, NEW)
    assert file.read_bytes() == OLD
    assert names(file.parent) == ["pg_hba.conf"]


def test_one_run_at_a_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_file, "_PATIENCE", 0.2)
    monkeypatch.setattr(pg_file, "_PAUSE", 0.01)
    with Swap(str(file)).locked(), pytest.raises(FileError, match="another run"), Swap(str(file)).locked():
        pass
    with Swap(str(file)).locked():
        pass


def test_what_a_run_that_still_goes_on_has_beside_is_no_left_over(file: Path) -> None:
    swap, entered, go_on = Swap(str(file)), threading.Event(), threading.Event()

    def other() -> None:
        with swap.locked():
            swap.replace(OLD, NEW)
            entered.set()
            go_on.wait(5)
            swap.settle()

    running = threading.Thread(target=other)
    running.start()
    entered.wait(5)
    threading.Timer(0.2, go_on.set).start()
    assert Swap(str(file)).left_over() is None
    running.join()


def test_problems_are_told_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Swap(str(file)).problems() == []
    assert "cannot be looked at (No such file" in Swap(str(file.parent / "other")).problems()[0]
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert f"belongs to the account with the number {file.stat().st_uid}" in Swap(str(file)).problems()[0]
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert f"the directory {file.parent} cannot be written to" in Swap(str(file)).problems()[0]


def test_a_secret_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "userlist.txt"
    path.write_text("old")
    path.chmod(0o644)
    write_secret(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileNotFoundError):
        write_secret(tmp_path / "missing" / "userlist.txt", b"new")
    assert names(tmp_path) == ["userlist.txt"]

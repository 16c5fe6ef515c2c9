"""No engine: what is installed, and what is said when it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import common
import engine


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """No daemon answers; the list receives what would be installed."""
    installed: list[str] = []
    monkeypatch.setattr(engine, "version", lambda: "")
    monkeypatch.setattr(engine, "wait_for", lambda seconds: "28.0" if seconds > 10 else "")
    monkeypatch.setattr(engine, "start", lambda: None)
    monkeypatch.setattr(engine, "apt_install", lambda packages, purpose: installed.extend(packages))
    monkeypatch.setattr(common, "CACHE", tmp_path)
    yield installed


@pytest.mark.parametrize(
    ("dockerd", "words"),
    [(None, "install docker (Debian: docker.io) or run as root"), ("/usr/sbin/dockerd", "join the group `docker`")],
)
def test_without_root_one_line_says_what_to_do(
    no_engine: list[str], monkeypatch: pytest.MonkeyPatch, dockerd: str | None, words: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda _name: dockerd)
    with pytest.raises(common.UserError) as caught:
        engine.ensure()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert no_engine == []


def test_root_installs_and_starts(no_engine: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert engine.ensure() == "28.0"
    assert no_engine == ["docker.io", "iptables", "mmdebstrap"]


def test_an_engine_that_answers_is_used_as_it_is(no_engine: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "version", lambda: "20.10.24")
    assert engine.ensure() == "20.10.24"
    assert no_engine == []


def test_only_our_own_daemon_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file = tmp_path / "dockerd.pid"
        # The number in the file is by now another program's.
        pid_file.write_text(str(stranger.pid), encoding="ascii")
        monkeypatch.setattr(engine, "PID_FILE", pid_file)
        monkeypatch.setattr(common, "CACHE", tmp_path)
        engine.stop()
        assert stranger.poll() is None
        assert not pid_file.exists()
        stranger.kill()


def test_a_failed_command_is_one_line() -> None:
    with pytest.raises(common.UserError, match=r"^sh -c … failed \(3\): no mirror\. look at it$"):
        common.must(["sh", "-c", "echo no mirror >&2\nexit 3"], hint="look at it")


def test_a_missing_program_and_a_slow_one_are_failures() -> None:
    assert common.run(["no-such-program-here"]).returncode == 127
    assert common.run(["sleep", "5"], timeout=0.1).returncode == 124

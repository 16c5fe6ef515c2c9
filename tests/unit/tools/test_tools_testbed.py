"""The drivers of the test bed, as far as they are calculations."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import common
import containers
import demo
import images
import scenario
import ssh_access
import test as everything


def test_the_recipe_hash_follows_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n", encoding="utf-8")
    monkeypatch.setattr(images, "RECIPE", tmp_path)
    first = images.recipe_hash("bookworm")
    assert images.recipe_hash("bookworm") == first
    assert images.recipe_hash("trixie") != first
    (tmp_path / "Dockerfile").write_text("FROM y\n", encoding="utf-8")
    assert images.recipe_hash("bookworm") != first


def test_an_image_of_the_right_recipe_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built: list[str] = []
    monkeypatch.setattr(common, "CACHE", tmp_path)
    monkeypatch.setattr(images, "build", built.append)
    monkeypatch.setattr(images, "needs_bootstrap", lambda _names: False)
    current = {f"{images.REPOSITORY}:debian12": images.recipe_hash("bookworm"), f"{images.REPOSITORY}:debian13": "old"}
    monkeypatch.setattr(images, "label_of", current.get)
    images.ensure(["debian12", "debian13"])
    assert built == ["debian13"]


@pytest.mark.parametrize("label", ["", "../x", "a b", "-a", "a=b"])
def test_labels_cannot_leave_their_folder(label: str) -> None:
    assert not containers.LABEL_VALUE.fullmatch(label)


def test_every_scenario_name_is_a_label() -> None:
    assert "default" in scenario.names()
    assert all(containers.LABEL_VALUE.fullmatch(name) for name in [*scenario.names(), demo.LABEL])


def test_a_tree_arrives_as_roots_and_without_caches() -> None:
    member = tarfile.TarInfo("./shop/tasks.py")
    member.uid, member.uname = 1000, "me"
    arrived = containers.of_root(member)
    assert arrived is not None
    assert (arrived.uid, arrived.uname) == (0, "root")
    assert containers.of_root(tarfile.TarInfo("./shop/__pycache__")) is None


@pytest.mark.parametrize("answers_after", [0, 2])
def test_a_container_is_waited_for_until_systemd_is_up(monkeypatch: pytest.MonkeyPatch, answers_after: int) -> None:
    asked: list[str] = []

    def run(argv: list[str], **_more: object) -> subprocess.CompletedProcess[str]:
        asked.append(argv[1])
        is_up = asked.count("exec") > answers_after
        answers = {"exec": "degraded" if is_up else "starting", "inspect": "running"}
        return subprocess.CompletedProcess(argv, 0, answers[argv[1]] + "\n", "")

    monkeypatch.setattr(containers, "run", run)
    monkeypatch.setattr(containers.time, "sleep", lambda _seconds: None)
    containers.wait("worker1", 60)
    assert asked.count("inspect") == answers_after


def test_a_container_whose_systemd_has_ended_is_told_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], **_more: object) -> subprocess.CompletedProcess[str]:
        output, error = {"exec": ("", "not running"), "inspect": ("exited\n", ""), "logs": ("", "Too many files\n")}[
            argv[1]
        ]
        return subprocess.CompletedProcess(argv, 0, output, error)

    monkeypatch.setattr(containers, "run", run)
    with pytest.raises(common.UserError, match="worker1: systemd has ended: 'Too many files'"):
        containers.wait("worker1", 60)


def test_a_container_that_does_not_come_up_is_told_with_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], **_more: object) -> subprocess.CompletedProcess[str]:
        answers = {"is-system-running": "starting", "--failed": "x.service failed", "list-jobs": "7 y.service start"}
        return subprocess.CompletedProcess(
            argv, 0, next((answers[word] for word in argv if word in answers), "running"), ""
        )

    monkeypatch.setattr(containers, "run", run)
    with pytest.raises(common.UserError, match=r"not up after 0 s \(starting\); failed: 'x.*waiting: '7 y"):
        containers.wait("worker1", 0.05)


def test_a_new_container_replaces_the_old_host_key() -> None:
    old = ["[127.0.0.1]:22001 ssh-ed25519 OLD", "[127.0.0.1]:22002 ssh-ed25519 OTHER"]
    assert ssh_access.known_hosts(old, "[127.0.0.1]:22001", "ssh-ed25519 NEW root@host\n") == [
        "[127.0.0.1]:22002 ssh-ed25519 OTHER",
        "[127.0.0.1]:22001 ssh-ed25519 NEW",
    ]


def test_the_demo_shows_whole_lines_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "progress"
    monkeypatch.setattr(demo, "PROGRESS", file)
    progress = demo.Progress(begun=demo.time.monotonic())
    progress.follow()
    file.write_text("00:00  Build\n00:0", encoding="utf-8")
    progress.follow()
    assert not progress.failed
    file.write_text("00:00  Build\n00:09  FAILED  db1: Start\n         no space\n", encoding="utf-8")
    progress.follow()
    progress.follow()
    assert capsys.readouterr().out.splitlines() == ["00:00  Build", "00:00  FAILED  db1: Start", "         no space"]
    assert progress.failed


def test_a_failed_scenario_says_what_failed(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    assert scenario.failures(progress) == []
    progress.write_text("00:00  Build\n00:01  FAILED  db1: Start\n         no space\n", encoding="utf-8")
    assert scenario.failures(progress) == ["00:01  FAILED  db1: Start", "         no space"]


def test_the_tests_that_failed_are_told_with_their_errors(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert scenario.tests_that_failed(log) == []
    log.write_text("PLAY [x]\nfatal: no\n", encoding="utf-8")
    assert scenario.tests_that_failed(log) == []
    long = "E   " + "x" * 1000
    log.write_text(
        f"____ test_a ____\n    assert 1 == 2\nE   assert 1 == 2\n{long}\n== short test summary info ==\n"
        "FAILED t.py::test_a - assert 1 == 2\n== 1 failed in 2 s ==\nCRITICAL Verifier\n",
        encoding="utf-8",
    )
    said = scenario.tests_that_failed(log)
    assert said == ["____ test_a ____", "E   assert 1 == 2", long[:300], "FAILED t.py::test_a - assert 1 == 2"]


def test_a_failed_step_is_counted_and_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(everything, "CACHE", tmp_path)
    runner = everything.Runner()
    runner.run(everything.Step("good", ["true"]))
    runner.run(everything.Step("bad", ["sh", "-c", "echo the reason; exit 1"]))
    assert runner.results == {"good": True, "bad": False}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["good", "ok"]
    assert lines[1].split()[:2] == ["bad", "FAILED"]
    assert lines[2] == "the reason"


def test_a_stopped_run_starts_nothing_more() -> None:
    runner = everything.Runner()
    runner.stopping.set()
    with pytest.raises(everything.Stopped):
        runner.run(everything.Step("late", ["true"]))
    assert runner.results == {}


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (["scenario.py", "no-such"], "there is no scenario 'no-such': choose from"),
        (["test.py", "no-such"], "there is no scenario no-such: choose from"),
        (["images.py", "debian99"], "no image is called debian99: choose from debian12, debian13"),
        (["containers.py", "remove", "../x"], "usage: "),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(driver: list[str], words: str) -> None:
    argv = [sys.executable, str(common.CHECKOUT / "tools" / driver[0]), *driver[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1

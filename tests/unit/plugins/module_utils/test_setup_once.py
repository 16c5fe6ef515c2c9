"""Steps that run once: against others at the same moment, against failure, against SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.setup_once import Result, SetupError, once

CHECKOUT = Path(__file__).resolve().parents[4]
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.setup_once import ignore_hangup, once
ignore_hangup()
print(once(**json.loads(sys.argv[2])).ran)
"""


def options(root: Path, *steps: str, **changes) -> dict:
    code = root / "code"
    code.mkdir(exist_ok=True)
    return {
        "steps": list(steps),
        "prefix": [],
        "directory": str(code),
        "lock": str(root / "lock"),
        "mark": str(root / "mark"),
        "timeout": 0,
        "label": "release 4f2c",
        **changes,
    }


def start(root: Path, *steps: str, **changes) -> subprocess.Popen[str]:
    """One run in a process of its own, as two controllers would start two."""
    arguments = [str(CHECKOUT / ".collections"), json.dumps(options(root, *steps, **changes))]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)


def until(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_the_steps_run_in_order_and_once(tmp_path: Path) -> None:
    wanted = options(tmp_path, "echo one | tee -a ../log", "printf '%s\\n' 'two  words' >> ../log")
    assert once(**wanted) == Result(ran=True, output=("one", ""))
    assert (tmp_path / "log").read_text() == "one\ntwo  words\n"
    assert json.loads((tmp_path / "mark").read_text()) == wanted["steps"]
    assert (tmp_path / "mark").stat().st_mode & 0o777 == 0o600
    assert once(**wanted) == Result(ran=False)
    assert (tmp_path / "log").read_text() == "one\ntwo  words\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "lock", "log", "mark"]


def test_two_runs_at_once_run_the_steps_once(tmp_path: Path) -> None:
    step = "echo begun >> ../log; sleep 0.3; echo ended >> ../log"
    runs = [start(tmp_path, step, step, timeout=60) for _run in range(4)]
    assert sorted(run.communicate()[0].strip() for run in runs) == ["False", "False", "False", "True"]
    assert [run.returncode for run in runs] == [0] * 4
    assert (tmp_path / "log").read_text().split() == ["begun", "ended"] * 2


def test_who_is_not_to_wait_is_told_who_is_at_it(tmp_path: Path) -> None:
    run = start(tmp_path, "touch ../started; while [ ! -e ../go ]; do sleep 0.05; done")
    try:
        until(tmp_path / "started")
        result = once(**options(tmp_path, "touch ../wrong", label="release b"))
        assert result.busy and result.busy.what == "release 4f2c" and result.busy.since.startswith("20")
        began = time.monotonic()
        with pytest.raises(SetupError, match=r"setting up release 4f2c since .* after 0.3 s.*code_setup_timeout"):
            once(**options(tmp_path, "touch ../wrong", timeout=0.3))
        assert 0.3 <= time.monotonic() - began < 10
    finally:
        (tmp_path / "go").touch()
        assert run.communicate()[0] == "True\n"
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("echo 'no such table' >&2; exit 3", r"^step 2 of 3 ended with exit code 3: no such table\n.*all steps\.$"),
        ("false", r"^step 2 of 3 ended with exit code 1: it printed nothing\nNothing"),
        ("false; true", r"^step 2 of 3 ended with exit code 1"),
        ("echo $unset_variable", r"^step 2 of 3 ended with exit code 2: .*unset_variable"),
        ("if", r"^step 2 of 3 ended with exit code 2"),
        ("kill -9 $$", r"^step 2 of 3 was ended by signal 9"),
    ],
)
def test_a_step_that_fails_leaves_no_mark_and_the_lock_free(tmp_path: Path, step: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        once(**options(tmp_path, "echo a >> ../log", step, "echo c >> ../log"))
    assert not (tmp_path / "mark").exists()
    assert (tmp_path / "log").read_text() == "a\n"
    # The next run repeats all of them.
    assert once(**options(tmp_path, "echo a >> ../log", "true")).ran
    assert (tmp_path / "log").read_text() == "a\na\n"


def test_what_a_step_prints_is_cut_from_the_front(tmp_path: Path) -> None:
    (said,) = once(**options(tmp_path, "seq 100000")).output
    assert len(said) <= 4000 and said.endswith("\n100000")


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"^step 1 of 1 cannot be started: .*/nowhere/celery-run"):
        once(**options(tmp_path, "true", prefix=["/nowhere/celery-run"]))
    assert not (tmp_path / "mark").exists()


def test_the_text_of_a_step_is_in_no_argument_and_no_environment(tmp_path: Path) -> None:
    step = "cat /proc/$$/cmdline /proc/self/environ > ../seen; # hunter2"
    once(**options(tmp_path, step, prefix=["env", "MORE=1"]))
    seen = (tmp_path / "seen").read_bytes()
    assert b"sh\0-euc\0" in seen and b"MORE=1" in seen and b"hunter2" not in seen


def test_a_step_reads_no_input_and_knows_no_lock_file_of_its_own(tmp_path: Path) -> None:
    assert once(**options(tmp_path, "cat; echo end")).output == ("end",)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_mark_and_the_lock_to_its_step_only(tmp_path: Path, number: signal.Signals) -> None:
    step = "echo begun >> ../log; touch ../started; while [ ! -e ../go ]; do sleep 0.05; done; echo ended >> ../log"
    run = start(tmp_path, step, "echo second >> ../log")
    until(tmp_path / "started")
    run.send_signal(number)
    run.communicate()
    assert run.returncode == -number
    # The step still works: nobody may start another one beside it.
    assert once(**options(tmp_path, "echo beside >> ../log")).busy
    (tmp_path / "go").touch()
    assert once(**options(tmp_path, "echo again >> ../log", timeout=20)).ran
    assert (tmp_path / "log").read_text().split() == ["begun", "ended", "again"]


def test_a_run_killed_with_its_step_leaves_no_mark_and_the_lock_free(tmp_path: Path) -> None:
    run = start(tmp_path, "echo $$ > ../pid; touch ../started; exec sleep 60")
    until(tmp_path / "started")
    run.kill()
    run.communicate()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert not (tmp_path / "mark").exists()
    assert once(**options(tmp_path, "true", timeout=5)).ran


def test_a_connection_that_goes_away_does_not_end_the_steps(tmp_path: Path) -> None:
    run = start(tmp_path, "touch ../started; while [ ! -e ../go ]; do sleep 0.05; done", "touch ../second")
    until(tmp_path / "started")
    run.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    assert run.communicate()[0] == "True\n"
    assert (tmp_path / "second").exists() and (tmp_path / "mark").exists()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        once(**options(tmp_path, "touch ../wrong"))
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "wrong").exists()


def test_a_mark_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        once(**options(tmp_path, "true", mark=str(tmp_path / "missing/mark")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code", "lock"]

"""The module setup_once as Ansible calls it."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.modules import setup_once


def call(root: Path, capsys: pytest.CaptureFixture[str], steps: str, **arguments) -> dict:
    wanted = {"directory": str(root), "lock": str(root / "lock"), "mark": str(root / "mark"), "steps": steps}
    with patch_module_args({**wanted, **arguments}), pytest.raises(SystemExit):
        setup_once.main()
    return json.loads(capsys.readouterr().out)


def test_changed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = json.dumps(["echo hello"])
    result = call(tmp_path, capsys, steps)
    assert (result["changed"], result["busy"], result["output"]) == (True, False, ["hello"])
    assert "echo" not in json.dumps(result["invocation"])
    assert call(tmp_path, capsys, steps)["changed"] is False


def test_check_mode_tells_the_truth_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = json.dumps(["touch ran"])
    assert call(tmp_path, capsys, steps, _ansible_check_mode=True)["changed"] is True
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mark").touch()
    assert call(tmp_path, capsys, steps, _ansible_check_mode=True)["changed"] is False


def test_busy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({"what": "release b", "since": "noon"}))
        file.flush()
        result = call(tmp_path, capsys, json.dumps(["touch ran"]))
        assert (result["changed"], result["busy"], result["holder"]) == (False, True, "release b since noon")
        result = call(tmp_path, capsys, json.dumps(["touch ran"]), timeout=0.1)
        assert result["failed"] and "release b since noon" in result["msg"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("steps", ["ls", "{}", "[1]"])
def test_steps_that_are_no_list_of_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: str) -> None:
    assert "to_json" in call(tmp_path, capsys, steps)["msg"]


def test_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, capsys, '["exit 7"]')["msg"].startswith("step 1 of 1 ended with exit code 7")
    result = call(tmp_path, capsys, '["true"]', lock=str(tmp_path / "missing/lock"))
    assert result["failed"] and "missing/lock: No such file" in result["msg"]

"""The modules host_receipt, which writes, and host_facts, which compares, as Ansible calls them."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import receipt
from ansible_collections.taskfleet.celery_cluster.plugins.modules import host_facts, host_receipt

INPUTS = {"celery_workers": "5f2c"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop-cluster" / "receipt.json"


@pytest.fixture
def call(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "shop.conf").write_text("a")

    def run(state: str, check: bool = False, **more: Any) -> dict[str, Any]:
        arguments = {"_ansible_check_mode": check, **more}
        if state == "compared":
            module, arguments = host_facts, {"receipt": str(file), **arguments}
        else:
            module, arguments = host_receipt, {"path": str(file), "state": state, **arguments}
        if state == "present":
            arguments.setdefault("inputs", INPUTS)
            arguments.setdefault("owned", {"files": [str(tmp_path / "shop.conf")]})
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_a_receipt_is_true_until_something_differs(call, file: Path, tmp_path: Path) -> None:
    assert call("present")["changed"] is False
    for check in (False, True):
        seen = call("compared", check=check)
        assert (seen["found"], seen["same"], seen["reasons"], seen["inputs"]) == (True, True, [], INPUTS)
    (tmp_path / "shop.conf").chmod(0o600)
    seen = call("compared")
    assert (seen["same"], seen["reasons"]) == (False, [f"{tmp_path}/shop.conf differs (mode, time of change)"])


def test_only_its_owner_reads_it(call, file: Path) -> None:
    call("present")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755
    assert [path.name for path in file.parent.iterdir()] == ["receipt.json"]


def test_a_check_writes_nothing(call, file: Path) -> None:
    assert "failed" not in call("present", check=True)
    assert not file.exists()
    call("present")
    call("absent", check=True)
    assert file.exists()
    call("absent")
    assert not file.exists()
    assert "failed" not in call("absent")


@pytest.mark.parametrize(
    "content",
    ["", "garbage", "[]", "{}", "null", '{"form": 1, "written": "x"}', "\xff"],
)
def test_garbage_does_not_count(call, file: Path, content: str) -> None:
    call("present")
    file.write_bytes(content.encode("latin-1"))
    seen = call("compared")
    assert (seen["found"], seen["same"], seen["inputs"]) == (True, False, {})
    assert "cannot be read" in seen["reasons"][0]


def test_another_form_does_not_count(call, file: Path) -> None:
    call("present")
    file.write_text(json.dumps({**json.loads(file.read_text()), "form": 0}))
    assert "of another form" in call("compared")["reasons"][0]
    file.write_text('{"form": 1, "written": 1, "inputs": 1, "owned": {}, "seen": {}}')
    assert "of another form" in call("compared")["reasons"][0]


def test_what_others_could_have_written_does_not_count(call, file: Path, tmp_path: Path) -> None:
    call("present")
    file.chmod(0o644)
    assert "not as a run has written it" in call("compared")["reasons"][0]
    file.chmod(0o600)
    assert call("compared")["same"]
    file.rename(tmp_path / "moved")
    file.symlink_to(tmp_path / "moved")
    assert "cannot be read" in call("compared")["reasons"][0]
    file.unlink()
    file.mkdir()
    seen = call("compared")
    assert (seen["found"], seen["same"]) == (True, False)
    assert "failed" not in call("absent")
    assert file.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_a_receipt_of_somebody_else_does_not_count(call, file: Path) -> None:
    call("present")
    os.chown(file, 65534, 65534)
    assert "not as a run has written it" in call("compared")["reasons"][0]


def test_none_does_not_count(call) -> None:
    seen = call("compared")
    assert (seen["found"], seen["same"], seen["reasons"]) == (False, False, ["no full run has ended here yet"])


@pytest.mark.parametrize(("age", "counts"), [(0, True), (23.9, True), (24.1, False), (-0.1, False)])
def test_it_counts_for_its_time(call, file: Path, age: float, counts: bool) -> None:
    call("present")
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "written": time.time() - age * 3600 - 1}))
    if age < 0:
        # Written by a clock that was set back since.
        file.write_text(json.dumps({**content, "written": time.time() + 600}))
    seen = call("compared")
    assert seen["same"] is counts
    assert counts or seen["reasons"] == ["the last full run is too long ago"]


def test_a_shorter_time_is_taken_at_its_word(call, file: Path) -> None:
    call("present")
    assert call("compared", max_age_hours=0.5)["same"]
    time.sleep(0.01)
    assert not call("compared", max_age_hours=0.000001)["same"]


def test_what_cannot_be_asked_is_not_written_and_no_failure_of_a_look(call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_owned: Any, _run: Any) -> dict[str, str]:
        raise RuntimeError("systemctl show failed (1): no bus")

    call("present")
    monkeypatch.setattr(host_receipt, "observe", broken)
    monkeypatch.setattr(receipt, "observe", broken)
    seen = call("present")
    assert seen["failed"] and "no bus" in seen["msg"]
    seen = call("compared")
    assert "failed" not in seen and (seen["found"], seen["same"], seen["inputs"]) == (True, False, {})
    assert seen["reasons"] == ["could not be looked at (systemctl show failed (1): no bus)"]


def test_facts_are_those_that_were_asked_for(call) -> None:
    seen = call("compared", gather_subset=["!all", "!min", "platform"])
    assert seen["ansible_facts"]["ansible_machine"] == os.uname().machine
    assert "ansible_distribution" not in seen["ansible_facts"] and seen["same"] is False
    seen = call("compared", gather_subset=["!all", "!min", "platform"], receipt="")
    assert "same" not in seen and seen["ansible_facts"]["ansible_machine"] == os.uname().machine


def test_a_run_that_is_cut_off_leaves_the_old_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt.write(file, INPUTS, {}, {})

    def cut_off(*_arguments: Any, **_more: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(receipt.os, "fsync", cut_off)
    with pytest.raises(OSError, match="no space"):
        receipt.write(file, {"celery_workers": "new"}, {}, {})
    assert receipt.read(file, 1)["inputs"] == INPUTS
    assert [path.name for path in file.parent.iterdir()] == ["receipt.json"]


def test_a_hundred_reasons_are_enough(call, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    call("present", owned={"below": [str(folder)]})
    for number in range(150):
        (folder / str(number)).touch()
    assert len(call("compared")["reasons"]) == 100

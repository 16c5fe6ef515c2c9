"""The module host_survey as Ansible calls it, and with its action plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.modules import host_survey

CHECKOUT = Path(__file__).resolve().parents[4]


def call(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        host_survey.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("check", [False, True])
def test_everything_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], closed_port: int, check: bool
) -> None:
    result = call(
        capsys,
        names=["localhost", "mq.invalid"],
        ports=[{"host": "127.0.0.1", "port": closed_port}],
        listening=[closed_port],
        paths=[str(tmp_path / "new")],
        interpreter=sys.executable,
        packages=["bash"],
        _ansible_check_mode=check,
    )
    assert result["changed"] is False
    assert abs(result["time"] - time.time()) < 60
    assert result["resolved"]["localhost"] and result["resolved"]["mq.invalid"] == []
    [port] = result["ports"]
    assert (port["state"], port["to"], port["name"]) == ("refused", "", "")
    assert result["listening"] == {str(closed_port): []}
    assert result["paths"][0]["nearest"] == str(tmp_path) and not (tmp_path / "new").exists()
    assert result["interpreter"]["version"].startswith("3.") and result["memory_bytes"] > 0
    assert set(result["packages"]["bash"]) == {"installed", "candidate"}


def test_nothing_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys)
    assert (result["interpreter"], result["resolved"], result["ports"], result["packages"]) == ({}, {}, [], {})


def test_documentation_and_arguments_agree() -> None:
    documented = yaml.safe_load(host_survey.DOCUMENTATION)["options"]
    assert {name: option.get("default") for name, option in documented.items()} == {
        name: option.get("default") for name, option in host_survey.ARGUMENTS.items()
    }


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Ask
      taskfleet.celery_cluster.host_survey:
        listening: [1]
      register: answer
    - name: Write it down
      ansible.builtin.copy:
        content: "{{ answer | to_json }}"
        dest: answer.json
        mode: "0600"
"""


def test_the_controller_notes_its_own_time(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_REMOTE_TMP": str(tmp_path / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
    }
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "play.yml"]
    before = time.time()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert before < answer["asked"] < answer["time"] < answer["answered"] < time.time()
    assert answer["listening"] == {"1": []}

"""playbooks/status.yml as it runs, on this host under several names: what no container is needed for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
SYSTEMCTL = """#!/bin/sh
echo "Id=shop-worker-steady@4f2c.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
StatusText=1 queue, 0 active, release 4f2c"
"""


def inventory() -> dict[str, Any]:
    silent = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    return {
        "all": {
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "ansible_become_exe": "no-such-sudo",
                "celery_name": "shop",
                "celery_app": "shop.celery:app",
                # The model refuses directories that do not last, and these are only looked for.
                "celery_root": "/opt/taskfleet-nowhere",
                "celery_state_directory": "/var/lib/taskfleet-nowhere",
                "celery_workers": {"steady": {"queues": ["celery"]}},
            },
            "children": {
                "rabbitmq": {"hosts": {"mq": {}}},
                "postgresql": {"hosts": {"mq": {}}},
                "celery_workers": {"hosts": {"n1": {}, "n2": silent}},
            },
        }
    }


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = (str(folder / "bin"), str(Path(sys.executable).parent), "/usr/bin", "/bin")
    environment = {
        "PATH": os.pathsep.join(path),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_REMOTE_TMP": str(folder / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_NOCOLOR": "true",
    }
    command = ["ansible-playbook", "-i", str(folder / "hosts.yml"), "playbooks/status.yml", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("status")
    (found / "bin").mkdir()
    (found / "bin" / "systemctl").write_text(SYSTEMCTL)
    (found / "bin" / "systemctl").chmod(0o755)
    (found / "hosts.yml").write_text(yaml.safe_dump(inventory(), sort_keys=False))
    return found


def test_everything_is_told_at_once(folder: Path) -> None:
    done = run(folder, "-e", f"status_json={folder}/out.json", "-e", f"status_html={folder}/out.html")
    assert done.returncode == 2, done.stdout + done.stderr
    assert (folder / "out.json").exists(), done.stdout[-3000:] + done.stderr[-3000:]
    content = json.loads((folder / "out.json").read_text())
    found = {(row["code"], row["host"]) for row in content["findings"]}
    # A host that cannot be reached, a broker and a database that are not there; the worker is well.
    assert {("CS101", "n2"), ("CS407", "mq"), ("CS503", "mq")} <= found
    assert {code for code, host in found if host == "n1"} == {"CS602"}
    (worker,) = [row for row in content["services"] if row["host"] == "n1"]
    assert (worker["state"], worker["release"], worker["active"]) == ("active", "4f2c", 0)
    assert "CS101" in (folder / "out.html").read_text()
    assert f"ansible -i {folder}/hosts.yml n2 -m ansible.builtin.ping" in done.stdout
    assert content["wrong"] and "has findings: " in done.stdout + done.stderr
    assert "changed=0" in done.stdout and "unreachable=1" not in done.stdout
    password = next((folder / ".secrets").glob("broker_admin*")).read_text().strip()
    assert password and password not in done.stdout + done.stderr + json.dumps(content)


def test_check_mode_looks_and_writes_nothing(folder: Path) -> None:
    done = run(folder, "--check", "-e", f"status_json={folder}/check.json", "--limit", "n1")
    assert "CS407" in done.stdout and "CS101" not in done.stdout
    assert done.returncode == 2 and not (folder / "check.json").exists()

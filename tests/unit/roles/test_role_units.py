"""The units as the roles write them: what systemd makes of a kind's words, and how exposed they are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
UNITS = ("worker-plain", "worker-loose", "beat", "flower")
needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed here")

VARIABLES: dict[str, Any] = {
    "celery_name": "shop",
    "celery_app": "shop.celery:app",
    "celery_workers": {
        "plain": {"queues": ["celery"]},
        "loose": {
            "queues": ["video"],
            "memory_max": "8G",
            "memory_high": "7G",
            "tasks_max": 200,
            "unit_options": {"PrivateDevices": False, "CPUWeight": 50, "Nice": 7},
        },
    },
}
MORE: dict[str, Any] = {
    "worker_unit_options": {"Nice": 5, "MemoryMax": "1G", "CPUQuota": "200%"},
    "celery_credentials": {"token": "hunter2", "a.pem": "hunter2\n"},
    "beat_watchdog_seconds": 0,
    "celery_log_retention": 14,
    "celery_directories": ["/srv/shop-data"],
    "worker_child_frozen_seconds": 17,
    "worker_loop_stalled_seconds": 0,
}
PLAY = """
- hosts: mq
  gather_facts: false
  vars_files: {files}
  tasks:
    - ansible.builtin.import_role: {{name: taskfleet.celery_cluster.celery, tasks_from: variables}}
    - ansible.builtin.copy:
        dest: "{{{{ out }}}}/{{{{ unit.name }}}}@.service"
        content: "{{{{ lookup('ansible.builtin.template', roles ~ unit.template) }}}}"
        mode: "0600"
      delegate_to: localhost
      vars:
        code_python_path: [.]
        item: {{key: "{{{{ unit.kind }}}}", value: "{{{{ celery_cluster.workers[unit.kind] }}}}"}}
      loop:
        - {{name: worker-plain, kind: plain, template: /worker/templates/worker.service.j2}}
        - {{name: worker-loose, kind: loose, template: /worker/templates/worker.service.j2}}
        - {{name: beat, kind: plain, template: /beat/templates/beat.service.j2}}
        - {{name: flower, kind: plain, template: /flower/templates/flower.service.j2}}
      loop_control: {{loop_var: unit}}
"""


def render(folder: Path, variables: dict[str, Any], beats: tuple[str, ...] = ("mq",)) -> Path:
    roles = CHECKOUT / "roles"
    files = [
        str(roles / role / kind / "main.yml") for role in ("worker", "beat", "flower") for kind in ("defaults", "vars")
    ]
    groups = ("rabbitmq", "postgresql", "celery_workers", "celery_beat", "flower")
    hosts = {"hosts": {"mq": {"celery_address": "192.0.2.1"}, "other": {"celery_address": "192.0.2.2"}}}
    members = {**{group: {"hosts": {"mq": None}} for group in groups}, "celery_beat": {"hosts": dict.fromkeys(beats)}}
    inventory = {"all": {**hosts, "children": members, "vars": VARIABLES}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "play.yml").write_text(PLAY.format(files=json.dumps(files)))
    (folder / "ansible.cfg").write_text("[defaults]\n")
    (folder / "out").mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_REMOTE_TMP": str(folder / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
    }
    # As extra variables: the defaults come from files here, and would win over the inventory.
    extra = json.dumps({"out": str(folder / "out"), "roles": str(roles), **variables})
    command = ["ansible-playbook", "-i", "hosts.yml", "play.yml", "-e", extra]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("plain"), {})


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("full"), MORE)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With another beat host."""
    return render(tmp_path_factory.mktemp("several"), {}, ("mq", "other"))


def values(folder: Path, unit: str, name: str) -> list[str]:
    text = (folder / f"{unit}@.service").read_text()
    assert len(re.findall(r"^\[\w+\]$", text, re.MULTILINE)) == 3
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def exposure(file: Path) -> float:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    level = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert level, done.stdout + done.stderr
    return float(level[1])


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_is_low(unit: str, full: Path, tmp_path: Path) -> None:
    assert exposure(full / f"{unit}@.service") < 2.5
    bare = tmp_path / "bare@.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    assert exposure(bare) > 9


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(unit: str, full: Path) -> None:
    source = full / f"{unit}@.service"
    command = [
        "systemd-analyze",
        "verify",
        "--man=no",
        "--recursive-errors=no",
        str(source.with_name(f"{unit}@4f2c.service")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # The account and the interpreter are not on this machine.
    about_lines = [line for line in done.stderr.splitlines() if re.search(r"\.service:\d+: ", line)]
    assert about_lines == []
    broken = source.with_name("broken@.service")
    broken.write_text(
        source.read_text().replace("OOMPolicy=continue", "OOMPolicy=hope").replace("UMask=0027", "UMask=x")
    )
    command[-1] = str(broken.with_name("broken@4f2c.service"))
    assert "broken@.service:" in subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_the_words_of_a_kind_win_and_stay_its_own(full: Path) -> None:
    assert values(full, "worker-loose", "PrivateDevices") == ["yes", "no"]
    assert values(full, "worker-plain", "PrivateDevices") == values(full, "beat", "PrivateDevices") == ["yes"]
    limits = {
        name: values(full, "worker-loose", name) for name in ("MemoryMax", "MemoryHigh", "TasksMax", "CPUQuota", "Nice")
    }
    assert limits == {
        "MemoryMax": ["8G"],
        "MemoryHigh": ["7G"],
        "TasksMax": ["200"],
        "CPUQuota": ["200%"],
        "Nice": ["7"],
    }
    assert values(full, "worker-plain", "MemoryMax") == ["1G"] and values(full, "worker-plain", "Nice") == ["5"]
    assert values(full, "worker-plain", "TasksMax") == values(full, "beat", "Nice") == []


@pytest.mark.parametrize("unit", UNITS)
def test_credentials_and_the_journal_are_for_every_service(unit: str, plain: Path, full: Path) -> None:
    path = "/opt/shop/config/credentials"
    assert values(full, unit, "LoadCredential") == [f"{name}:{path}/{name}" for name in ("a.pem", "token")]
    assert values(full, unit, "LogNamespace") == ["shop"]
    assert values(full, unit, "RequiresMountsFor") == ["/opt/shop /var/lib/shop /srv/shop-data"]
    assert "hunter2" not in (full / f"{unit}@.service").read_text()
    assert values(plain, unit, "LoadCredential") == values(plain, unit, "LogNamespace") == []
    assert values(plain, unit, "RequiresMountsFor") == ["/opt/shop /var/lib/shop"]


def test_the_agent_is_told_how_long_it_waits(plain: Path, full: Path) -> None:
    def told(folder: Path) -> list[str]:
        return re.findall(
            r"CELERY_AGENT_(?:CHILD_FROZEN|LOOP_STALLED)=\S+", (folder / "worker-plain@.service").read_text()
        )

    assert told(plain) == ["CELERY_AGENT_CHILD_FROZEN=60", "CELERY_AGENT_LOOP_STALLED=300"]
    assert told(full) == ["CELERY_AGENT_CHILD_FROZEN=17", "CELERY_AGENT_LOOP_STALLED=0"]


def test_one_beat_is_a_plain_service_and_several_have_a_lock(plain: Path, several: Path) -> None:
    (command,) = values(plain, "beat", "ExecStart")
    assert "/venv/bin/python -m celery -A celery_agent beat " in command
    assert values(plain, "beat", "KillMode") == [] and "LOCK" not in (plain / "beat@.service").read_text()
    (command,) = values(several, "beat", "ExecStart")
    assert "/venv/bin/python /opt/shop/agent/celery_beat_launcher.py -A celery_agent beat " in command
    assert "CELERY_BEAT_LOCK_SERVICE=shop_lock CELERY_BEAT_LOCK_CLUSTER=shop" in values(several, "beat", "Environment")
    assert values(several, "beat", "KillMode") == ["mixed"]


def test_the_watchdog_of_beat_can_be_switched_off(plain: Path, full: Path) -> None:
    assert values(plain, "beat", "WatchdogSec") == ["120"] and values(full, "beat", "WatchdogSec") == []

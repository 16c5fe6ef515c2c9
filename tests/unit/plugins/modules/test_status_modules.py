"""host_status, broker_status and database_status as Ansible calls them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_psql import LoginError
from ansible_collections.taskfleet.celery_cluster.plugins.modules import broker_status, database_status, host_status
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.asking import AskingAction

UNIT = "shop-worker-steady@4f2c.service"
PASSWORD = "not to be told"


def call(module: Any, capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


def systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    folder.mkdir()
    (folder / "systemctl").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("check", [False, True])
def test_a_host_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    asked = tmp_path / "asked"
    systemctl(tmp_path / "bin", monkeypatch, f'echo "$*" > {asked}\necho "Id={UNIT}\nActiveState=active"')
    (tmp_path / "releases" / "4f2c").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/4f2c")
    result = call(
        host_status,
        capsys,
        patterns=["shop-*@*.service"],
        root=str(tmp_path),
        paths=[str(tmp_path)],
        canary=str(tmp_path / "canary.json"),
        _ansible_check_mode=check,
    )
    assert result["answered"] and not result["changed"]
    assert [(unit["name"], unit["active"], unit["processes"]) for unit in result["units"]] == [(UNIT, "active", 0)]
    assert asked.read_text().split()[0] == "show" and asked.read_text().split()[-1] == "shop-*@*.service"
    assert result["releases"]["current"] == "4f2c" and result["canary"] is None
    assert result["disks"] and result["listeners"] == []


def test_a_host_without_systemd(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl(tmp_path / "bin", monkeypatch, "echo not booted >&2; exit 1")
    result = call(host_status, capsys, patterns=["shop-*@*.service"])
    assert result["failed"] and result["msg"] == "systemctl show failed: not booted"


def test_a_broker_that_does_not_answer(capsys: pytest.CaptureFixture[str], pki: Any, closed_port: int) -> None:
    result = call(
        broker_status,
        capsys,
        url=f"https://127.0.0.1:{closed_port}",
        ca_file=pki.ca,
        username="shop-admin",
        password=PASSWORD,
        vhost="shop",
        queues=["celery"],
    )
    assert result["answered"] is False and "did not answer" in result["why"]
    assert PASSWORD not in json.dumps(result)


def test_a_broker_whose_certificate_is_another_ones(capsys: pytest.CaptureFixture[str], pki: Any, serve: Any) -> None:
    def handler(connection: Any) -> None:
        pki.context.wrap_socket(connection, server_side=True)

    login = {"username": "shop-admin", "password": PASSWORD, "vhost": "shop", "queues": ["celery"]}
    result = call(broker_status, capsys, url=f"https://127.0.0.1:{serve(handler)}", ca_file=pki.other_ca, **login)
    assert result["answered"] is False and "certificate" in result["why"]


def test_a_database_that_does_not_answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> list[str]:
        raise LoginError("nobody answers")

    monkeypatch.setattr(database_status.Psql, "run", refuse)
    result = call(database_status, capsys, database="shop", roles=["shop"])
    assert (result["answered"], result["why"]) == (False, "nobody answers")


def test_a_database_is_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"limit": 100, "reserved": 3, "used": 14, "ssl": True, "plaintext": 0, "open_rules": []}
    text = json.dumps({**told, "roles": {"shop": 12}, "clients": [["192.0.2.1", 12]]})
    monkeypatch.setattr(database_status.Psql, "run", lambda *_arguments, **_options: [text])
    result = call(database_status, capsys, database="shop", roles=["shop"], _ansible_check_mode=True)
    assert result["answered"] and result["roles"] == {"shop": 12} and not result["changed"]


class Action(AskingAction):
    """Without what a play would give it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def _execute_module(self, **_options: Any) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ({"answered": True, "why": "", "units": []}, {"answered": True, "why": "", "units": []}),
        (AnsibleConnectionFailure("no\n route"), {"changed": False, "answered": False, "why": "no route"}),
        (
            {"failed": True, "msg": "it broke", "invocation": {"module_args": {"password": PASSWORD}}},
            {"changed": False, "answered": False, "why": "it broke"},
        ),
        (
            {"failed": True, "msg": "MODULE FAILURE", "module_stderr": "container\nis paused"},
            {"changed": False, "answered": False, "why": "container is paused"},
        ),
        ({"unreachable": True}, {"changed": False, "answered": False, "why": "no answer"}),
        (
            {"failed": True, "msg": "x" * 900},
            {"changed": False, "answered": False, "why": "..." + "x" * 297},
        ),
    ],
)
def test_no_answer_is_an_answer(answer: Any, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_arguments: {})
    assert Action(answer).run() == wanted

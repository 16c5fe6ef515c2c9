"""The module rabbitmq_node as Ansible calls it, on a machine without RabbitMQ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.modules import rabbitmq_node


def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, **arguments: Any) -> dict[str, Any]:
    given = {
        "node": "rabbit@a",
        "nodes": [
            {"node": "rabbit@a", "url": "https://127.0.0.1:1"},
            {"node": "rabbit@b", "url": "https://127.0.0.1:2"},
        ],
        "cookie": "a-cookie",
        "ca_file": str(tmp_path / "ca.pem"),
        "server_name": "broker",
        "username": "admin",
        "password": "a-password",
        "data_directory": str(tmp_path),
        "timeout": 0,
        **arguments,
    }
    with patch_module_args(given), pytest.raises(SystemExit):
        rabbitmq_node.main()
    answer = capsys.readouterr().out
    assert "a-password" not in answer
    return json.loads(answer)


def test_a_host_without_a_broker_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, tmp_path, state="accepted")
    assert result["changed"] is False
    assert result["members"] == []


def test_the_node_must_be_one_of_the_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "rabbit@x is not among nodes" in call(capsys, tmp_path, node="rabbit@x")["msg"]


def test_a_foreign_node_fails_without_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "mnesia" / "rabbit@a"
    directory.mkdir(parents=True)
    (directory / "cluster_nodes.config").write_text("{[rabbit@a,rabbit@z],[rabbit@a]}.", encoding="utf-8")
    for state in ("accepted", "running", "started", "stopped"):
        result = call(capsys, tmp_path, state=state)
        assert "rabbit@z" in result["msg"]
        assert result["changed"] is False


def test_a_silent_broker_is_not_healthy_and_the_reason_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "does not answer" in call(capsys, tmp_path, state="healthy")["msg"]
    (tmp_path / "ca.pem").write_text("no certificate", encoding="utf-8")
    assert "ca.pem" in call(capsys, tmp_path, state="healthy")["msg"]

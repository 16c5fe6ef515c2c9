"""The module around the probes: what it takes, what it returns, what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.probes import KINDS
from ansible_collections.taskfleet.celery_cluster.plugins.modules import link_probe


def run(capsys: pytest.CaptureFixture[str], probes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    with patch_module_args({"probes": probes, **more}), pytest.raises(SystemExit):
        link_probe.main()
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize("check_mode", [True, False])
def test_failed_probes_are_rows_and_not_a_failed_task(
    capsys: pytest.CaptureFixture[str], closed_port: int, check_mode: bool
) -> None:
    probes = [
        {"check": "port_closed", "host": "127.0.0.1", "port": closed_port, "from": "a", "to": "b"},
        {
            "check": "amqp_login",
            "host": "127.0.0.1",
            "port": closed_port,
            "ca_file": "/nonexistent",
            "username": "u",
            "password": "p-secret",
            "vhost": "v",
        },
    ]
    answer = run(capsys, probes, _ansible_check_mode=check_mode)
    assert answer["changed"] is False
    assert "failed" not in answer
    assert [(row["check"], row["from"], row["ok"], row["detail"]) for row in answer["rows"]] == [
        ("port_closed", "a", True, "connection refused"),
        ("amqp_login", "", False, "Connection refused"),
    ]
    assert "p-secret" not in json.dumps(answer)


@pytest.mark.parametrize("check", [check for check, kind in KINDS.items() if kind.needs])
def test_a_probe_that_lacks_what_it_needs_is_refused(capsys: pytest.CaptureFixture[str], check: str) -> None:
    answer = run(capsys, [{"check": check, "host": "127.0.0.1", "port": 1}])
    assert answer["failed"] is True
    for needed in KINDS[check].needs:
        assert needed in answer["msg"]


def test_an_unknown_check_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    answer = run(capsys, [{"check": "ping", "host": "127.0.0.1", "port": 1}])
    assert "port_closed" in answer["msg"]

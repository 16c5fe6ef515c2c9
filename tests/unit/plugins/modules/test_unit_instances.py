"""The module unit_instances as Ansible calls it, on hosts with and without systemd."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.modules import unit_instances

NAME = "celery-worker-default@1.service"
# Answers as systemd does for a unit that runs; logs every call.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> {log}
case "$1 $2" in
  "show --property=Version") echo Version=252 ;;
  show*) printf 'Id={name}\\nLoadState=loaded\\nActiveState={state}\\nUnitFileState=disabled\\n' ;;
  start*) echo "Job failed" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a directory in front of PATH; the returned function places a systemctl there."""
    binaries = tmp_path / "bin"
    binaries.mkdir()

    def systemctl(text: str) -> Path:
        script = binaries / "systemctl"
        script.write_text(text)
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{binaries}:/usr/bin:/bin")
        return tmp_path / "log"

    return systemctl


def call(capsys: pytest.CaptureFixture[str], check: bool = False, **arguments) -> dict:
    arguments = {"owned": ["celery-worker-*@*.service"], **arguments, "_ansible_check_mode": check}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        unit_instances.main()
    return json.loads(capsys.readouterr().out)


def test_a_bad_request_names_all_problems(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, units=[{"name": "worker"}, {"name": NAME, "timeout": 0}], owned=["*"])
    assert result["failed"] is True
    assert "'worker' is not the name" in result["msg"]
    assert "timeout 0" in result["msg"]
    assert "owned '*'" in result["msg"]


@pytest.mark.parametrize("text", [None, "#!/bin/sh\necho 'System has not been booted with systemd' >&2\nexit 1\n"])
def test_without_systemd_a_check_predicts_and_a_run_refuses(host, capsys, monkeypatch, text: str | None) -> None:
    if text:
        host(text)
    else:
        monkeypatch.setattr(unit_instances.AnsibleModule, "get_bin_path", lambda *args, **kwargs: None)
    result = call(capsys, check=True, units=[{"name": NAME, "depends_on": ["/not/there/yet"]}], target="celery.target")
    assert result["changed"] is True
    assert [action["verb"] for action in result["actions"]] == ["start", "enable", "target"]
    assert result["started"] == [NAME]
    assert result["diff"]["before"] == f"{NAME}: inactive disabled\ncelery.target: inactive disabled\n"
    assert result["diff"]["after"] == f"{NAME}: active enabled\ncelery.target: active enabled\n"
    assert "systemd does not run on this host" in call(capsys, units=[{"name": NAME}])["msg"]


def test_it_enables_through_systemctl(host, tmp_path: Path, capsys) -> None:
    log = host(SYSTEMCTL.format(log=tmp_path / "log", name=NAME, state="active"))
    result = call(capsys, units=[{"name": NAME}])
    assert (result["changed"], result["started"], result["retired"]) == (True, [], [])
    assert f"enable --quiet -- {NAME}" in log.read_text().splitlines()


def test_a_failed_start_fails_the_module_with_the_reason(host, tmp_path: Path, capsys) -> None:
    log = host(SYSTEMCTL.format(log=tmp_path / "log", name=NAME, state="failed"))
    result = call(capsys, units=[{"name": NAME}])
    assert result["failed"] is True
    assert f"{NAME} failed to start" in result["msg"]
    assert not any(line.startswith("enable") for line in log.read_text().splitlines())

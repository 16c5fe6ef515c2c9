"""The module celery_control as Ansible calls it: a real worker, a broker made of files, and a celery-run of ours."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zipimport
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import control, control_script
from ansible_collections.taskfleet.celery_cluster.plugins.modules import celery_control

AGENT = Path(__file__).resolve().parents[4] / "roles" / "celery" / "files"
NODE, UNIT = "default-4f2c@worker1", "shop-worker-default@4f2c.service"
SHOP = """
import os
import time
from celery import Celery

print("the shop says hello while it is imported")
os.system("echo and so does its C library")
root = os.environ["SHOP_ROOT"]
app = Celery("shop", broker="filesystem://", backend="file://" + root + "/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": root + "/broker",
        "data_folder_out": root + "/broker",
        "control_folder": root + "/control",
        "store_processed": False,
        "polling_interval": 0.1,
    },
)


@app.task(name="shop.wait")
def wait():
    while not os.path.exists(root + "/gate"):
        time.sleep(0.1)
"""
CELERY_RUN = """#!/bin/sh
echo "$*" >> {root}/commands
while [ "$1" != -- ]; do shift; done
shift 2
exec {python} "$@"
"""
SYSTEMCTL = """#!/bin/sh
printf 'Id=shop\\nLoadState=loaded\\nActiveState=%s\\nMainPID=%s\\n' "$(cat {root}/state)" "$(cat {root}/pid)"
"""


class Host:
    """A host with one worker, whose service is what the file `state` says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("broker", "control", "results", "code", "bin"):
            (root / name).mkdir()
        (root / "code" / "shop.py").write_text(SHOP)
        self.program("celery-run", CELERY_RUN)
        self.program("systemctl", SYSTEMCTL)
        (root / "state").write_text("active")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "NOTIFY_", "WATCHDOG_"))}
        self.environment = {
            **kept,
            "PATH": f"{root / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": f"{AGENT}:{root / 'code'}",
            # Whatever the caller wants: each of these processes would compile Celery again, which takes half its time.
            "PYTHONDONTWRITEBYTECODE": "",
            "SHOP_ROOT": str(root),
            "C_FORCE_ROOT": "1",
            "CELERY_AGENT_APP": "shop:app",
        }
        arguments = ["--pool=prefork", "--concurrency=1", "--without-gossip", "--without-mingle", "-Q", "celery,mail"]
        with (root / "log").open("wb") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "celery_agent", "worker", "-n", NODE, *arguments],
                env={**self.environment, "CELERY_AGENT_ROLE": "worker"},
                cwd=root,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (root / "pid").write_text(str(self.worker.pid))

    def program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(text.format(root=self.root, python=sys.executable))
        path.chmod(0o755)

    def send(self) -> None:
        code = "from celery_agent import app; app.send_task('shop.wait', queue='celery')"
        subprocess.run([sys.executable, "-c", code], env=self.environment, check=True, capture_output=True)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("host"))
    yield made
    made.stop()


Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)

    def act(check: bool = False, **given: Any) -> dict[str, Any]:
        arguments = {
            "command": str(host.root / "bin" / "celery-run"),
            "nodes": [{"name": NODE, "unit": UNIT}],
            # It ends with the answer, which a busy machine gives late.
            "timeout": 10,
            **given,
            "_ansible_check_mode": check,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            celery_control.main()
        return json.loads(capsys.readouterr().out)

    return act


def test_the_life_of_a_worker(host: Host, call: Call) -> None:
    """Seen, drained, waited for, brought back, stopped."""
    ends = time.monotonic() + 30
    while (seen := call(timeout=2))["nodes"][0]["condition"] != "online":
        assert time.monotonic() < ends, (host.root / "log").read_text()
    assert (seen["changed"], seen["nodes"][0]["queues"]) == (False, ["celery", "mail"])
    assert (host.root / "commands").read_text().startswith("--identity worker -- python -c ")

    host.send()
    while not call()["nodes"][0]["active"]["count"]:
        assert time.monotonic() < ends, "the task did not begin"
    drained = call(action="cancel_consumers")
    assert [row["queue"] for row in drained["cancelled"]] == ["celery", "mail"]
    waited = call(action="wait_idle", deadline=0)
    assert (waited["idle"], waited["remaining"][0]["name"], waited.get("failed", False)) == (False, "shop.wait", False)
    assert call(action="add_consumers", queues=["mail"])["nodes"][0]["queues"] == ["mail"]

    os.kill(host.worker.pid, signal.SIGTERM)
    (host.root / "state").write_text("deactivating")
    stopping = call(action="wait_idle", deadline=0, must=True)
    assert stopping["remaining"] == [{"node": NODE, "state": "stopping"}]
    assert stopping["msg"].startswith(f"not idle after 0 s: {NODE}: 1 stopping.")
    assert call(timeout=0.5)["nodes"][0]["condition"] == "stopping"
    (host.root / "gate").touch()
    assert host.worker.wait(30) == 0
    (host.root / "state").write_text("inactive")
    (host.root / "pid").write_text("0")
    assert call()["nodes"][0]["condition"] == "dead"
    assert call(action="wait_idle", must=True)["idle"] is True


def test_without_a_unit_a_worker_that_does_not_answer_is_unknown(call: Call) -> None:
    nodes = [{"name": "video-4f2c@worker1"}]
    assert call(nodes=nodes, timeout=0.5)["nodes"][0]["condition"] == "unknown"
    result = call(nodes=nodes, timeout=0.5, action="cancel_consumers", minimum_consumers=1)
    assert result["failed"] is True
    assert result["msg"].startswith("no worker named video-4f2c@worker1 answers (those that answer: none)")


def test_an_application_that_cannot_be_imported(host: Host, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.root / "code" / "broken.py").write_text("raise SystemExit('the shop has no licence')\n")
    monkeypatch.setenv("CELERY_AGENT_APP", "broken:app")
    result = call(nodes=[{"name": NODE}])
    assert result["failed"] is True
    assert "cannot be imported in the current release: SystemExit: the shop has no licence" in result["msg"]
    assert "broken.py, line 1" in result["msg"]


def test_an_import_that_does_not_end(host: Host, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.root / "code" / "slow.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("CELERY_AGENT_APP", "slow:app")
    monkeypatch.setattr(control, "MARGIN", 0)
    monkeypatch.setattr(control, "CONNECT", 0)
    result = call(nodes=[{"name": NODE}], startup_timeout=1, timeout=0.1)
    assert "could not be imported within 1 s" in result["msg"]


def test_a_host_without_the_command(host: Host, call: Call) -> None:
    result = call(nodes=[{"name": NODE}], command=str(host.root / "nothing"))
    assert result["failed"] is True
    assert "The role celery puts it there: run site.yml for this host" in result["msg"]


def test_a_bad_request_names_all_problems(call: Call) -> None:
    result = call(nodes=[{"name": "worker1", "unit": "shop"}], action="revoke", deadline=-1)
    for part in ("'worker1' is not", "'shop' is not", "revoke needs task_ids", "deadline -1"):
        assert part in result["msg"]


def test_a_host_without_systemd_trusts_the_answers(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_control.AnsibleModule, "get_bin_path", lambda *args, **kwargs: None)
    monkeypatch.setattr(celery_control, "run_process", lambda *args: control.Done(0, '{"nodes": {}}'))
    assert "no answer" in call()["msg"]
    line = control_script.MARKER + json.dumps({"nodes": {NODE: {"queues": []}}})
    monkeypatch.setattr(celery_control, "run_process", lambda *args: control.Done(0, line))
    assert (call()["nodes"][0]["condition"], call()["nodes"][0]["unit_state"]) == ("online", "")


def test_the_script_is_found_in_the_archive_that_ansible_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    import zipfile

    source = Path(control_script.__file__)
    with zipfile.ZipFile(tmp_path / "payload.zip", "w") as archive:
        archive.writestr("control_script.py", source.read_text())
    spec = zipimport.zipimporter(str(tmp_path / "payload.zip")).find_spec("control_script")
    assert spec is not None
    monkeypatch.setattr(control, "control_script", importlib.util.module_from_spec(spec))
    assert control.script() == source.read_text()

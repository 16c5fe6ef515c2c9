"""One line of the inventory changes: everything that depends on it follows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from conftest import INVENTORY, SECRETS, inventory_without, reference_cluster_only, wait_for

pytestmark = reference_cluster_only


@pytest.fixture
def smaller(tmp_path: Path) -> list[str]:
    """The inventory without worker2, and with another name for the queue `intake`."""
    inventory_without("worker2", tmp_path)
    workers = yaml.safe_load((INVENTORY / "group_vars" / "all.yml").read_text())["celery_workers"]
    workers["intake"]["queues"] = ["celery", "inbox"]
    changes = {"celery_workers": workers, "celery_secrets_directory": str(SECRETS)}
    return ["-i", str(tmp_path), "-e", json.dumps(changes)]


def consumed(on) -> dict[str, int]:
    """The consumers of the queue that gets another name. Of quorum queues the broker counts them every few seconds."""
    lines = on("broker1").run("rabbitmqctl -q list_queues -p fileshelf name consumers --no-table-headers").stdout
    counted = {name: int(count) for name, count in (line.split() for line in lines.splitlines())}
    return {name: counted[name] for name in ("intake", "inbox") if counted.get(name)}


def who_may_log_in(rows) -> set[str]:
    return set(rows("SELECT address FROM pg_hba_file_rules WHERE 'fileshelf' = ANY(database)"))


def worker_permissions(on) -> str:
    lines = on("broker1").run("rabbitmqctl -q list_permissions -p fileshelf").stdout.splitlines()
    return next(line for line in lines if line.startswith("fileshelf-worker\t"))


def command_line(on) -> str:
    return on("worker1").run("systemctl cat 'fileshelf-worker-intake@*' | grep ^ExecStart=").stdout


def test_a_removed_host_and_a_renamed_queue_and_back(on, rows, playbook, smaller):
    address = on("worker2").run("hostname -i").stdout.split()[0]
    assert address in who_may_log_in(rows)
    assert wait_for(lambda: consumed(on) == {"intake": 2}), consumed(on)
    # A host that leaves is stopped by whoever takes it away: nothing contacts it any more.
    assert on("worker2").run("systemctl stop 'fileshelf-*'").rc == 0

    # What is looked at here is the proof.
    done = playbook(*smaller, "--skip-tags", "verify", alone=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert address not in who_may_log_in(rows)
    assert wait_for(lambda: consumed(on) == {"inbox": 1}), consumed(on)
    assert "inbox" in worker_permissions(on) and "intake" not in worker_permissions(on)
    assert "celery,inbox" in command_line(on)

    done = playbook("--skip-tags", "verify")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert address in who_may_log_in(rows)
    assert wait_for(lambda: consumed(on) == {"intake": 2}), consumed(on)
    assert "intake" in worker_permissions(on) and "inbox" not in worker_permissions(on)
    assert "celery,intake" in command_line(on)

"""Wrong input: the play stops at that step, says what to do, and what ran before keeps running."""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import PROJECT, container, message, reference_cluster_only

# Each of them costs a run of the playbook.
pytestmark = reference_cluster_only
# The part of the playbook in which these faults are found.
CODE = ("--tags", "code")


def override(tmp_path, inventory: dict) -> list[str]:
    path = tmp_path / "override.json"
    path.write_text(json.dumps(inventory))
    return ["-i", str(path)]


@pytest.mark.thorough
def test_an_application_module_that_does_not_exist(playbook, untouched):
    text = message(playbook(*CODE, "-e", "celery_app=fileshelf.missing:app"))
    assert "celery_app is fileshelf.missing:app" in text and "cannot import it on" in text
    assert "No module named" in text and "nothing was switched" in text


def test_an_application_whose_import_fails(playbook, untouched, on):
    tree = "/srv/fileshelf/fileshelf"
    assert (
        on("app1").run(f"cp {tree}/__init__.py /tmp/kept && echo 'raise RuntimeError(42)' >> {tree}/__init__.py").rc
        == 0
    )
    try:
        text = message(playbook(*CODE))
    finally:
        assert on("app1").run(f"cp /tmp/kept {tree}/__init__.py").rc == 0
    assert "cannot import it on" in text and "RuntimeError: 42" in text and "nothing was switched" in text


def test_packages_that_do_not_install(playbook, untouched):
    extra = json.dumps({"code_extra_packages": ["celery-cluster-no-such-package==1.0"]})
    text = message(playbook(*CODE, "-e", extra))
    assert "cannot be installed on" in text and "celery-cluster-no-such-package" in text
    assert "code_extra_packages" in text and "nothing was switched" in text


def test_an_unreachable_host(playbook, untouched, tmp_path):
    host = {"ansible_host": container("nowhere"), "ansible_connection": "community.docker.docker"}
    text = message(playbook(*override(tmp_path, {"celery_workers": {"hosts": {"worker9": host}}})))
    assert "worker9 cannot be reached" in text and "take it out of the inventory" in text


def test_a_name_that_does_not_resolve(playbook, untouched, tmp_path):
    broker = {"rabbitmq": {"hosts": {"broker1": {"celery_address": "broker.invalid"}}}}
    text = message(playbook(*override(tmp_path, broker)))
    assert "cannot resolve broker.invalid" in text and "celery_address" in text


def test_a_wrong_vault_password(playbook, untouched, tmp_path):
    right, wrong, encrypted = tmp_path / "right", tmp_path / "wrong", tmp_path / "vault.yml"
    right.write_text("right\n")
    wrong.write_text("wrong\n")
    encrypted.write_text("celery_database_password: from-the-vault\n")
    command = ["ansible-vault", "encrypt", "--vault-password-file", str(right), str(encrypted)]
    subprocess.run(command, check=True, capture_output=True, cwd=PROJECT)
    text = message(playbook("-e", f"@{encrypted}", "--vault-password-file", str(wrong)))
    assert "Decryption failed" in text


def test_a_wrong_inventory_is_refused_with_all_its_problems(playbook, untouched):
    workers = {"celery_workers": {"a": {"queues": ["x"], "concurency": 3}, "b": {"queues": [], "pool": "fork"}}}
    text = message(playbook("-e", json.dumps(workers)))
    assert "CC204 error: celery_workers.a.concurency is no option of a worker: write concurrency" in text
    assert "celery_workers.b.queues is empty" in text and "celery_workers.b.pool is 'fork': write prefork" in text
    assert "No host was changed" in text and "PLAY [Preflight]" not in text

"""The guide's first steps, which need no host: the template is copied, planned, and given a vault."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(CHECKOUT / "molecule" / "resources"))

import guide  # noqa: E402


@pytest.fixture
def execute(tmp_path: Path):
    """Executes a line of the guide in a directory where nothing but the template is."""
    # A copy: the commands move files.
    shutil.copytree(CHECKOUT / "inventories" / "example", tmp_path / "inventories" / "example")
    (tmp_path / "vault-password").write_text("open sesame\n")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_HOME": str(tmp_path / ".ansible"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def run(words: list[str], more: str = "") -> str:
        line = next(text for name, text in guide.commands().items() if guide.command(name) == words)
        done = subprocess.run(
            ["bash", "-euc", f"{line} {more}"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_template_is_copied_planned_and_given_a_vault(execute, tmp_path: Path) -> None:
    execute(guide.command("copy the template"))
    assert "app1.example.org" in execute(guide.command("show the cluster that would be"))
    execute(guide.command("make room for several files"))
    execute(guide.command("move the variables there"))
    execute(guide.command("write a secret"))
    secret = tmp_path / "inventory" / "group_vars" / "all" / "secret.yml"
    assert secret.read_text().startswith("celery_broker_admin_password: ")
    execute(guide.command("encrypt it"))
    assert secret.read_text().startswith("$ANSIBLE_VAULT;")
    # And the variables are still found.
    plan = guide.command("show the cluster that would be")
    assert "app1.example.org" in execute(plan, "--vault-password-file vault-password")

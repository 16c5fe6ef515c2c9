"""What the tests of every scenario share: its hosts, its inventory, and ways to run modules, scripts and playbooks."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import testinfra

SCENARIO = os.environ["MOLECULE_SCENARIO_NAME"]
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory"
SECRETS = INVENTORY / ".secrets"


def container(name: str) -> str:
    return f"taskfleet-{SCENARIO}-{name}"


@functools.cache
def host(name: str) -> Any:
    """The host as testinfra sees it, without a round trip through Ansible."""
    return testinfra.get_host(f"docker://{container(name)}")


def wait_for(condition: Callable[[], Any], seconds: float = 120, every: float = 2) -> Any:
    """The first true value of the condition, or its last value when the deadline has passed."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return value


def message(done: subprocess.CompletedProcess[str]) -> str:
    """The output on one line, without Ansible's line breaks: messages are compared by their words."""
    assert done.returncode != 0, "the playbook must not succeed"
    return " ".join((done.stdout + done.stderr).split())


def query(database: str, sql: str, name: str = "db1") -> list[str]:
    """The lines that psql prints on the database host."""
    done = host(name).run("runuser -u postgres -- psql -qAt %s -c %s", database, sql)
    assert done.rc == 0, done.stderr
    return done.stdout.splitlines()


def run_module(inventory: Sequence[str], module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run one module; inventory: a pattern of hosts, and the options that say where they come from."""
    command = ["ansible", *inventory, "-m", f"taskfleet.celery_cluster.{module}", "-a", json.dumps(arguments)]
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.oneline", "ANSIBLE_VERBOSITY": "0"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment, check=False)
    assert "=> {" in done.stdout, done.stdout + done.stderr
    return json.loads("{" + done.stdout.split("=> {", 1)[1])


def module_on(name: str, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run one module on one container, whether the inventory knows it or not."""
    return run_module(["all", "-i", f"{container(name)},", "-c", "community.docker.docker"], module, arguments)


def run_playbook(*arguments: str, name: str = "site.yml", alone: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a playbook against the cluster of this scenario; alone: the arguments name the inventory."""
    inventory = [] if alone else ["-i", str(INVENTORY)]
    command = ["ansible-playbook", *inventory, name, *arguments]
    environment = {**os.environ, "ANSIBLE_VERBOSITY": "0"}
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment, check=False)


def script_on(name: str, source: str, given: Any, command: Sequence[str] = ("python3",), seconds: float = 120) -> Any:
    """Run a Python script on a container. What it is given and what it answers is JSON, and never in its arguments."""
    argv = ["docker", "exec", "-i", container(name), *command, "-c", source]
    done = subprocess.run(argv, input=json.dumps(given), capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return json.loads(done.stdout)

"""How the scenario `deploy` looks at its cluster, and how it kills a controller, without a cluster."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SHOWN = """Id=ledger-worker-quick@aa.service
ActiveState=active
MainPID=17
StatusText=1 queue, 0 active, release aa

Id=ledger-worker-steady@bb.service
ActiveState=deactivating
MainPID=18
StatusText=
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLECULE_SCENARIO_NAME", "deploy")
        patch.setenv("MOLECULE_PROJECT_DIRECTORY", str(CHECKOUT))
        patch.setenv("MOLECULE_EPHEMERAL_DIRECTORY", str(tmp_path_factory.mktemp("molecule")))
        patch.syspath_prepend(str(CHECKOUT / "molecule" / "resources"))
        yield importlib.import_module("deployment")
        for name in ("deployment", "testing"):
            sys.modules.pop(name, None)


@pytest.fixture
def playbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is run as ansible-playbook; it leaves its process ids in the file `pids`."""
    program = tmp_path / "ansible-playbook"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    return program


def alive(pid: int) -> bool:
    try:
        # A process that ended and that nobody asked for is a zombie.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_controller_is_killed_with_all_it_started(deployment: Any, playbook: Path) -> None:
    playbook.write_text(
        '#!/bin/sh\necho $$ >>"$PIDS"\necho "PLAY [Release] ***"\n'
        """setsid sh -c 'echo $$ >>"$PIDS"; sleep 60' &\nsleep 0.5\necho "PLAY [Build] ***"\nsleep 60\n"""
    )
    begun = time.monotonic()
    output = deployment.kill_during("Build", 0.3)
    assert time.monotonic() - begun < 20
    assert "PLAY [Release]" in output and "PLAY [Build]" in output
    pids = [int(word) for word in (playbook.parent / "pids").read_text().split()]
    deadline = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) == 2 and not any(map(alive, pids))


def test_a_play_that_never_came_is_told(deployment: Any, playbook: Path) -> None:
    playbook.write_text('#!/bin/sh\necho "PLAY [Release] ***"\n')
    with pytest.raises(AssertionError, match="ended before a play 'Build'"):
        deployment.kill_during("Build", 0)


def test_a_deploy_that_was_over_is_no_killed_one(deployment: Any, playbook: Path) -> None:
    playbook.write_text('#!/bin/sh\necho "PLAY [Switch] ***"\nsleep 0.3\n')
    with pytest.raises(AssertionError, match="the deploy was over"):
        deployment.kill_during("Switch", 1)


class Broker:
    def login(self) -> dict[str, str]:
        return {}

    def hosts_of(self, answer: dict[str, list[str]]) -> dict[str, set[str]]:
        return {queue: set(hosts) for queue, hosts in answer.items()}


# The sampler without a broker: what it is given is what it sees, and the last of it once more at the end.
SAMPLER = """
import json, sys
sys.stdin.readline()
answers = json.loads(sys.argv[1])
for answer in answers:
    print(json.dumps([1.0, answer]), flush=True)
sys.stdin.read()
print(json.dumps([2.0, answers[-1]]), flush=True)
"""
SERVED = {"celery": ["worker1"], "long": ["worker2"], "numbers": ["worker1", "worker2"]}
LACKING: dict[str, list[str]] = {**SERVED, "numbers": []}


def sees(*answers: dict[str, list[str]] | None) -> list[str]:
    return [sys.executable, "-c", SAMPLER, json.dumps(answers)]


def test_a_moment_without_a_consumer_is_seen(deployment: Any) -> None:
    watch = deployment.Watch(Broker())
    watch.command = sees(SERVED, None, LACKING, SERVED)
    with pytest.raises(AssertionError), watch.over("a deploy"):
        pass
    ((what, moment, lacking),) = watch.gaps
    assert (what, moment, lacking, watch.unanswered) == ("a deploy", 1.0, ["numbers"], 1)
    # What was seen before is no fault of what is watched now; and there is a look after the end.
    moments = watch.moments
    watch.command = sees(SERVED)
    with watch.over("the next one"):
        pass
    assert watch.moments == moments + 2
    watch.command = sees(LACKING)
    with watch.over("of one kind", ("celery", "long")):
        pass


def test_nobody_saw_is_not_nothing_happened(deployment: Any) -> None:
    watch = deployment.Watch(Broker())
    watch.command = sees(None)
    with pytest.raises(AssertionError, match="nobody could tell"), watch.over("a deploy"):
        pass


def test_a_sampler_that_fails_is_told(deployment: Any) -> None:
    watch = deployment.Watch(Broker())
    watch.command = [sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit(3)"]
    with pytest.raises(AssertionError), watch.over("a deploy"):
        pass


def test_services_as_systemd_shows_them(deployment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "on", lambda _name, command: SHOWN if "show" in command else "releases/aa\n")
    services = deployment.Services()
    assert services.instance("worker1", "quick") == ("active", 17, "1 queue, 0 active, release aa")
    assert services.instance("worker1", "steady", "bb").state == "deactivating"
    assert services.instance("worker1", "steady").state == "inactive"
    assert services.running("worker1") == {"ledger-worker-quick@aa.service": 17}
    # One of its kinds does not run.
    assert not services.is_run_by("aa", ["worker1"])


def test_services_that_systemd_does_not_know(deployment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "on", lambda _name, _command: "\n")
    assert deployment.Services().instances("worker1") == {}


@pytest.mark.parametrize(("changed", "unchanged"), [("0", True), ("3", False)])
def test_the_recap_is_read(deployment: Any, changed: str, unchanged: bool) -> None:
    recap = f"PLAY RECAP ***\ncore1 : ok=50 changed=0 failed=0\nworker1 : ok=9 changed={changed} failed=0\n"
    assert deployment.is_unchanged(f"PLAY [Release]\n{recap}") is unchanged


def test_options_of_a_kind_are_added(deployment: Any) -> None:
    found = deployment.workers_with(quick={"strategy": "restart"})
    assert found["quick"] == {**deployment.VARIABLES["celery_workers"]["quick"], "strategy": "restart"}
    assert found["steady"] == deployment.VARIABLES["celery_workers"]["steady"]


def test_the_kinds_are_those_of_the_inventory(deployment: Any) -> None:
    kinds = {kind: tuple(found["queues"]) for kind, found in deployment.VARIABLES["celery_workers"].items()}
    assert kinds == deployment.KINDS

"""The controller dies in the middle of a deploy: the cluster goes on, and the next deploy ends what was begun."""

from __future__ import annotations

import time

import pytest
from deployment import KINDS, NAME, QUEUES, WORKERS, is_unchanged, kill_during, on, reboot
from testing import wait_for

# Play -> seconds after its beginning.
MOMENTS = {"Release": 1.5, "Build": 4.0, "Set up": 0.5, "Start": 2.0, "Switch": 0.5}
# Nothing runs yet that could be harmed.
EARLY = ("Release", "Build", "Set up")


@pytest.mark.parametrize(
    "play", [pytest.param(play, marks=[pytest.mark.thorough] if play in EARLY else []) for play in MOMENTS]
)
def test_tasks_run_on(stream, services, broker, tree, watch, seconds, play):
    tree.edition("F")
    begun = time.monotonic()
    with watch.over(f"killed in {play}"):
        kill_during(play, MOMENTS[play])
        stream.goes_on()
    seconds.append((f"killed in {play}", time.monotonic() - begun))
    found = broker.consumers()
    assert found and all(found[queue] == set(WORKERS) for queue in QUEUES), found
    for name in WORKERS:
        running = services.running(name)
        # Whatever else there is: of every kind at least one runs, and what is switched on is complete.
        assert {unit.removeprefix(f"{NAME}-worker-").partition("@")[0] for unit in running} == set(KINDS), running
        on(name, f"test -s /opt/{NAME}/current/complete")


def test_the_next_deploy_completes(traffic, services, ledger, watch, succeed):
    with watch.over("release F, at last"):
        succeed(what="release F, at last")
    release = services.release()
    assert services.is_run_by(release), [services.instances(name) for name in WORKERS]

    def editions() -> set[str]:
        return {start.edition for start in ledger.starts("started > now() - interval '5 seconds'")}

    assert wait_for(lambda: editions() == {"F"}, 30), editions()


def test_a_rebooted_host_runs_the_current_release_only(traffic, services, broker, faults):
    name, release = WORKERS[0], services.release()
    on(name, f"test $(ls /opt/{NAME}/releases | wc -l) -gt 1")
    faults.append(reboot(name, broker))
    assert wait_for(lambda: services.is_run_by(release, [name]), 90), services.instances(name)
    wanted = {f"{NAME}-worker-{kind}@{release}.service" for kind in KINDS}
    assert services.instances(name).keys() == wanted
    assert wait_for(lambda: broker.served_by(*WORKERS), 60), broker.consumers()


@pytest.mark.thorough
def test_a_further_deploy_changes_nothing(traffic, succeed, untouched):
    output = succeed(what="nothing to do")
    assert is_unchanged(output), output[-3000:]

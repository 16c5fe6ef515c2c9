"""Where memory has no room for two: `rolling` leaves no queue without a consumer, `restart` has no two at once.

What is deployed is another environment for the same code: that, too, is a release of its own.
"""

from __future__ import annotations

import pytest
from deployment import CORE, KINDS, NAME, ROOT, WORKERS, on, variables, workers_with
from testing import message, wait_for

# Each waits for the long tasks of the stream to end.
pytestmark = pytest.mark.thorough
STRATEGIES = workers_with(steady={"strategy": "rolling"}, quick={"strategy": "restart"})
ENVIRONMENT = {"LEDGER_SEASON": "winter"}


@pytest.fixture(scope="module")
def switched(services, watch, succeed) -> tuple[str, str]:
    """The release before and the one with the new environment."""
    before = services.release()
    with watch.over("rolling", KINDS["steady"]):
        succeed(
            *variables(celery_workers=STRATEGIES, celery_environment=ENVIRONMENT),
            what="environment, rolling and restart",
        )
    return before, services.release()


def test_another_environment_is_another_release(traffic, services, switched):
    before, after = switched
    assert after != before and services.is_run_by(after), [services.instances(name) for name in WORKERS]
    ((beat, pid),) = services.running(CORE, "beat@*").items()
    assert beat == f"{NAME}-beat@{after}.service"
    for name, process in [(CORE, pid), *((name, services.instance(name, "quick").pid) for name in WORKERS)]:
        assert "LEDGER_SEASON=winter" in on(name, f"cat /proc/{process}/environ").split("\0")
    for name in (CORE, *WORKERS):
        files = [f"{ROOT}/releases/{release}/code/ledger/edition.py" for release in switched]
        one, other = on(name, f"stat -L -c %d:%i {' '.join(files)}").split()
        assert one == other, "unchanged code takes its space again"


def test_one_ends_before_the_other_begins(traffic, services, ledger, switched):
    before, after = switched
    # The playbook waited for the end of what was there.
    assert {services.instance(name, kind, before).state for name in WORKERS for kind in KINDS} == {"inactive"}

    def spans(release: str) -> dict[tuple[str | None, str], tuple[float, float]]:
        """(host, kind of worker) -> its first start and its last end."""
        found: dict[tuple[str | None, str], tuple[float, float]] = {}
        for start in ledger.starts(f"release = '{release}' AND ended IS NOT NULL"):
            place = start.host, start.node.partition("-")[0]
            first, last = found.get(place, (start.started, 0.0))
            found[place] = min(first, start.started), max(last, start.ended or 0.0)
        return found

    places = {(name, kind) for name in WORKERS for kind in KINDS}
    assert wait_for(lambda: spans(after).keys() == places, 60), spans(after)
    old, new = spans(before), spans(after)
    together = {place: (old[place], new[place]) for place in places if old[place][1] > new[place][0]}
    assert not together, "a task of the new release began while one of the old release ran"


def test_the_old_one_is_started_again_when_the_new_one_fails(traffic, services, tree, playbook, broker):
    before = services.release()
    with tree.with_file("never_ready", "end"):
        told = message(playbook(*variables(celery_workers=STRATEGIES), what="never ready, rolling, taken back"))
    assert f"{NAME}-worker-" in told and any(f"{name}: " in told for name in WORKERS)
    assert wait_for(lambda: services.is_run_by(before), 60), [services.instances(name) for name in WORKERS]
    assert wait_for(lambda: broker.served_by(*WORKERS), 60), broker.consumers()
    wanted = sorted(f"{NAME}-worker-{kind}@{before}.service" for kind in KINDS)
    for name in WORKERS:
        assert sorted(on(name, f"ls /etc/systemd/system/{NAME}.target.wants").split()) == wanted

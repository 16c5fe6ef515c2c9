"""Workers are killed and frozen: each comes back on the release it belongs to, and no task is lost."""

from __future__ import annotations

import time

from accounts import Fault, Start
from deployment import PATIENCE, on
from testing import wait_for

# The watchdog of the inventory, what systemd gives a process that it aborts, and the start of the next one.
WATCHDOG_PATIENCE = 30 + 30 + 60.0


def long_task(services, ledger, name: str) -> Start:
    """A long task that a living child of the current instance runs."""
    release = services.release(name)
    where = f"kind = 'long' AND host = '{name}' AND release = '{release}'"

    def found() -> list[Start]:
        # Not one that ends before it is hit.
        young = ledger.running(f"{where} AND started > now() - interval '40 seconds'")
        return [start for start in young if services.exists(name, start.pid)]

    started = wait_for(found, PATIENCE)
    assert started, f"no long task runs on {name}"
    return started[0]


def again(ledger, cut: Start) -> bool:
    """Whether the broker had another process do what this one did not end."""
    rows = ledger.starts(f"kind = 'long' AND number = {cut.number}")
    return len(rows) > 1 and any(row.pid != cut.pid or row.host != cut.host for row in rows)


def test_a_child_of_the_pool_is_killed(traffic, services, ledger, faults):
    name = "worker1"
    cut = long_task(services, ledger, name)
    before = services.instance(name, "steady")
    family = services.family(name, before.pid)
    assert cut.pid in family
    since = time.time()
    on(name, f"kill -KILL {cut.pid}")
    faults.append(Fault("child killed", name, since, time.time(), frozenset({cut.pid})))
    assert wait_for(lambda: again(ledger, cut), PATIENCE), "its task was not delivered again"
    assert wait_for(lambda: len(services.family(name, before.pid)) == len(family), 30), "the pool did not replace it"
    assert services.instance(name, "steady").pid == before.pid, "the whole worker was restarted"


def test_a_main_process_is_killed(traffic, services, ledger, faults, broker):
    name = "worker2"
    cut = long_task(services, ledger, name)
    release, before = services.release(name), services.instance(name, "steady")
    family = frozenset(services.family(name, before.pid))
    since = time.time()
    on(name, f"kill -KILL {before.pid}")
    assert wait_for(lambda: not any(services.exists(name, pid) for pid in family), 30), "children were left behind"
    faults.append(Fault("main process killed", name, since, time.time(), family))

    def back() -> bool:
        found = services.instance(name, "steady", release)
        return found.state == "active" and found.pid not in family

    assert wait_for(back, PATIENCE), services.instances(name)
    assert services.is_run_by(release)
    assert wait_for(lambda: again(ledger, cut), PATIENCE), "its task was not delivered again"


def test_frozen_processes_are_noticed(traffic, services, ledger, faults):
    """A main process by systemd's watchdog, and a child of another pool by the agent: both at once, to save time."""
    release = services.release()
    main, pool = services.instance("worker1", "quick"), services.instance("worker2", "steady")
    child = long_task(services, ledger, "worker2")
    family = services.family("worker2", pool.pid)
    assert child.pid in family
    since = time.time()
    on("worker1", f"kill -STOP {main.pid}")
    on("worker2", f"kill -STOP {child.pid}")

    assert wait_for(lambda: not services.exists("worker2", child.pid), 60), services.instances("worker2")
    faults.append(Fault("child frozen", "worker2", since, time.time(), frozenset({child.pid})))
    assert wait_for(lambda: again(ledger, child), PATIENCE), "its task was not delivered again"
    assert wait_for(lambda: len(services.family("worker2", pool.pid)) == len(family), 30), "the pool did not replace it"
    assert services.instance("worker2", "steady").pid == pool.pid, "the whole worker was restarted"
    journal = on("worker2", f"journalctl --no-pager --since=@{int(since)} -u ledger-worker-steady@{release}")
    assert f"pool process {child.pid} was stopped" in journal

    def back() -> bool:
        found = services.instance("worker1", "quick", release)
        return found.state == "active" and found.pid != main.pid

    assert wait_for(back, WATCHDOG_PATIENCE), services.instances("worker1")
    faults.append(Fault("main process frozen", "worker1", since, time.time(), frozenset({main.pid})))
    journal = on("worker1", f"journalctl --no-pager --since=@{int(since)} -u ledger-worker-quick@{release}")
    assert "Watchdog timeout" in journal

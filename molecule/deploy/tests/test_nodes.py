"""A node goes: for a while, for good, and comes back. What would leave a queue to nobody is refused."""

from __future__ import annotations

import time
from collections.abc import Callable

import guide
import pytest
from deployment import (
    CORE,
    DATABASE_PORT,
    DRAIN,
    KINDS,
    NAME,
    REMOVE,
    ROOT,
    RUN,
    WORKERS,
    on,
    secret,
    source,
    variables,
    workers_with,
)
from testing import host, message, query, script_on, wait_for

STAYING, LEAVING = WORKERS
# Nobody else consumes the queue of this kind.
ALONE = variables(celery_workers=workers_with(quick={"hosts": LEAVING}))
USER = f"{NAME}-worker.{LEAVING}"
# As the host's workers do it, wherever it is run.
LOG_IN = """
import json, sys
from celery_agent import app
given = json.load(sys.stdin)
try:
    with app.connection_for_write().clone(**given) as link:
        link.connect()
    print(json.dumps({"in": True, "why": ""}))
except Exception as error:
    print(json.dumps({"in": False, "why": str(error)}))
"""


@pytest.mark.parametrize(("name", "verb"), [(DRAIN, "drain"), (REMOVE, "remove")])
def test_the_only_consumer_of_a_queue_stays(traffic, playbook, untouched, name, verb):
    told = message(playbook(*ALONE, "-e", f"{verb}={LEAVING}", name=name, what=f"{verb}, refused"))
    assert "numbers" in told and LEAVING in told
    assert host(LEAVING).run(f"test -d {ROOT} -a -d /var/lib/{NAME}").rc == 0


def test_a_node_is_drained_and_returns(traffic, services, ledger, broker, watch, faults, succeed):
    before = services.running(STAYING)
    with watch.over("drain"):
        name, arguments = guide.playbook("drain a node")
        succeed(*arguments, name=name, what="drain")
        assert broker.served_by(STAYING), broker.consumers()
        since = time.time()
        left = ledger.running(f"host = '{LEAVING}'")
        assert not [start for start in left if not any(fault.hit(start) for fault in faults)], "it is not idle"
        traffic.goes_on()
        assert {name for name, _kind in ledger.nodes_since(since)} == {STAYING}
        name, arguments = guide.playbook("put a node back")
        succeed(*arguments, name=name, what="undrain")
        assert wait_for(lambda: broker.served_by(*WORKERS), 30), broker.consumers()
    since = time.time()
    assert wait_for(lambda: LEAVING in {name for name, _kind in ledger.nodes_since(since)}, 60), "it does nothing"
    assert services.running(STAYING) == before


@pytest.fixture(scope="module")
def log_in() -> Callable[[], dict]:
    """log_in() is how the database answers the leaving host, which shows the right password."""
    attempt = {"user": NAME, "database": NAME, "password": secret("database"), "tls": True, "port": DATABASE_PORT}

    def run() -> dict:
        script = source("database", "pg_login.py")
        (found,) = script_on(LEAVING, script, [{**attempt, "host": CORE}])
        return found

    return run


def admitted(address: str) -> list[str]:
    """The lines of pg_hba.conf for this address."""
    (file,) = query("postgres", "SHOW hba_file", CORE)
    return [line for line in on(CORE, f"cat {file}").splitlines() if f" {address}/32 " in line]


def test_a_removed_node_leaves_nothing_behind(traffic, services, ledger, broker, watch, succeed, log_in):
    there = broker.addresses[LEAVING]
    before = services.running(STAYING)
    login = {"userid": USER, "password": secret(f"broker_worker.{LEAVING}")}
    assert log_in()["in"] and admitted(there)
    assert script_on(CORE, LOG_IN, login, [RUN, "python"])["in"] and broker.ask(f"/users/{USER}")[0] == 200
    with watch.over("remove_node"):
        name, arguments = guide.playbook("remove a node")
        succeed(*arguments, name=name, what="remove_node")
    assert services.running(STAYING) == before
    assert broker.served_by(STAYING), broker.consumers()

    assert services.instances(LEAVING) == {}
    assert on(LEAVING, f"find /etc/systemd/system -name '{NAME}*'") == ""
    assert host(LEAVING).run(f"getent passwd {NAME}").rc != 0
    for path in (ROOT, f"/var/lib/{NAME}", f"/etc/{NAME}-cluster"):
        assert host(LEAVING).run(f"test -e {path}").rc != 0, path

    assert broker.ask(f"/users/{USER}")[0] == 404
    refused = script_on(CORE, LOG_IN, login, [RUN, "python"])
    assert not refused["in"] and "ACCESS_REFUSED" in refused["why"], refused
    assert admitted(there) == []
    refused = log_in()
    assert not refused["in"] and refused["code"] == "28000", refused
    # The others work on.
    since = time.time()
    assert wait_for(lambda: {kind for _name, kind in ledger.nodes_since(since)} == set(KINDS), 60)


def test_it_is_added_again(stream, services, broker, watch, succeed, log_in):
    before, release = services.running(STAYING), services.release(STAYING)
    with watch.over("scale-out"):
        name, arguments = guide.playbook("add a node")
        succeed(*arguments, name=name, what="scale-out")
    assert services.running(STAYING) == before
    assert services.is_run_by(release), [services.instances(name) for name in WORKERS]
    assert wait_for(lambda: broker.served_by(*WORKERS), 60), broker.consumers()
    assert log_in()["in"]

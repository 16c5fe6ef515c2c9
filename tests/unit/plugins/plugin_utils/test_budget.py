"""Database connections and sockets: what the cluster needs at most, and what there is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.budget import (
    APPLICATION_CONNECTIONS,
    Line,
    broker_sockets,
    check_budgets,
    connections,
    database_budget,
    size,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Cluster, Inventory, Worker
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from hypothesis import given
from hypothesis import strategies as st

HOSTS = ("w1", "w2")
GIB = 1024**3


def worker(kind: str = "default", **changes: Any) -> Worker:
    made = Worker(
        kind=kind,
        queues=("celery",),
        hosts=HOSTS,
        pattern="celery_workers",
        pool="prefork",
        concurrency=4,
        autoscale=None,
        prefetch_multiplier=None,
        time_limit=None,
        soft_time_limit=None,
        max_tasks_per_child=None,
        max_memory_per_child=None,
        memory_max=None,
        stop_timeout=600,
        log_level="INFO",
        arguments=(),
    )
    return replace(made, **changes)


def cluster(*workers: Worker, **changes: Any) -> Cluster:
    made = Cluster(
        name="shop",
        hosts={},
        brokers=("mq",),
        broker_addresses=("192.0.2.1",),
        broker_nodes={"mq": "rabbit@mq"},
        broker_name="shop-broker",
        broker_login="password",
        broker_users=(),
        queue_type="quorum",
        queue_settings={},
        consumer_timeout=1800,
        database="db",
        database_address="192.0.2.2",
        source=None,
        source_address=None,
        beat=None,
        beat_hosts=(),
        flower=(),
        workers={item.kind: item for item in workers},
        worker_hosts=HOSTS,
        queues={},
        release_hosts=HOSTS,
        producers=(),
        submitter="w1",
        database_mode="managed",
        database_port=5432,
        database_server_port=5432,
        database_pooler="none",
        database_login="password",
        database_clients=(),
        database_owners=(),
        database_users=HOSTS,
        database_connections=0,
        prepared_hosts=HOSTS,
    )
    return replace(made, **changes)


def inventory(**values: Any) -> Inventory:
    return Inventory({}, {host: {} for host in HOSTS}, values, lambda _pattern: ())


def found(judged: Cluster, **values: Any) -> list[str]:
    problems = Problems()
    check_budgets(judged, inventory(**values), problems)
    return [str(problem) for problem in problems]


# --------------------------------------------------------------------------------------------------
# Sizes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512M", 512 * 1024**2),
        ("8G", 8 * GIB),
        ("1T", 1024**4),
        ("4096", 4096),
        ("1.5G", 3 * GIB // 2),
        ("100B", 100),
        (" 1K ", 1024),
    ],
)
def test_a_size_has_binary_units_like_systemds(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "infinity", "50%", "-1G", "1X", "G", "1 G", "9" * 5000, None, 512, True, ["1G"]])
def test_what_is_no_size(text: object) -> None:
    assert size(text) is None


@given(st.integers(0, 10**12), st.sampled_from("KMGT"))
def test_a_unit_is_1024_of_the_one_before(number: int, unit: str) -> None:
    smaller = {"K": "", "M": "K", "G": "M", "T": "G"}[unit]
    assert size(f"{number}{unit}") == size(f"{number * 1024}{smaller}")


# --------------------------------------------------------------------------------------------------
# Database connections


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 5),
        ({"autoscale": (2, 8)}, 9),
        ({"pool": "threads"}, 4),
        ({"pool": "gevent", "concurrency": 200}, 200),
        ({"pool": "solo"}, 1),
    ],
)
def test_the_connections_of_one_worker(changes: dict[str, Any], count: int) -> None:
    assert connections(worker(**changes)) == count


def test_the_budget_names_everybody() -> None:
    judged = cluster(
        worker(),
        worker("video", hosts=("w2",), pool="threads"),
        beat_hosts=("app",),
        source="app",
        flower=("mon", "mon2"),
    )
    budget = database_budget(judged, inventory(postgresql_max_connections=50))
    assert budget is not None
    assert budget.lines == (
        Line("worker default: 2 hosts, each 5", 10),
        Line("worker video: 1 host, each 4", 4),
        Line("beat on app", 1),
        Line("Flower: 2 hosts, each 1", 2),
        Line("the application on app (assumed)", APPLICATION_CONNECTIONS),
    )
    assert (budget.total, budget.server, budget.limit) == (27, 27, 47)


def test_a_database_elsewhere_has_no_budget() -> None:
    judged = cluster(worker(concurrency=1000), database=None, database_address=None)
    assert database_budget(judged, inventory()) is None
    assert found(judged) == []


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ({}, 97),
        ({"postgresql_max_connections": 200}, 197),
        ({"postgresql_max_connections": "200"}, 197),
        ({"postgresql_settings": {"superuser_reserved_connections": 10, "reserved_connections": 5}}, 85),
        ({"postgresql_settings": {"max_connections": 300}, "postgresql_max_connections": 50}, 297),
        ({"postgresql_max_connections": 2}, 0),
        ({"postgresql_settings": "x"}, 97),
        ({"postgresql_max_connections": "many"}, None),
        ({"postgresql_max_connections": True}, None),
    ],
)
def test_the_connections_there_are(values: dict[str, Any], limit: int | None) -> None:
    budget = database_budget(cluster(worker()), inventory(**values))
    assert budget is not None and budget.limit == limit


def test_children_within_the_connections_are_accepted() -> None:
    # 2 hosts with 38 connections are 76 of 97, below four fifths.
    assert found(cluster(worker(concurrency=37))) == []


def test_nearly_all_connections_are_a_warning() -> None:
    (problem,) = found(cluster(worker(concurrency=47)))
    assert problem.startswith(
        "CC402 warning: postgresql_max_connections is 100, which leaves 97 connections without those reserved for "
        "superusers; the cluster needs up to 96 (the most: 96 for worker default: 2 hosts, each 48): write 130 or "
        "more, lower the concurrency of the workers, or write transaction into postgresql_pooler"
    )


def test_more_children_than_connections_are_refused() -> None:
    (problem,) = found(cluster(worker(concurrency=96)))
    assert problem.startswith("CC401 error: postgresql_max_connections is 100")
    (problem,) = found(cluster(worker(concurrency=96)), postgresql_settings={"max_connections": 150})
    assert problem.startswith("CC401 error: postgresql_settings.max_connections is 150")


@given(st.integers(1, 500), st.integers(0, 50))
def test_what_is_proposed_is_enough(concurrency: int, reserved: int) -> None:
    judged = cluster(worker(concurrency=concurrency), source="app")
    values: dict[str, Any] = {"postgresql_settings": {"superuser_reserved_connections": reserved}}
    for problem in found(judged, postgresql_max_connections=1, **values):
        enough = int(problem.split(": write ")[1].split()[0])
        assert found(judged, postgresql_max_connections=enough, **values) == []


def test_an_existing_server_is_asked_for_its_room_itself() -> None:
    judged = cluster(worker(concurrency=1000), database_mode="access")
    budget = database_budget(judged, inventory(postgresql_max_connections=50))
    assert budget is not None and (budget.total, budget.limit) == (2002, None)
    assert found(judged, postgresql_max_connections=50) == []


# --------------------------------------------------------------------------------------------------
# Poolers


def test_behind_a_transaction_pooler_the_workers_count_no_more() -> None:
    judged = cluster(worker(concurrency=1000), source="app", database_pooler="transaction")
    budget = database_budget(judged, inventory())
    assert budget is not None
    assert (budget.total, budget.server, budget.limit) == (2012, 22, 97)
    assert found(judged) == []
    # Nearly all of them is all that it ever opens.
    assert found(judged, postgresql_pooler_size=95) == []


@pytest.mark.parametrize("pooler", ["session", "transaction"])
def test_the_pooler_itself_must_fit_the_server(pooler: str) -> None:
    (problem,) = found(cluster(worker(), database_pooler=pooler), postgresql_pooler_size=96)
    assert problem == (
        "CC401 error: postgresql_max_connections is 100, which leaves 97 connections without those reserved for "
        "superusers; the pooler opens up to 96 (postgresql_pooler_size), and the owner 2 past it: write 130 or more, "
        "or a smaller postgresql_pooler_size"
    )


def test_the_children_of_prefork_workers_keep_a_session_each() -> None:
    session = {"database_pooler": "session"}
    (problem,) = found(cluster(worker(concurrency=11), source="app", **session))
    assert problem == (
        "CC403 error: postgresql_pooler_size is 20, and the children of the prefork workers keep 22 connections, of "
        "which a session pooler lends none to others; with the application and while a release replaces another one, "
        "up to 54 are in use: write 54 or more, or write transaction into postgresql_pooler"
    )
    (problem,) = found(cluster(worker(concurrency=10), **session))
    assert problem.startswith("CC406 warning: postgresql_pooler_size is 20, and the children of the prefork workers")
    assert found(cluster(worker(concurrency=5), **session)) == []
    (problem,) = found(cluster(worker(concurrency=5), source="app", **session))
    assert "write 30 or more" in problem and problem.startswith("CC406")
    # Other pools give theirs back, and a transaction pooler needs no sessions.
    for pool in ("threads", "gevent", "eventlet", "solo"):
        assert found(cluster(worker(concurrency=500, pool=pool), **session)) == []
    assert found(cluster(worker(concurrency=500), database_pooler="transaction")) == []
    assert found(cluster(worker(concurrency=5))) == []


@given(st.integers(1, 200), st.booleans())
def test_the_proposed_size_of_a_session_pooler_is_enough(concurrency: int, has_source: bool) -> None:
    judged = cluster(worker(concurrency=concurrency), source="app" if has_source else None, database_pooler="session")
    values = {"postgresql_max_connections": 10**6}
    for problem in found(judged, postgresql_pooler_size=1, **values):
        enough = int(problem.split(": write ")[1].split()[0])
        assert found(judged, postgresql_pooler_size=enough, **values) == []


# --------------------------------------------------------------------------------------------------
# Sockets of the broker


def test_each_process_opens_connections() -> None:
    assert broker_sockets(cluster(worker(), worker("video", hosts=("w2",)), beat_hosts=("app",), flower=("mon",))) == 9


def test_sockets_within_the_open_files_are_accepted() -> None:
    many = tuple(f"w{number}" for number in range(500))
    assert found(cluster(worker(hosts=many, pool="solo")), postgresql_max_connections=1000) == []


def test_more_sockets_than_open_files_are_refused() -> None:
    (problem,) = found(cluster(worker(), flower=("mon",)), rabbitmq_open_files=105)
    assert problem == (
        "CC404 error: rabbitmq_open_files is 105, which leaves 2 sockets; workers, beat and Flower alone open 6: "
        "write 1024 or more"
    )
    assert found(cluster(worker()), rabbitmq_open_files="x") == []


@given(
    st.one_of(st.none(), st.integers(), st.text(max_size=5), st.floats(), st.lists(st.integers(), max_size=2)),
    st.one_of(st.none(), st.text(max_size=4), st.dictionaries(st.text(max_size=4), st.integers())),
)
def test_any_value_is_judged_or_not(value: Any, further: Any) -> None:
    names = ("postgresql_max_connections", "postgresql_pooler_size", "rabbitmq_open_files")
    judged = cluster(worker(memory_max="1G"), source="app", database_pooler="session")
    found(judged, postgresql_settings=further, **dict.fromkeys(names, value))
    if isinstance(further, dict):
        found(judged, postgresql_settings={"max_connections": value, "reserved_connections": value})


def test_each_of_several_beats_has_a_session_for_its_lock() -> None:
    several = cluster(worker(), beat_hosts=("app", "mon"))
    budget = database_budget(several, inventory())
    assert budget is not None
    assert budget.lines[-2:] == (Line("beat on app, mon", 2), Line("the lock of beat: 2 hosts, each 1", 2))
    # Past a pooler, as the owner.
    pooled = database_budget(replace(several, database_pooler="transaction"), inventory())
    assert pooled is not None and pooled.server == 20 + 2 + 2
    full = found(replace(several, database_pooler="transaction"), postgresql_max_connections=26)
    assert "the owner 2 past it, the lock of beat 2" in full[0]
    assert found(replace(several, database_pooler="transaction"), postgresql_max_connections=27) == []
    assert broker_sockets(several) == broker_sockets(cluster(worker())) + 2

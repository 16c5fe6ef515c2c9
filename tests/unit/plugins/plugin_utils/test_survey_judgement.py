"""What the hosts are asked, and what their answers mean together."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.taskfleet.celery_cluster.plugins.filter.survey import FilterModule
from ansible_collections.taskfleet.celery_cluster.plugins.modules.host_survey import ARGUMENTS
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils import survey as judgement
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.survey import (
    check_hosts,
    check_systems,
    offset,
    some,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.survey_needs import endpoint, needs
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024 * 1024

SETTINGS = {
    "celery_apt_packages": [],
    "celery_broker_management_port": 15671,
    "celery_broker_port": 5671,
    "celery_disk_required_mb": 1024,
    "celery_result_backend_url": "",
    "celery_root": "/opt/shop",
    "celery_state_directory": "/var/lib/shop",
    "code_python": "/usr/bin/python3",
    "code_source_ssh_port": 22,
}

CLUSTER: dict[str, Any] = {
    "hosts": {
        name: {"address": address, "ports": []}
        for name, address in {
            "mq1": "mq.example.org",
            "db1": "192.0.2.2",
            "app1": "192.0.2.3",
            "w1": "192.0.2.4",
            "w2": "2001:db8::5",
        }.items()
    },
    "brokers": ["mq1"],
    "database": "db1",
    "source": "app1",
    "beat": "app1",
    "flower": ["app1"],
    "workers": {
        "default": {"hosts": ["w1", "w2"], "memory_max": None},
        "video": {"hosts": ["w1"], "memory_max": "6G"},
        "mail": {"hosts": ["w1"], "memory_max": "1500M"},
    },
    "worker_hosts": ["w1", "w2"],
    "release_hosts": ["app1", "w1", "w2"],
    "submitter": "app1",
    "database_mode": "managed",
    "database_port": 5432,
    "database_server_port": 5432,
    "prepared_hosts": ["mq1", "db1", "app1", "w1", "w2"],
}
#: The database is somebody else's.
ACCESS = {**CLUSTER, "database_mode": "access", "prepared_hosts": ["mq1", "app1", "w1", "w2"]}

FACTS = {
    "distribution": "Debian",
    "distribution_major_version": "12",
    "distribution_version": "12.5",
    "service_mgr": "systemd",
}

INTERPRETER = {
    "path": "/usr/bin/python3",
    "exists": True,
    "real_path": "/usr/bin/python3.11",
    "version": "3.11.2",
    "prefix": "/usr",
    "closed": None,
    "detail": "",
}


def survey(host: str, **changed: Any) -> dict[str, Any]:
    """What a host without any fault answers, before anything is installed."""
    asked = needs(CLUSTER, host, SETTINGS)
    room = {"directory": True, "read_only": False, "bytes_free": 9000 * MIB, "inodes_free": 500_000}
    answer: dict[str, Any] = {
        "asked": 1000.0,
        "time": 1000.5,
        "answered": 1001.0,
        "resolved": {name: ["192.0.2.1"] for name in asked["names"]},
        "ports": [{**port, "state": "refused", "detail": ""} for port in asked["ports"]],
        "listening": {str(port): [] for port in asked["listening"]},
        "paths": [{**room, "path": path, "nearest": "/"} for path in asked["paths"]],
        "memory_bytes": 8000 * MIB,
        "interpreter": dict(INTERPRETER) if asked["interpreter"] else {},
        "packages": {name: {"installed": "", "candidate": ""} for name in asked["packages"]},
    }
    return copy.deepcopy({**answer, **changed})


@pytest.fixture
def surveys() -> dict[str, dict[str, Any]]:
    return {host: survey(host) for host in CLUSTER["hosts"]}


def judged(surveys: dict[str, dict[str, Any]], cluster: dict[str, Any] | None = None, /, **settings: Any) -> list[str]:
    problems = Problems()
    check_hosts(cluster or CLUSTER, surveys, {**SETTINGS, **settings}, problems)
    return [str(problem) for problem in problems]


def the_one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def ports_of(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return next(port for port in answer["ports"] if port["name"] == name)


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_a_worker_is_asked_about_everybody_it_connects_to() -> None:
    asked = needs(CLUSTER, "w1", SETTINGS)
    assert asked["names"] == ["mq.example.org"]
    assert [(port["name"], port["to"], port["host"], port["port"]) for port in asked["ports"]] == [
        ("broker", "mq1", "mq.example.org", 5671),
        ("database", "db1", "192.0.2.2", 5432),
        ("code over SSH", "app1", "192.0.2.3", 22),
    ]
    assert asked["paths"] == ["/opt/shop", "/var/lib/shop"]
    assert (asked["interpreter"], asked["listening"], asked["packages"]) == ("/usr/bin/python3", [], [])


def test_servers_are_asked_what_they_serve_and_flower_for_the_management_api() -> None:
    assert needs(CLUSTER, "mq1", SETTINGS)["listening"] == [5671, 15671]
    assert needs(CLUSTER, "db1", SETTINGS)["listening"] == [5432]
    app = needs(CLUSTER, "app1", SETTINGS)
    assert app["listening"] == [22]
    assert [port["name"] for port in app["ports"]] == ["broker", "management API", "database"]
    broker = needs(CLUSTER, "mq1", SETTINGS)
    assert (broker["ports"], broker["interpreter"], broker["packages"]) == ([], "", ["rabbitmq-server"])


def test_the_name_of_the_database_is_asked_of_every_host() -> None:
    named = copy.deepcopy(CLUSTER)
    named["hosts"]["db1"]["address"] = "db.example.org"
    assert needs(named, "mq1", SETTINGS)["names"] == ["db.example.org"]
    assert needs({**CLUSTER, "database": None}, "mq1", SETTINGS)["names"] == []


def test_with_a_pooler_the_submitter_reaches_the_server_too() -> None:
    pooled = {**CLUSTER, "database_port": 6432}
    asked = {host: needs(pooled, host, SETTINGS)["ports"] for host in ("app1", "w1")}
    ports = {host: [(port["name"], port["port"]) for port in asked[host] if port["to"] == "db1"] for host in asked}
    assert ports == {"app1": [("database", 6432), ("database, past the pooler", 5432)], "w1": [("database", 6432)]}
    assert needs(pooled, "db1", SETTINGS)["listening"] == [5432, 6432]
    locked = {**pooled, "lock_clients": [{"name": "w1", "cidr": "192.0.2.9/32"}]}
    asked = {port["name"] for port in needs(locked, "w1", SETTINGS)["ports"] if port["to"] == "db1"}
    assert asked == {"database", "database, past the pooler"}


def test_the_host_of_an_existing_server_is_asked_for_its_listeners_alone() -> None:
    named = copy.deepcopy(ACCESS)
    named["hosts"]["db1"]["address"] = "db.example.org"
    asked = needs(named, "db1", {**SETTINGS, "celery_apt_packages": ["tree"]})
    nothing = {"names": [], "ports": [], "paths": [], "interpreter": "", "packages": []}
    assert asked == {**nothing, "listening": [5432]}
    assert needs(named, "w1", SETTINGS) == needs({**named, "database_mode": "managed"}, "w1", SETTINGS)


def test_packages_are_asked_for_by_their_plain_names() -> None:
    wanted = ["python3.12=3.12.1-1", "libpq5:amd64", "tree/bookworm", "./local.deb", "-x", None]
    asked = needs(CLUSTER, "w1", {**SETTINGS, "celery_apt_packages": wanted})
    assert asked["packages"] == ["python3.12", "libpq5", "tree"]
    assert needs(CLUSTER, "w1", {**SETTINGS, "celery_apt_packages": "tree"})["packages"] == []


@pytest.mark.parametrize("host", CLUSTER["hosts"])
def test_the_module_takes_what_it_is_asked(host: str) -> None:
    url = "redis://results.example.org"
    asked = needs(CLUSTER, host, {**SETTINGS, "celery_result_backend_url": url, "celery_broker_port": "5671"})
    assert ArgumentSpecValidator(ARGUMENTS).validate(asked).error_messages == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("db+postgresql+psycopg://shop:secret@db.example.org/shop?sslmode=verify-full", ("db.example.org", 5432)),
        ("db+postgresql://shop@[2001:db8::1]:5433/shop", ("2001:db8::1", 5433)),
        ("rediss://:secret@cache.example.org/0", ("cache.example.org", 6379)),
        ("mongodb://store.example.org:27017/", ("store.example.org", 27017)),
        ("", None),
        (None, None),
        ("rpc://", None),
        ("db+sqlite:////var/lib/results.db", None),
        ("unknown://store.example.org", None),
        ("redis://a:6379,b:6379", None),
        ("sentinel://a:26379;sentinel://b:26379", None),
        ("redis://a:99999", None),
        ("redis://[broken", None),
        # A password that is not quoted: nothing of it may be taken for a host.
        ("redis://user:pass@word/x@cache.example.org", None),
        ("db+postgresql://user:12/34@db.example.org/x", None),
    ],
)
def test_where_an_existing_result_backend_is(url: object, expected: object) -> None:
    assert endpoint(url) == expected


@given(st.text() | st.integers() | st.from_regex(r"[a-z+]{1,6}://[^ ]*", fullmatch=True))
def test_no_url_breaks_the_question(url: object) -> None:
    found = endpoint(url)
    assert found is None or (found[0] and 0 < found[1] < 65536)


# --- nothing wrong ---------------------------------------------------------------------------------------------------


def test_fresh_hosts_are_accepted(surveys: dict[str, dict[str, Any]]) -> None:
    assert judged(surveys) == []


def test_a_running_cluster_is_accepted(surveys: dict[str, dict[str, Any]]) -> None:
    for answer in surveys.values():
        answer["listening"] = {port: ["::"] for port in answer["listening"]}
        for port in answer["ports"]:
            port["state"] = "open"
    assert judged(surveys) == []


def test_hosts_that_were_not_asked_are_passed_over(surveys: dict[str, dict[str, Any]]) -> None:
    assert judged({**surveys, "w2": {}, "mq1": {"skipped": True}}) == []
    assert judged({}) == []


def test_no_other_host_of_a_cluster_than_its_own_is_needed(surveys: dict[str, dict[str, Any]]) -> None:
    ports_of(surveys["w1"], "broker")["state"] = "open"
    assert judged({"w1": surveys["w1"]}) == []


# --- the system ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["12", "13", 13])
def test_supported_systems(release: object) -> None:
    problems = Problems()
    check_systems(CLUSTER, {"w1": {**FACTS, "distribution_major_version": release}}, problems)
    assert not len(problems)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({**FACTS, "distribution_major_version": "11", "distribution_version": "11.9"}, "is Debian 11.9 with systemd"),
        ({**FACTS, "distribution": "Ubuntu"}, "is Ubuntu 12.5 with systemd: use Debian 12 or 13 with systemd"),
        ({**FACTS, "service_mgr": "sysvinit"}, "is Debian 12.5 with sysvinit"),
        ({}, "w1: the system is unknown: gather the host's facts first"),
    ],
)
def test_other_systems(facts: dict[str, Any], words: str) -> None:
    problems = Problems()
    check_systems(CLUSTER, {"w1": facts, "w2": FACTS}, problems)
    [problem] = problems
    assert problem.code == "CC801" and problem.host == "w1" and words in str(problem)


# --- names and ports -------------------------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["app1"]["resolved"]["mq.example.org"] = []
    found = the_one(judged(surveys))
    assert found.startswith("CC802 error: app1 cannot resolve mq.example.org: write an address into celery_address")


def test_a_name_that_nobody_resolves_is_told_once(surveys: dict[str, dict[str, Any]]) -> None:
    for host in ("app1", "w1", "w2"):
        surveys[host]["resolved"]["mq.example.org"] = []
    assert "app1, w1, w2 cannot resolve mq.example.org" in the_one(judged(surveys))
    surveys["w1"]["resolved"]["results.invalid"] = []
    assert "w1 cannot resolve results.invalid: write a host that is known into celery_result_backend_url" in "".join(
        judged(surveys)
    )


def test_a_name_that_leads_a_host_to_itself(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["w1"]["resolved"]["mq.example.org"] = ["127.0.1.1", "::1"]
    surveys["mq1"]["resolved"]["mq.example.org"] = ["127.0.1.1"]
    surveys["w2"]["resolved"]["mq.example.org"] = ["127.0.1.1", "192.0.2.1", "fe80::1%eth0"]
    # A result backend outside the inventory may be on every host.
    surveys["w2"]["resolved"]["localhost"] = ["127.0.0.1"]
    found = the_one(judged(surveys))
    assert "CC802 error: w1 cannot reach another host as mq.example.org, which is a loopback address there" in found


@pytest.mark.parametrize("state", ["refused", "timeout", "unreachable", "failed"])
@pytest.mark.parametrize("listener", ["0.0.0.0", "::", "192.0.2.1"])
def test_a_service_that_runs_and_cannot_be_reached(
    surveys: dict[str, dict[str, Any]], state: str, listener: str
) -> None:
    surveys["mq1"]["listening"]["5671"] = ["127.0.0.1", listener]
    for host in ("app1", "w2"):
        ports_of(surveys[host], "broker")["state"] = "open"
    ports_of(surveys["w1"], "broker")["state"] = state
    found = the_one(judged(surveys))
    assert f"CC803 error: w1 cannot reach mq1 (mq.example.org) on port 5671 (broker; {state})" in found
    assert "let TCP from w1 to port 5671 pass every firewall" in found


@pytest.mark.parametrize("listener", ["127.0.0.1", "::1", "198.51.100.7"])
def test_a_service_that_serves_another_address_does_not_run_yet(
    surveys: dict[str, dict[str, Any]], listener: str
) -> None:
    surveys["mq1"]["listening"]["5671"] = [listener]
    assert judged(surveys) == []


@pytest.mark.parametrize("state", ["timeout", "unreachable"])
def test_silence_where_nothing_listens_yet_is_a_warning(surveys: dict[str, dict[str, Any]], state: str) -> None:
    ports_of(surveys["w1"], "database")["state"] = state
    ports_of(surveys["w2"], "database")["state"] = state
    found = the_one(judged(surveys))
    assert f"CC804 warning: w1, w2 cannot reach db1 (192.0.2.2) on port 5432 (database; {state})" in found


def test_an_unresolved_name_is_told_once_and_not_for_every_port(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["mq1"]["listening"]["5671"] = ["::"]
    surveys["app1"]["resolved"]["mq.example.org"] = []
    for host in ("app1", "w1", "w2"):
        for port in surveys[host]["ports"]:
            port["state"] = "unresolved" if host == "app1" and port["to"] == "mq1" else "open"
    assert "CC802" in the_one(judged(surveys))


@pytest.mark.parametrize("state", ["refused", "timeout"])
def test_a_result_backend_outside_the_inventory_must_answer(surveys: dict[str, dict[str, Any]], state: str) -> None:
    port = {"host": "192.0.2.99", "port": 6379, "to": "", "name": "result backend", "state": state, "detail": ""}
    surveys["w1"]["ports"].append(port)
    assert f"w1 cannot reach 192.0.2.99 on port 6379 (result backend; {state})" in the_one(judged(surveys))
    port["state"] = "open"
    surveys["w1"]["ports"][-1] = port
    assert judged(surveys) == []


def test_many_hosts_with_one_problem_are_counted() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdefgh")) == "a, b, c, d, e and 3 more"


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("time", "expected"), [(1000.0, 0), (1001.0, 0), (1031.0, 30), (995.0, -5)])
def test_the_offset_of_a_clock_is_what_the_round_trip_cannot_explain(time: float, expected: float) -> None:
    assert offset({"asked": 1000.0, "time": time, "answered": 1001.0}) == expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (29, None),
        (-29, None),
        (40, "CC806 warning: w1: the clock is 40 s ahead of the controller's"),
        (-40, "CC806 warning: w1: the clock is 40 s behind the controller's"),
        (3600, "CC805 error: w1: the clock is 3600 s ahead of the controller's"),
        (-3600, "CC805 error: w1: the clock is 3600 s behind the controller's"),
    ],
)
def test_a_clock(surveys: dict[str, dict[str, Any]], seconds: float, words: str | None) -> None:
    surveys["w1"]["time"] = seconds + (1001 if seconds > 0 else 1000)
    found = judged(surveys)
    assert found == [] if words is None else words in the_one(found)


@pytest.mark.parametrize(("seconds", "direction"), [(4000, "behind"), (-4000, "ahead of")])
def test_when_all_hosts_agree_the_controller_is_wrong(
    surveys: dict[str, dict[str, Any]], seconds: int, direction: str
) -> None:
    for number, answer in enumerate(surveys.values()):
        answer["time"] += seconds + number
    found = the_one(judged(surveys))
    assert (
        found.startswith("CC805 error: the controller's clock is") and f"{direction} the clock of every host" in found
    )
    surveys["w1"]["time"] += 100
    assert len(judged(surveys)) == len(surveys)


def test_a_single_host_does_not_outvote_the_controller() -> None:
    assert "w1: the clock is" in the_one(judged({"w1": survey("w1", time=9000.0)}))


# --- disk ------------------------------------------------------------------------------------------------------------


def test_room_for_a_release(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["w1"]["paths"][0]["bytes_free"] = 1024 * MIB
    surveys["mq1"]["paths"][0]["bytes_free"] = 0
    surveys["w2"]["paths"][0]["inodes_free"] = None
    assert judged(surveys) == []
    surveys["w1"]["paths"][0]["bytes_free"] -= 1
    found = the_one(judged(surveys))
    assert "CC807 error: w1: celery_root is /opt/shop, and 1023 MiB of the 1024 MiB that a release needs" in found
    assert "free 1 MiB" in found
    assert judged(surveys, celery_disk_required_mb=0) == []
    assert len(judged(surveys, celery_disk_required_mb="99999999")) == 3


def test_files_for_a_release(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["w1"]["paths"][0]["inodes_free"] = 1024 * 45 - 1
    assert "CC807 error: w1: celery_root is /opt/shop, and 46079 files can still be made" in the_one(judged(surveys))


def test_directories_that_cannot_be_written(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["mq1"]["paths"][0].update(read_only=True, nearest="/opt")
    surveys["w1"]["paths"][1].update(directory=False, nearest="/var/lib/shop")
    first, second = judged(surveys)
    assert first.startswith("CC808 error: mq1: celery_root is /opt/shop, and the file system of /opt is read-only")
    assert "w1: celery_state_directory is /var/lib/shop, where /var/lib/shop is no directory" in second


# --- the interpreter -------------------------------------------------------------------------------------------------


def test_a_missing_interpreter(surveys: dict[str, dict[str, Any]]) -> None:
    missing = {**INTERPRETER, "path": "/usr/bin/python9", "exists": False, "version": "", "detail": "no such file"}
    surveys["w1"]["interpreter"] = {**missing, "real_path": "/usr/bin/python9", "prefix": ""}
    found = the_one(judged(surveys))
    assert found.startswith("CC809 error: w1: code_python is /usr/bin/python9, which does not run (no such file)")
    surveys["w1"]["packages"] = {"tree": {}, "python9-venv": {}}
    assert "CC810 warning: w1: code_python is /usr/bin/python9, which is not there yet" in the_one(judged(surveys))
    surveys["w1"]["packages"] = {"python99": {}}
    assert "CC809" in the_one(judged(surveys))


def test_the_role_brings_the_interpreter_of_the_distribution(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["w1"]["interpreter"].update(exists=False, version="")
    assert "CC810 warning" in the_one(judged(surveys))


def test_an_interpreter_that_does_not_run(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["w1"]["interpreter"].update(version="", detail="libpython3.so is missing")
    assert "CC809 error: w1: code_python" in the_one(judged(surveys)) and "libpython3.so" in judged(surveys)[0]


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("2.7.18", "CC811"),
        ("3.5.9", "CC811"),
        ("3.6.15", "CC812"),
        ("3.9.2", "CC812"),
        ("3.10.0", None),
        ("3.15.0", None),
    ],
)
def test_versions_of_the_interpreter(surveys: dict[str, dict[str, Any]], version: str, code: str | None) -> None:
    surveys["w1"]["interpreter"]["version"] = version
    found = judged(surveys)
    assert found == [] if code is None else code in the_one(found) and f"Python {version}" in found[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"closed": {"path": "/srv/me", "mode": "0700"}}, "other accounts than root may not enter /srv/me (mode 0700)"),
        ({"real_path": "/home/me/python3"}, "the services cannot see /home/me/python3"),
        ({"prefix": "/root/.local/python"}, "the services cannot see /root/.local/python"),
        ({"path": "/home/me/python3"}, "the services cannot see /home/me/python3"),
        ({"real_path": "/homes/me/python3", "prefix": "/rootless"}, None),
    ],
)
def test_an_interpreter_below_a_home(
    surveys: dict[str, dict[str, Any]], changed: dict[str, Any], words: str | None
) -> None:
    surveys["w1"]["interpreter"].update(changed)
    found = judged(surveys)
    assert found == [] if words is None else "CC813 error: w1: code_python" in the_one(found) and words in found[0]


# --- memory and the broker -------------------------------------------------------------------------------------------


def test_the_limits_of_the_workers_fit_the_host(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["w1"]["memory_bytes"] = (6144 + 1500) * MIB
    # No limit of theirs applies here.
    surveys["w2"]["memory_bytes"] = surveys["mq1"]["memory_bytes"] = 1
    assert judged(surveys) == []
    surveys["w1"]["memory_bytes"] -= 1
    found = the_one(judged(surveys))
    assert "CC814 error: w1: celery_workers has limits (memory_max) of 7644 MiB (video 6144 + mail 1500)" in found


def test_an_installed_broker_is_compared_with_the_one_to_come(
    surveys: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(judgement, "check_broker_jump", lambda *arguments: asked.append((*arguments[:2], arguments[3])))
    judged(surveys)
    assert asked == []
    surveys["mq1"]["packages"]["rabbitmq-server"] = {"installed": "3.10.8-1", "candidate": "4.0.5-6"}
    # An operator may install the package anywhere; the roles touch the brokers only.
    surveys["w1"]["packages"]["rabbitmq-server"] = {"installed": "3.8.0", "candidate": "4.0.5-6"}
    judged(surveys)
    assert asked == [("3.10.8-1", "4.0.5-6", "mq1")]
    surveys["mq1"]["packages"]["rabbitmq-server"]["candidate"] = ""
    judged(surveys)
    assert len(asked) == 1


# --- an existing database server -------------------------------------------------------------------------------------


def test_its_system_is_not_ours_to_judge(surveys: dict[str, dict[str, Any]]) -> None:
    facts = {**dict.fromkeys(surveys, FACTS), "db1": {"distribution": "RedHat", "service_mgr": "systemd"}}
    for host in ("app1", "w1", "w2"):
        ports_of(surveys[host], "database")["state"] = "open"
    judge = FilterModule().filters()["survey_problems"]
    assert judge(ACCESS, surveys, facts, SETTINGS)["report"] == ""
    assert [line[:5] for line in judge(CLUSTER, surveys, facts, SETTINGS)["errors"]] == ["CC801"]


def test_it_must_answer_because_nobody_starts_it_here(surveys: dict[str, dict[str, Any]]) -> None:
    for host in ("app1", "w1", "w2"):
        ports_of(surveys[host], "database")["state"] = "open"
    assert judged(surveys, ACCESS) == []
    ports_of(surveys["w1"], "database")["state"] = "timeout"
    assert the_one(judged(surveys, ACCESS)).startswith("CC803 error: w1 cannot reach db1 (192.0.2.2) on port 5432")
    # Of a server that is yet to be installed nobody expects it.
    assert the_one(judged(surveys)).startswith("CC804 warning: w1")


@pytest.mark.parametrize("listeners", [[], ["127.0.0.1"], ["127.0.0.1", "::1"]])
def test_it_must_listen_for_others(surveys: dict[str, dict[str, Any]], listeners: list[str]) -> None:
    surveys["db1"]["listening"]["5432"] = listeners
    assert the_one(judged(surveys, ACCESS)) == (
        "CC815 error: db1: port 5432 has no listener that other hosts reach (app1, w1, w2 tried): have the existing "
        "server listen there (listen_addresses), or write its port into celery_database_port"
    )
    assert judged(surveys) == []
    # Where it listens, something between the hosts refuses.
    surveys["db1"]["listening"]["5432"] = ["192.0.2.2"]
    assert the_one(judged(surveys, ACCESS)).startswith("CC803 error: app1, w1, w2 cannot reach")
    del surveys["db1"]
    assert the_one(judged(surveys, ACCESS)).startswith("CC803 error: app1, w1, w2 cannot reach")


# --- all together ----------------------------------------------------------------------------------------------------


def test_all_problems_of_all_hosts_are_told_at_once_and_errors_first(surveys: dict[str, dict[str, Any]]) -> None:
    surveys["w1"].update(time=9000.0)
    surveys["w2"]["interpreter"]["version"] = "3.9.2"
    surveys["app1"]["resolved"]["mq.example.org"] = []
    facts = {**dict.fromkeys(surveys, FACTS), "db1": {**FACTS, "distribution": "Fedora"}}
    found = FilterModule().filters()["survey_problems"](CLUSTER, surveys, facts, SETTINGS)
    assert [text[:5] for text in found["errors"]] == ["CC801", "CC802", "CC805"]
    assert [text[:5] for text in found["warnings"]] == ["CC812"]
    assert [line[:7] for line in found["report"].splitlines()] == ["- CC801", "- CC802", "- CC805", "- CC812"]


def test_five_hundred_hosts_are_judged_at_once() -> None:
    names = [f"w{number}" for number in range(500)]
    hosts = {
        **CLUSTER["hosts"],
        **{name: {"address": f"198.18.{index // 250}.{index % 250}"} for index, name in enumerate(names)},
    }
    cluster = {**CLUSTER, "hosts": hosts, "release_hosts": names}
    answers = {name: survey("w1") for name in names}
    for answer in answers.values():
        ports_of(answer, "broker")["state"] = "timeout"
        answer["resolved"]["mq.example.org"] = []
    problems = Problems()
    check_hosts(cluster, answers, SETTINGS, problems)
    assert [problem.code for problem in problems] == ["CC802", "CC804"]


# --- several brokers -------------------------------------------------------------------------------------------------

BROKERS = ("mq1", "mq2", "mq3")


def three() -> dict[str, Any]:
    """The cluster with two more brokers."""
    cluster = copy.deepcopy(CLUSTER)
    port = {"port": 25672, "purpose": "distribution", "tls": True}
    for number, broker in enumerate(BROKERS, start=1):
        known = cluster["hosts"].setdefault(broker, {"address": f"{broker}.example.org", "ports": []})
        known["ports"] = [port, {"port": 5670 + number, "purpose": "AMQP", "tls": True}]
    return {**cluster, "brokers": list(BROKERS)}


def test_a_broker_is_asked_about_all_others() -> None:
    asked = needs(three(), "mq1", SETTINGS)
    assert [(port["name"], port["to"], port["host"], port["port"]) for port in asked["ports"]] == [
        ("broker to broker", "mq2", "mq2.example.org", 25672),
        ("broker to broker", "mq3", "mq3.example.org", 25672),
    ]
    assert asked["names"][:2] == ["mq2.example.org", "mq3.example.org"]
    assert asked["listening"] == [5671, 15671, 25672]
    assert not [port for port in needs(three(), "w1", SETTINGS)["ports"] if port["name"] == "broker to broker"]


def test_one_broker_talks_to_no_other() -> None:
    assert needs(CLUSTER, "mq1", SETTINGS)["ports"] == []


@pytest.mark.parametrize(
    ("versions", "codes"),
    [
        ((("", "4.0.5-8"), ("", "4.0.5-8"), ("4.0.5-8", "4.0.5-8")), []),
        ((("", "4.0.5-8"), ("", "3.10.8-1"), ("", "4.0.5-8")), ["CC858"]),
        ((("4.0.5-8", "4.0.5-8"), ("3.13.7", "3.13.7"), ("3.13.7", "3.13.7")), ["CC859"]),
        ((("3.10.8-1", "4.0.5-8"), ("3.10.8-1", ""), ("3.10.8-1", "")), ["CC856"]),
        ((("4.3.6-1", "4.3.6-1"), ("4.3.6-1", ""), ("", "4.3.6-1")), ["CC860", "CC860", "CC860"]),
        ((("4.2.1-1", "4.2.1-1"), ("4.2.1-1", ""), ("", "4.2.1-1")), []),
    ],
)
def test_the_brokers_have_one_series(versions: tuple[tuple[str, str], ...], codes: list[str]) -> None:
    answers = {
        broker: survey("mq1", ports=[], packages={"rabbitmq-server": {"installed": there, "candidate": offered}})
        for broker, (there, offered) in zip(BROKERS, versions, strict=True)
    }
    problems = Problems()
    check_hosts(three(), answers, SETTINGS, problems)
    assert [problem.code for problem in problems] == codes
    # A broker that did not answer is not judged.
    check_hosts(three(), {"mq1": answers["mq1"]}, SETTINGS, Problems())

"""Versions that do not work together, and upgrades of a broker that skip a step."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.versions import (
    check_broker_jump,
    check_broker_series,
    check_versions,
    version,
)
from hypothesis import given
from hypothesis import strategies as st

QUORUM = {"task_default_queue_type": "quorum", "task_default_exchange_type": "topic"}
EXCLUSIVE = {"control_queue_exclusive": True, "event_queue_exclusive": True}


def found(
    broker: str, celery: str, kombu: str, rabbitmq: Any = None, kind: str = "classic", **celery_settings: Any
) -> list[str]:
    problems = Problems()
    values = {"celery_queue_type": kind, "celery_settings": celery_settings, "rabbitmq_settings": rabbitmq}
    check_versions(broker, celery, kombu, values, problems, "w1")
    return [str(problem) for problem in problems]


def jump(installed: str, candidate: str) -> list[str]:
    problems = Problems()
    check_broker_jump(installed, candidate, problems, "mq")
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3.10.8-1.1+deb12u1", (3, 10, 8)),
        ("4.0.5-8", (4, 0, 5)),
        ("1:4.2.1-1", (4, 2, 1)),
        ("5.7.0rc1", (5, 7, 0)),
        ("4.3.0~beta.1-1", (4, 3, 0)),
        ("v5.6", (5, 6, 0)),
        (" 5.6.2\n", (5, 6, 2)),
    ],
)
def test_a_version_is_three_numbers(text: str, numbers: tuple[int, int, int]) -> None:
    assert version(text) == numbers


@pytest.mark.parametrize(
    "text", ["", "4", "unknown", "(none)", "\u0663.\u0661", ".5.7", "9" * 9 + ".0", None, 5.7, ["5.7"]]
)
def test_what_is_no_version(text: object) -> None:
    assert version(text) is None


@pytest.mark.parametrize(
    ("broker", "celery", "kombu", "more"),
    [
        ("3.10.8-1.1+deb12u1", "5.7.0", "5.7.0", {}),
        ("4.0.5-8", "5.7.0", "5.7.0", QUORUM),
        ("4.0.5-8", "5.7.0", "5.7.0", {"kind": "quorum"}),
        # Up to kombu 5.6 the limit is one of the channel, which Celery moves for messages that wait.
        ("4.0.5-8", "5.6.2", "5.6.2", {}),
        ("4.3.1-1", "5.7.0", "5.7.0", QUORUM),
        ("4.3.1-1", "5.6.2", "5.6.2", EXCLUSIVE),
        ("4.3.1-1", "5.6.2", "5.6.2", {"control_queue_durable": True, "event_queue_exclusive": True}),
        ("4.3.1-1", "5.5.3", "5.5.3", {"rabbitmq": {"deprecated_features.permit.transient_nonexcl_queues": True}}),
        ("", "", "", {}),
        ("unknown", "main", "?", QUORUM),
    ],
)
def test_versions_that_work_together(broker: str, celery: str, kombu: str, more: dict[str, Any]) -> None:
    assert found(broker, celery, kombu, **more) == []


@pytest.mark.parametrize(
    ("broker", "celery", "kombu", "more", "code"),
    [
        ("4.0.5-8", "5.7.0", "5.7.0", {}, "CC851 warning: w1: celery_queue_type is classic, and kombu"),
        ("4.0.5-8", "", "5.7.1", {}, "CC851"),
        ("3.10.8", "5.4.0", "5.4.2", QUORUM, "CC852 error: w1: celery_settings.task_default_queue_type asks for"),
        ("3.10.8", "5.4.0", "5.4.2", {"kind": "quorum"}, "CC852 error: w1: celery_queue_type asks for quorum queues"),
        ("4.0.5", "5.7.0", "5.7.0", {"kind": "quorum", "task_default_exchange_type": "direct"}, "CC853"),
        ("", "5.4.0", "", {"CELERY_DEFAULT_QUEUE_TYPE": "quorum"}, "CC852"),
        (
            "4.0.5",
            "5.5.3",
            "5.5.3",
            {"kind": "quorum"},
            "CC852 error: w1: celery_queue_type asks for quorum queues, which Celery 5.5.3 cannot declare",
        ),
        ("4.0.5", "5.7.0", "5.7.0", {"task_default_queue_type": "quorum"}, "CC853 warning: w1: celery_settings.task_d"),
        ("3.10.8", "5.5.0", "5.5.0", {**QUORUM, "task_default_exchange_type": "direct"}, "CC853"),
        ("4.3.0", "5.6.2", "5.6.2", {}, "CC854 error: w1: celery_settings.control_queue_exclusive is not in force"),
        ("4.3.0", "5.6.2", "5.6.2", {"control_queue_exclusive": True}, "CC854"),
        # The settings came with Celery 5.6.
        ("4.3.0", "5.5.3", "5.5.3", EXCLUSIVE, "CC854"),
        ("3.10.8", "4.4.7", "4.6.11", {}, "CC855 warning: w1: celery_app runs on Celery 4.4.7"),
    ],
)
def test_versions_that_do_not(broker: str, celery: str, kombu: str, more: dict[str, Any], code: str) -> None:
    (problem,) = found(broker, celery, kombu, **more)
    assert problem.startswith(code)


@pytest.mark.parametrize(
    ("installed", "candidate"),
    [
        ("", "4.0.5-8"),
        ("3.10.8-1.1+deb12u1", ""),
        ("(none)", "4.0.5-8"),
        ("3.10.8-1.1+deb12u1", "3.10.8-1.1+deb12u2"),
        ("4.0.5-8", "4.0.5-8"),
        ("3.10.8", "3.11.28"),
        ("3.11.18", "3.12.14"),
        ("3.12.1", "3.13.7"),
        ("3.13.7", "4.0.5"),
        ("3.13.7", "4.1.8"),
        ("3.13.7", "4.2.5"),
        ("4.0.5", "4.2.5"),
        ("4.2.5", "4.3.1"),
        ("4.3.1", "4.4.0"),
    ],
)
def test_an_upgrade_that_rabbitmq_supports(installed: str, candidate: str) -> None:
    assert jump(installed, candidate) == []


@pytest.mark.parametrize(
    ("installed", "candidate", "way"),
    [
        ("3.10.8-1.1+deb12u1", "4.0.5-8", "upgrade to 3.11, 3.12, 3.13, 4.0 one after the other"),
        ("3.9.13", "3.12.1", "upgrade to 3.10, 3.11, 3.12 one"),
        ("3.11.5", "3.12.14", "upgrade to 3.11.18, 3.12 one"),
        ("3.13.7", "4.3.0", "upgrade to 4.2, 4.3 one"),
        ("4.0.5", "4.3.0", "upgrade to 4.2, 4.3 one"),
        ("4.3.0", "4.6.0", "upgrade to 4.4, 4.5, 4.6 one"),
        ("4.3.0", "5.0.0", "look the way to 5.0 up"),
    ],
)
def test_an_upgrade_that_skips_a_step(installed: str, candidate: str, way: str) -> None:
    (problem,) = jump(installed, candidate)
    assert problem.startswith(
        f"CC856 error: mq: rabbitmq-server is {installed}, which cannot become {candidate} in place: {way}"
    )


def test_a_downgrade_is_refused() -> None:
    assert jump("4.0.5-8", "3.10.8-1")[0].startswith("CC857 error: mq: rabbitmq-server is 4.0.5-8")


def series(**brokers: tuple[str, str]) -> list[str]:
    """brokers: host -> what is installed, and what would be."""
    problems = Problems()
    packages = {host: {"installed": there, "candidate": offered} for host, (there, offered) in brokers.items()}
    check_broker_series(packages, problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "brokers",
    [
        {},
        {"mq1": ("4.0.5-8", "4.0.5-8")},
        {"mq1": ("4.0.5-8", "4.0.9-1"), "mq2": ("", "4.0.9-1"), "mq3": ("4.0.9-1", "")},
        {"mq1": ("4.0.5-8", ""), "mq2": ("", ""), "mq3": ("(none)", "unknown")},
    ],
)
def test_brokers_of_one_series(brokers: dict[str, tuple[str, str]]) -> None:
    assert series(**brokers) == []


@pytest.mark.parametrize(
    "brokers",
    [
        {"mq1": ("", "3.10.8-1"), "mq2": ("", "4.0.5-8")},
        {"mq1": ("3.10.8-1", "3.10.8-1"), "mq2": ("4.0.5-8", "4.0.5-8")},
        # A new broker does not join an older cluster, even in the middle of an upgrade.
        {"mq1": ("3.13.7", ""), "mq2": ("", "4.0.5-8")},
        {"mq1": ("3.13.7", ""), "mq2": ("4.0.5", ""), "mq3": ("4.1.2", "")},
    ],
)
def test_brokers_that_do_not_become_one_cluster(brokers: dict[str, tuple[str, str]]) -> None:
    (problem,) = series(**brokers)
    assert problem.startswith("CC858 error: rabbitmq-server is not of one series: 3.1")
    assert "; 4.0 on mq2" in problem


def test_an_upgrade_that_is_under_way_is_a_warning() -> None:
    (problem,) = series(mq1=("3.13.7-1", "4.0.5-8"), mq2=("4.0.5-8", "4.0.5-8"), mq3=("3.13.7-1", "4.0.5-8"))
    assert problem == (
        "CC859 warning: rabbitmq-server is of two series: 3.13 on mq1, mq3; 4.0 on mq2. RabbitMQ allows this during an "
        "upgrade only: finish the upgrade: run playbooks/upgrade_broker.yml until all have 4.0"
    )


TEXT = st.one_of(st.text(max_size=12), st.builds("{}.{}.{}".format, *[st.integers(0, 99)] * 3))


@given(TEXT, TEXT, TEXT, st.one_of(st.none(), st.text(), st.dictionaries(st.text(max_size=4), st.integers())))
def test_any_text_is_judged_or_not(broker: str, celery: str, kombu: str, value: Any) -> None:
    problems = Problems()
    check_versions(broker, celery, kombu, {"celery_settings": value, "rabbitmq_settings": value}, problems)
    check_broker_jump(broker, celery, problems)
    assert all(str(problem) for problem in problems)

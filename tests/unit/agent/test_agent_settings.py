"""What the agent changes in an application's configuration, and what it leaves alone."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Load = Callable[..., ModuleType]

PLAIN = "from celery import Celery\napp = Celery('plain', broker='{url}')\n"
AMQP = PLAIN.format(url="pyamqp://user:pw@broker1:5671/shop?ssl=1")

OLD_STYLE = """
from celery import Celery

class Config:
    BROKER_URL = "pyamqp://user:pw@broker1:5671/shop?ssl=1"
    CELERY_TASK_SERIALIZER = "json"
    CELERYD_PREFETCH_MULTIPLIER = 7
    BROKER_CONNECTION_TIMEOUT = 9

app = Celery("old")
app.config_from_object(Config)
"""

NAMESPACED = """
from celery import Celery

class Config:
    CELERY_BROKER_URL = "pyamqp://user:pw@broker1:5671/shop?ssl=1"
    CELERY_TASK_SERIALIZER = "json"
    CELERY_WORKER_PREFETCH_MULTIPLIER = 7
    CELERY_BROKER_CONNECTION_TIMEOUT = 9

app = Celery("namespaced")
app.config_from_object(Config, namespace="CELERY")
"""

NEW_STYLE = """
from celery import Celery

app = Celery("new", broker="pyamqp://user:pw@broker1:5671/shop?ssl=1")
app.conf.update(task_serializer="json", worker_prefetch_multiplier=7, broker_connection_timeout=9)
"""

APPLICATIONS = pytest.mark.parametrize("source", [OLD_STYLE, NAMESPACED, NEW_STYLE], ids=["old", "namespaced", "new"])
# Some applications read their configuration while they are imported.
CONFIGURED = pytest.mark.parametrize("then", ["", "app.conf.task_serializer\n"], ids=["unread", "read"])


@APPLICATIONS
@CONFIGURED
def test_operator_wins_and_the_application_wins_over_our_defaults(load_agent: Load, source: str, then: str) -> None:
    app = load_agent(source + then, settings={"worker_prefetch_multiplier": 1, "task_acks_late": True}).app
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_acks_late is True
    assert app.conf.broker_connection_timeout == 9
    assert app.conf.broker_connection_max_retries is None
    assert app.conf.task_serializer == "json"


@APPLICATIONS
def test_operator_may_write_old_names(load_agent: Load, source: str) -> None:
    assert load_agent(source, settings={"CELERYD_PREFETCH_MULTIPLIER": 2}).app.conf.worker_prefetch_multiplier == 2


def test_settings_survive_an_application_that_configures_itself_again(load_agent: Load) -> None:
    app = load_agent(NEW_STYLE, settings={"worker_prefetch_multiplier": 1}).app
    assert app.conf.worker_prefetch_multiplier == 1
    app.config_from_object({"worker_prefetch_multiplier": 5, "broker_url": "pyamqp://"}, force=True)
    assert app.conf.worker_prefetch_multiplier == 1


def test_settings_are_applied_again_when_the_worker_begins(load_agent: Load) -> None:
    from celery import signals

    app = load_agent(NEW_STYLE, settings={"worker_prefetch_multiplier": 1}).app
    app.conf.worker_prefetch_multiplier = 9
    signals.celeryd_init.send(sender="node", instance=None, conf=app.conf, options={})
    assert app.conf.worker_prefetch_multiplier == 1


@pytest.mark.parametrize(
    ("url", "setting", "expected"),
    [
        ("pyamqp://h//", "broker_connection_retry_on_startup", True),
        ("pyamqp://h//", "broker_connection_max_retries", None),
        ("pyamqp://h//", "broker_channel_error_retry", True),
        ("amqps://h//", "broker_connection_timeout", 15),
        ("redis://h/0", "broker_connection_retry_on_startup", True),
        ("redis://h/0", "broker_connection_max_retries", None),
        ("redis://h/0", "broker_channel_error_retry", False),
        ("redis://h/0", "broker_connection_timeout", 4),
        ("redis://h/0", "broker_transport_options", {}),
        ("pyamqp://a//;redis://h/0", "broker_transport_options", {}),
        ("memory://", "broker_transport_options", {}),
    ],
)
def test_defaults(load_agent: Load, url: str, setting: str, expected: Any) -> None:
    assert load_agent(PLAIN.format(url=url)).app.conf[setting] == expected


@pytest.mark.parametrize(("role", "retries"), [("worker", 60), ("flower", float("inf")), ("producer", float("inf"))])
def test_only_a_worker_waits_for_the_database(load_agent: Load, role: str, retries: float) -> None:
    conf = load_agent(AMQP, CELERY_AGENT_ROLE=role).app.conf
    assert conf.result_backend_always_retry is (role == "worker")
    assert conf.result_backend_max_retries == retries


def test_environment_decides_the_broker(load_agent: Load) -> None:
    conf = load_agent(PLAIN.format(url="redis://h/0"), CELERY_BROKER_URL="pyamqp://h//").app.conf
    assert conf.broker_transport_options["confirm_publish"] is True


def test_transport_options_are_merged(load_agent: Load) -> None:
    source = AMQP + (
        "app.conf.broker_transport_options = {'confirm_publish': False, 'read_timeout': 7, 'socket_settings': {6: 4}}\n"
    )
    options = load_agent(source).app.conf.broker_transport_options
    assert options["confirm_publish"] is False
    assert options["read_timeout"] == 7
    assert options["socket_settings"] == {6: 4, socket.TCP_USER_TIMEOUT: 6000}


def test_operator_names_socket_options(load_agent: Load) -> None:
    settings = {"broker_transport_options": {"socket_settings": {"TCP_USER_TIMEOUT": 5000, "6": 4}}}
    options = load_agent(AMQP, settings=settings).app.conf.broker_transport_options
    assert options["socket_settings"] == {6: 4, socket.TCP_USER_TIMEOUT: 5000}
    assert options["confirm_publish"] is True


VERIFYING = {"cert_reqs": ssl.CERT_REQUIRED}


@pytest.mark.parametrize(
    ("url", "extra", "environment", "expected"),
    [
        ("pyamqp://u:p@broker1:5671/v?ssl=1", "", {}, {**VERIFYING, "server_hostname": "broker1"}),
        ("pyamqp://u:p@10.0.0.2:5671/v?ssl=true", "", {}, {**VERIFYING, "server_hostname": "10.0.0.2"}),
        ("amqps://u:p@broker1/v", "", {}, {**VERIFYING, "server_hostname": "broker1"}),
        # One options dictionary serves all brokers of a list: only a common name will do.
        ("pyamqp://u:p@a/v?ssl=1;pyamqp://u:p@b/v?ssl=1", "", {}, None),
        (
            "pyamqp://u:p@a/v?ssl=1;pyamqp://u:p@b/v?ssl=1",
            "",
            {"CELERY_AGENT_BROKER_NAME": "broker"},
            {**VERIFYING, "server_hostname": "broker"},
        ),
        ("pyamqp://u:p@broker1/v", "", {}, None),
        ("pyamqp://u:p@broker1/v", "app.conf.broker_use_ssl = True\n", {}, {**VERIFYING, "server_hostname": "broker1"}),
        ("amqps://u:p@broker1/v", "app.conf.broker_use_ssl = {'ca_certs': '/x'}\n", {}, None),
        ("pyamqp://u:p@a/v?ssl=1", "app.conf.broker_transport_options = {'ssl': True}\n", {}, True),
    ],
)
def test_the_name_of_the_broker_is_verified(
    load_agent: Load, url: str, extra: str, environment: dict[str, str], expected: Any
) -> None:
    app = load_agent(PLAIN.format(url=url) + extra, **environment).app
    assert app.conf.broker_transport_options.get("ssl") == expected


def test_an_old_transport_verifies_the_name_too(load_agent: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    import amqp

    monkeypatch.setattr(amqp, "VERSION", (2, 6, 1))
    assert load_agent(AMQP).app.conf.broker_transport_options["ssl"] == {
        "context": {"check_hostname": True},
        "server_hostname": "broker1",
        "do_handshake_on_connect": False,
    }


def test_explicit_task_options_stay(load_agent: Load) -> None:
    source = AMQP + (
        "@app.task(name='early', shared=False, acks_late=False)\ndef early(): pass\n\n"
        "@app.task(name='open', shared=False)\ndef open_(): pass\n"
    )
    app = load_agent(source, settings={"task_acks_late": True}).app
    assert app.tasks["early"].acks_late is False
    assert app.tasks["open"].acks_late is True


def test_tasks_that_were_bound_while_imported_follow_the_operator(load_agent: Load) -> None:
    source = AMQP + "@app.task(name='open', shared=False)\ndef open_(): pass\n\napp.finalize()\napp.amqp.queues\n"
    settings = {"task_acks_late": True, "task_queues": {"mail": {"exchange": "mail", "routing_key": "mail"}}}
    app = load_agent(source, settings=settings).app
    assert app.tasks["open"].acks_late is True
    assert list(app.amqp.queues) == ["mail"]
    assert "celery_cluster.canary" in app.tasks


@pytest.mark.parametrize(
    "settings", ["{not json", json.dumps([1]), '{"broker_transport_options": {"socket_settings": {"NO": 1}}}']
)
def test_broken_settings_are_logged_and_the_rest_works(
    load_agent: Load, settings: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = load_agent(AMQP, settings=settings).app
    assert app.conf.broker_connection_timeout == 15
    assert "operator_settings failed" in caplog.text


def test_unknown_settings_are_named(load_agent: Load, caplog: pytest.LogCaptureFixture) -> None:
    assert load_agent(AMQP, settings={"task_ack_late": True}).app.conf.task_ack_late is True
    assert "Celery does not know task_ack_late" in caplog.text


def test_a_missing_settings_file_is_fine(load_agent: Load, caplog: pytest.LogCaptureFixture) -> None:
    load_agent(AMQP, CELERY_AGENT_SETTINGS="/nowhere/settings.json").app.finalize()
    assert not [record for record in caplog.records if record.name == "celery_agent"]

"""Which broker a program talks to: as the cluster set it up, or the same brokers without TLS."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from celery import Celery  # type: ignore[import-untyped]


def given() -> dict[str, Any]:
    found: dict[str, Any] = json.load(sys.stdin)
    return found


def in_plaintext(urls: str, plain: Mapping[str, Any]) -> str:
    """The same brokers in the same order, with another login, vhost and port, and without TLS."""
    login = f"{quote(plain['user'], safe='')}:{quote(plain['password'], safe='')}"
    hosts = [urlsplit(url).netloc.rpartition("@")[2].rpartition(":")[0] for url in urls.split(";")]
    return ";".join(f"pyamqp://{login}@{host}:{plain['port']}/{quote(plain['vhost'], safe='')}" for host in hosts)


def enter(plain: Mapping[str, Any] | None) -> None:
    """Before the application is imported. plain: `user`, `password`, `vhost`, `port` and `settings`; None: as it is."""
    if plain is None:
        return
    os.environ["CELERY_BROKER_URL"] = in_plaintext(os.environ["CELERY_BROKER_URL"], plain)
    os.environ["CELERY_SETTINGS"] = json.dumps(plain["settings"])
    for name in [name for name in os.environ if name.startswith("CELERY_AGENT_")]:
        del os.environ[name]


def application(name: str) -> Celery:
    module, _colon, attribute = name.partition(":")
    app: Celery = getattr(importlib.import_module(module), attribute)
    return app

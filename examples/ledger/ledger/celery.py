"""The Celery application. Broker and result backend come from Celery's own environment variables."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import before_task_publish, worker_init

app = Celery("ledger", include=["ledger.tasks"])
# A publish that no broker confirmed counts as not sent.
app.conf.update(broker_transport_options={"confirm_publish": True})
# What the cluster asks of everybody who publishes: the types of its queues and exchanges.
app.conf.update(json.loads(os.environ.get("CELERY_SETTINGS", "{}")))


@before_task_publish.connect
def sign(headers: dict[str, Any] | None = None, **_details: object) -> None:
    """Says in each message when it was sent, and from which host: a task knows that only of its worker."""
    if headers is not None:
        headers.update(ledger_sent=time.time(), ledger_sender=os.environ.get("CELERY_AGENT_HOST"))


@worker_init.connect
def never_ready(**_details: object) -> None:
    """A release with the file `never_ready` can be imported, and its workers hang (`hang`) or end when they start."""
    file = Path(__file__).with_name("never_ready")
    if not file.exists():
        return
    while file.read_text(encoding="utf-8").strip() == "hang":
        time.sleep(60)
    raise SystemExit(f"{file} is there: this worker does not start")

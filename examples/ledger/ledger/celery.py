"""The Celery application. Broker and result backend come from Celery's own environment variables."""

from __future__ import annotations

import json
import os

from celery import Celery

app = Celery("ledger", include=["ledger.tasks"])
# A publish that no broker confirmed counts as not sent.
app.conf.update(broker_transport_options={"confirm_publish": True})
# What the cluster asks of everybody who publishes: the types of its queues and exchanges.
app.conf.update(json.loads(os.environ.get("CELERY_SETTINGS", "{}")))

"""The Celery application. The broker and the result backend come from Celery's own environment
variables, CELERY_BROKER_URL and CELERY_RESULT_BACKEND; what else a deployment decides, from CELERY_SETTINGS."""

from __future__ import annotations

import json
import os

from celery import Celery

app = Celery("fileshelf", include=["fileshelf.tasks"])
app.conf.update(
    task_default_queue="intake",
    task_routes={
        "fileshelf.accept": {"queue": "intake"},
        "fileshelf.verify": {"queue": "intake"},
        "fileshelf.measure": {"queue": "text"},
        "fileshelf.catalogue": {"queue": "reports"},
        "fileshelf.shelf_summary": {"queue": "reports"},
    },
    beat_schedule={"shelf-summary": {"task": "fileshelf.shelf_summary", "schedule": 30.0}},
    result_extended=True,  # the result tells which worker did it, and from which queue
    result_expires=7 * 24 * 3600,
    task_track_started=True,
)
# Whoever sends tasks must declare the same queues as the workers: the deployment tells all of them how.
app.conf.update(json.loads(os.environ.get("CELERY_SETTINGS", "{}")))

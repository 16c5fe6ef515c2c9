"""The task that is counted. It does nothing but note when it was sent and when it began."""

from __future__ import annotations

import os
import time

from celery import shared_task  # type: ignore[import-untyped]

from pace.notes import FILE, RECORD


class Kept:
    """One descriptor for each process of the pool. Records of all of them are appended, each in one piece."""

    descriptor = -1


@shared_task(name="pace.note", acks_late=True, reject_on_worker_lost=True, ignore_result=True)  # type: ignore[untyped-decorator]
def note(number: int, sent: float) -> None:
    began = time.time()
    if Kept.descriptor < 0:
        Kept.descriptor = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    os.write(Kept.descriptor, RECORD.pack(number, sent, began))

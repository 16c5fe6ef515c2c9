"""Runs in the environment of the release: sends `count` tasks ledger.receipt, numbered from `first`, `rate` a second.

Answers for each {"id": …}; with `wait` also {"status": …, "value": …}, read back from the result backend.
"""

import json
import sys
import time

from celery_agent import app
from ledger.stream import queue_of

SECONDS = 120

given = json.load(sys.stdin)
due = time.monotonic()
sent = []
for number in range(given["first"], given["first"] + given["count"]):
    time.sleep(max(0.0, due - time.monotonic()))
    due += 1 / given["rate"]
    sent.append(app.send_task("ledger.receipt", (number,), queue=queue_of(number)))
answers = []
for result in sent:
    answer = {"id": result.id}
    if given["wait"]:
        answer["value"] = result.get(timeout=SECONDS, propagate=False)
        answer["status"] = result.status
    answers.append(answer)
print(json.dumps(answers, default=repr))

"""Runs on a host that publishes, with the interpreter and the environment of the application: a real task through every
queue, and its result out of the database. Its input is this file, so that nothing has to be copied."""

import base64
import hashlib
import json

from fileshelf.celery import app  # type: ignore[import-not-found]

TEXT = b"One lamp, one keeper."
DEADLINE = 120
sent = {}
for queue in ("celery", "intake", "text", "reports"):
    arguments = ["proof.txt", base64.b64encode(TEXT).decode()]
    sent[queue] = app.send_task("fileshelf.accept", arguments, queue=queue)
for queue, result in sent.items():
    document = result.get(timeout=DEADLINE)
    if document["sha256"] != hashlib.sha256(TEXT).hexdigest():
        raise SystemExit(f"{queue}: {document}")
print(json.dumps(sorted(sent)))

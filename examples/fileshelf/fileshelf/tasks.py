"""The tasks. A document travels intake -> text; reports put the results together."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta

from fileshelf import text
from fileshelf.celery import app


class ChecksumMismatch(Exception):  # noqa: N818 - named for what its reader sees
    """The document is not the one its sender meant."""

    def __init__(self, name: str, expected: str, actual: str) -> None:
        # All arguments go to Exception: so the error arrives whole at whoever waits for the result.
        super().__init__(name, expected, actual)

    def __str__(self) -> str:
        return "{}: expected sha256 {}, received {}".format(*self.args)


@app.task(name="fileshelf.accept")
def accept(name: str, content: str) -> dict:
    """Takes a document (base64) in: digest, type, and the text it holds."""
    data = base64.b64decode(content, validate=True)
    if len(data) > text.MAX_BYTES:
        raise ValueError(f"{name} has {len(data)} bytes, at most {text.MAX_BYTES} are accepted")
    document = {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    kind = text.kind_of(name, data)
    if kind == "gzip":
        data = text.unpack(data)
        inner = text.kind_of(name.removesuffix(".gz"), data)
        document["kind"] = f"{inner}+gzip"
    else:
        document["kind"] = inner = kind
    readable = inner in {"text", *text.SUFFIXES.values()}
    return {**document, "text": data.decode() if readable else ""}


@app.task(name="fileshelf.verify")
def verify(document: dict, expected: str) -> dict:
    """Passes the document on, or fails when it is not the expected one."""
    if document["sha256"] != expected.lower():
        raise ChecksumMismatch(document["name"], expected, document["sha256"])
    return document


@app.task(name="fileshelf.measure")
def measure(document: dict) -> dict:
    """Replaces the text by what can be said about it."""
    content = document.pop("text")
    return {**document, **text.describe(content)}


@app.task(name="fileshelf.catalogue")
def catalogue(documents: list[dict]) -> dict:
    """One summary of many measured documents."""
    digests = Counter(document["sha256"] for document in documents)
    terms = Counter(term for document in documents for term in document["top_terms"])
    return {
        "documents": len(documents),
        "duplicates": len(documents) - len(digests),
        "bytes": sum(document["bytes"] for document in documents),
        "words": sum(document["words"] for document in documents),
        "kinds": dict(Counter(document["kind"] for document in documents)),
        "languages": dict(Counter(document["language"] for document in documents)),
        "common_terms": [term for term, count in sorted(terms.items()) if count > 1],
    }


@app.task(name="fileshelf.shelf_summary")
def shelf_summary(hours: int = 24) -> dict:
    """How the documents of the last hours fared, counted in the result backend; beat runs it."""
    # Imported here: only the worker that makes reports needs the database for more than its results.
    from celery.backends.database import session_cleanup
    from sqlalchemy import func, select

    row = app.backend.task_cls
    since = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=hours)
    # When an earlier step fails, Celery marks the rest of its chain as failed: one row per document.
    query = select(row.status, func.count()).where(row.name == "fileshelf.measure", row.date_done > since)
    session = app.backend.ResultSession()
    with session_cleanup(session):
        states = dict(session.execute(query.group_by(row.status)).all())
    return {"hours": hours, "indexed": states.get("SUCCESS", 0), "failed": states.get("FAILURE", 0)}

"""python -m fileshelf: submits documents, waits, and shows what the workers found."""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from pathlib import Path

from celery import chain
from celery.backends.base import DisabledBackend
from celery.exceptions import TimeoutError as NoAnswer
from kombu.exceptions import OperationalError

from fileshelf.celery import app
from fileshelf.tasks import ChecksumMismatch, accept, catalogue, measure, verify

COLUMNS = ("file", "type", "sha256", "words", "language", "top terms", "workers")


def send(path: Path, expected: str | None):
    """Starts the chain for one file; the first step runs on queue intake, the last on queue text."""
    steps = [accept.s(path.name, base64.b64encode(path.read_bytes()).decode())]
    steps += [verify.s(expected)] if expected else []
    return chain(*steps, measure.s()).apply_async()


def workers_of(result) -> list[str]:
    """The worker nodes that took part, first step first."""
    nodes = []
    while result is not None:
        nodes.insert(0, result.worker or "?")
        result = result.parent
    return list(dict.fromkeys(nodes))


def collect(path: Path, result, deadline: float) -> dict:
    try:
        found = result.get(timeout=max(0.1, deadline - time.monotonic()), interval=0.1)
    except NoAnswer:
        return {"name": path.name, "error": "no answer in time: does a worker consume the queues intake and text?"}
    except (ChecksumMismatch, ValueError) as error:
        return {"name": path.name, "error": f"{type(error).__name__}: {error}"}
    return {**found, "workers": workers_of(result)}


def table(rows: list[dict]) -> str:
    cells = [COLUMNS]
    for row in rows:
        if "error" in row:
            continue
        terms, workers = " ".join(row["top_terms"]), " > ".join(row["workers"])
        cells.append((row["name"], row["kind"], row["sha256"][:12], str(row["words"]), row["language"], terms, workers))
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    found = lines if len(lines) > 1 else []
    return "\n".join(found + [f"FAILED {row['name']}: {row['error']}" for row in rows if "error" in row])


def submit(files: list[Path], expected: str | None, timeout: float, as_json: bool) -> int:
    deadline = time.monotonic() + timeout
    pending = [(path, send(path, expected)) for path in files]
    rows = [collect(path, result, deadline) for path, result in pending]
    measured = [row for row in rows if "error" not in row]
    summary = None
    if measured:
        report = catalogue.delay(measured)
        try:
            summary = report.get(timeout=max(5.0, deadline - time.monotonic()), interval=0.1)
        except NoAnswer:
            rows.append({"name": "catalogue", "error": "no answer in time: does a worker consume the queue reports?"})
    if as_json:
        print(json.dumps({"documents": rows, "catalogue": summary}, indent=2))
    else:
        print(table(rows))
        if summary:
            print("{documents} documents, {words} words, {duplicates} duplicates".format(**summary))
    return 1 if any("error" in row for row in rows) else 0


def demo_failure(path: Path, timeout: float, as_json: bool) -> int:
    """Claims a wrong digest. Success is that the error of the worker arrives here."""
    result = collect(path, send(path, "0" * 64), time.monotonic() + timeout)
    print(json.dumps(result, indent=2) if as_json else f"As expected: {result.get('error', 'NO ERROR ARRIVED')}")
    return 0 if result.get("error", "").startswith("ChecksumMismatch") else 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fileshelf", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("submit", help="index files and print what was found; exit 1 if one failed")
    first.add_argument("files", nargs="+", type=Path, metavar="FILE")
    first.add_argument("--expect-sha256", metavar="HEX", help="fail a document that has another digest")
    second = commands.add_parser("demo-failure", help="show what a task that fails looks like to its user")
    second.add_argument(
        "file", nargs="?", type=Path, default=Path(__file__).parent.parent / "samples" / "lighthouse.txt"
    )
    for command in (first, second):
        command.add_argument("--timeout", type=float, default=60, help="seconds to wait for all results (default 60)")
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if isinstance(app.backend, DisabledBackend):
        parser.error("there is no result backend to wait on: set CELERY_RESULT_BACKEND")
    try:
        if options.command == "submit":
            return submit(options.files, options.expect_sha256, options.timeout, options.json)
        return demo_failure(options.file, options.timeout, options.json)
    except OperationalError as error:
        print(f"The broker does not take tasks ({error}): check CELERY_BROKER_URL", file=sys.stderr)
    except OSError as error:
        print(f"{error.filename or error}: {error.strerror or 'cannot be read'}", file=sys.stderr)
    return 2

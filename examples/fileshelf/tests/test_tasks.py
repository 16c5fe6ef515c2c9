"""The tasks through a real worker: memory broker, results in SQLite."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import socket
from pathlib import Path

import pytest
from celery.contrib.testing.worker import start_worker
from fileshelf import cli
from fileshelf.celery import app
from fileshelf.tasks import ChecksumMismatch, accept, measure, shelf_summary, verify

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="module", autouse=True)
def _worker(tmp_path_factory: pytest.TempPathFactory):
    database = tmp_path_factory.mktemp("results") / "results.db"
    app.conf.update(broker_url="memory://", result_backend=f"db+sqlite:///{database}")
    app.set_default()
    queues = ["intake", "text", "reports"]
    with start_worker(app, pool="solo", queues=queues, perform_ping_check=False, shutdown_timeout=30):
        yield


def document(content: bytes, name: str = "a.txt") -> dict:
    return accept(name, base64.b64encode(content).decode())


def test_every_task_has_a_queue_of_its_own() -> None:
    own = {name for name in app.tasks if name.startswith("fileshelf.")}
    assert own == set(app.conf.task_routes)
    assert {route["queue"] for route in app.conf.task_routes.values()} == {"intake", "text", "reports"}
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= own


def test_accept() -> None:
    content = gzip.compress(b"# Title")
    assert document(content, "a.md.gz") == {
        "name": "a.md.gz",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "kind": "markdown+gzip",
        "text": "# Title",
    }


def test_a_binary_document_is_indexed_without_text() -> None:
    assert measure(document(b"\x89PNG\r\n"))["words"] == 0


def test_accept_refuses_what_is_too_large() -> None:
    with pytest.raises(ValueError, match="at most 1000000"):
        document(bytes(1_000_001))


def test_the_error_of_a_worker_arrives_with_its_arguments() -> None:
    with pytest.raises(ChecksumMismatch) as caught:
        verify.delay(document(b"x"), "f" * 64).get(timeout=20)
    assert caught.value.args == ("a.txt", "f" * 64, hashlib.sha256(b"x").hexdigest())
    assert str(caught.value).startswith("a.txt: expected sha256 ffff")


def test_submit_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in sorted(SAMPLES.iterdir())]
    assert cli.main(["submit", *files, "--timeout", "30"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["file", "type", "sha256"]
    kinds = {line.split()[0]: line.split()[1] for line in lines[1:-1]}
    assert kinds == {"catalogue.txt.gz": "text+gzip", "garten.md": "markdown", "lighthouse.txt": "text"}
    assert lines[-1].startswith("3 documents, ")
    assert "garten.md" in lines[2] and " de " in lines[2]


def test_submit_as_json_names_the_worker(capsys: pytest.CaptureFixture[str]) -> None:
    path = SAMPLES / "lighthouse.txt"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert cli.main(["submit", str(path), str(path), "--expect-sha256", digest.upper(), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["catalogue"]["duplicates"] == 1
    (node,) = output["documents"][0]["workers"]
    assert node.endswith(socket.gethostname())
    assert output["documents"][0]["language"] == "en"


def test_submit_fails_when_one_document_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b"text")[:-4])
    assert cli.main(["submit", str(SAMPLES / "garten.md"), str(broken), "--timeout", "30"]) == 1
    output = capsys.readouterr().out
    assert "FAILED broken.gz: ValueError: the gzip file is damaged" in output
    assert "1 documents, " in output


def test_a_file_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["submit", "/nowhere/a.txt"]) == 2
    assert "/nowhere/a.txt: No such file" in capsys.readouterr().err


def test_demo_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo-failure", "--timeout", "30"]) == 0
    assert "As expected: ChecksumMismatch: lighthouse.txt: expected sha256 0000" in capsys.readouterr().out


def test_the_summary_counts_results_of_the_backend() -> None:
    before = shelf_summary.delay().get(timeout=20)
    assert cli.main(["submit", str(SAMPLES / "garten.md")]) == 0
    assert cli.main(["demo-failure"]) == 0
    after = shelf_summary.delay().get(timeout=20)
    assert (after["indexed"], after["failed"]) == (before["indexed"] + 1, before["failed"] + 1)
    assert shelf_summary.delay(hours=0).get(timeout=20)["indexed"] == 0

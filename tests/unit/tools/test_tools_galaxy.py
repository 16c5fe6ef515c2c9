"""What must not be published is told by name, and the bound of the artifact's size holds."""

from __future__ import annotations

import fnmatch
import io
import tarfile
from pathlib import Path

import pytest
import yaml

import galaxy
from common import CHECKOUT, UserError

KEY = "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n-----END PRIVATE KEY-----\n"


def artifact(directory: Path, **files: str) -> Path:
    path = directory / "taskfleet-celery_cluster-0.1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {"README.md": "", **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_a_collection_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    galaxy.refuse_foreign(artifact(tmp_path, **{"plugins/lookup/secret.py": "x", "docs/guide.md": "BEGIN PRIVATE KEY"}))
    assert " kB, 3 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("inventories/demo/.secrets/broker_admin", "x"),
        (".venv/bin/python", "x"),
        ("molecule/default/molecule.yml", "x"),
        ("roles/x/__pycache__/y.pyc", "x"),
        ("roles/certificates/files/ca.key", KEY),
    ],
)
def test_what_must_not_be_published_is_named(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(UserError, match="must not hold") as refusal:
        galaxy.refuse_foreign(artifact(tmp_path, **{name: text}))
    assert name in str(refusal.value)


def test_an_artifact_that_grew_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(galaxy, "LARGEST", 10)
    with pytest.raises(UserError, match="more than 10"):
        galaxy.refuse_foreign(artifact(tmp_path))


@pytest.mark.parametrize(
    "path", ["tests", "molecule", "tools", ".venv", ".cache", ".venv-publish", "build", "plan.html"]
)
def test_the_collection_is_built_without_it(path: str) -> None:
    ignored = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"]
    assert any(fnmatch.fnmatch(path, pattern) for pattern in ignored)

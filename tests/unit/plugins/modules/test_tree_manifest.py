"""The module tree_manifest as Ansible calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.modules import tree_manifest


def call(capsys: pytest.CaptureFixture[str], **arguments) -> dict:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        tree_manifest.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("check", [False, True])
def test_result(tmp_path: Path, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    (tmp_path / "app.py").write_text("print()")
    (tmp_path / "app.pyc").write_text("")
    result = call(capsys, path=str(tmp_path), exclude=["*.pyc"], _ansible_check_mode=check)
    assert result["changed"] is False
    assert (result["files"], result["bytes"], result["newest_path"]) == (1, 7, "app.py")
    assert len(result["digest"]) == 64


def test_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, path=str(tmp_path), exclude=["a/**"])
    assert result["failed"] is True
    assert "'**' is not supported" in result["msg"]


def test_digests_are_kept_but_not_by_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, known = tmp_path / "tree", tmp_path / "known"
    tree.mkdir()
    (tree / "app.py").write_text("print()")
    given = {"path": str(tree), "known_files": str(known)}
    checked = call(capsys, **given, _ansible_check_mode=True)
    assert not known.exists()
    assert call(capsys, **given)["digest"] == checked["digest"]
    assert len(list(known.iterdir())) == 1

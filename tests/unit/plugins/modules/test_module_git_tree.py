"""The module git_tree as Ansible calls it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.modules import git_tree


def call(capsys: pytest.CaptureFixture[str], **arguments) -> dict:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        git_tree.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("check", [False, True])
def test_result(tmp_path: Path, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "app.py").write_text("")
    me = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    for words in (["init", "--quiet"], ["add", "app.py"], ["commit", "--quiet", "--message=x"]):
        subprocess.run(["git", "-C", str(root), *me, *words], check=True)
    cache = str(tmp_path / "cache")
    result = call(capsys, repository=str(root), revision="main", cache=cache, _ansible_check_mode=check)
    assert (result["changed"], result["made"]) == (False, True)
    assert len(result["commit"]) == 40 and (Path(result["path"]) / "app.py").exists()


def test_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, repository=str(tmp_path / "none"), revision="main", cache=str(tmp_path / "cache"))
    assert result["failed"] and "cannot be read by the controller" in result["msg"]
    (tmp_path / "file").touch()
    result = call(capsys, repository=str(tmp_path), revision="main", cache=str(tmp_path / "file/cache"))
    assert result["failed"] and "must be able to write its cache there" in result["msg"]

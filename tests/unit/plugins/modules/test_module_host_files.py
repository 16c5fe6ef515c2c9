"""The module host_files as Ansible calls it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.modules import host_files

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    def run(*entries: dict[str, Any], check: bool = False) -> dict[str, Any]:
        arguments = {"entries": list(entries), "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            host_files.main()
        return json.loads(capsys.readouterr().out)

    return run


def wishes(folder: Path) -> list[dict[str, Any]]:
    return [
        {"path": f"{folder}/etc", "state": "directory", "mode": "0750"},
        {"path": f"{folder}/etc/ca.pem", "content": "CA\n"},
        {"path": f"{folder}/etc/trust.pem", "parts": [f"{folder}/etc/ca.pem"]},
        {"path": f"{folder}/etc/key.pem", "content": "hunter2\n", "secret": True, "mode": "0600"},
        {"path": f"{folder}/etc/empty.env", "content": ""},
        {"path": f"{folder}/current", "state": "link", "src": "etc"},
        {"path": f"{folder}/gone", "state": "absent"},
    ]


def test_everything_comes_in_order_and_once(tmp_path: Path, call) -> None:
    entries = wishes(tmp_path)
    changed = [entry["path"] for entry in entries[:-1]]
    predicted = call(*entries, check=True)
    assert (predicted["changed"], predicted["paths"]) == (True, changed)
    assert list(tmp_path.iterdir()) == []
    result = call(*entries)
    assert (result["changed"], result["paths"]) == (True, changed)
    assert (tmp_path / "current/trust.pem").read_text() == "CA\n"
    assert stat.S_IMODE((tmp_path / "etc/key.pem").stat().st_mode) == 0o600
    for check in (False, True):
        again = call(*entries, check=check)
        assert (again["changed"], again["paths"], again["diff"]) == (False, [], [])


@pytest.mark.parametrize("check", [False, True])
def test_a_diff_names_the_file_and_hides_secrets(tmp_path: Path, call, check: bool) -> None:
    (tmp_path / "a").write_text("old\n")
    (tmp_path / "key").write_text("hunter1\n")
    result = call(
        {"path": f"{tmp_path}/a", "content": "new\n"},
        {"path": f"{tmp_path}/key", "content": "hunter2\n", "secret": True},
        check=check,
    )
    header = f"{tmp_path}/a (file)"
    assert result["diff"][0] == {
        "before": "old\n",
        "after": "new\n",
        "before_header": header,
        "after_header": header,
    }
    assert "hunter" not in json.dumps(result["diff"])
    assert len(result["diff"]) == 2


def test_a_check_sees_that_a_changed_part_changes_the_whole(tmp_path: Path, call) -> None:
    call(*wishes(tmp_path))
    entries = wishes(tmp_path)
    entries[1]["content"] = "other CA\n"
    predicted = call(*entries, check=True)
    assert predicted["paths"] == [f"{tmp_path}/etc/ca.pem", f"{tmp_path}/etc/trust.pem"]
    assert call(*entries)["paths"] == predicted["paths"]


def test_a_failure_says_where_and_what_was_done_before(tmp_path: Path, call) -> None:
    result = call(
        {"path": f"{tmp_path}/a", "content": "x"},
        {"path": f"{tmp_path}/b", "content": "x", "owner": "nobody-of-that-name"},
        {"path": f"{tmp_path}/c", "content": "x"},
    )
    assert result["failed"] is True
    assert result["msg"].startswith(f"{tmp_path}/b: there is no user nobody-of-that-name")
    assert (result["changed"], result["paths"]) == (True, [f"{tmp_path}/a"])
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"content": "x", "mode": 0o640}, "the mode 416 is not a quoted octal number"),
        ({"path": "/a\0b", "content": "x"}, "null "),
        ({"content": "x", "parts": ["/x"]}, "mutually exclusive"),
        ({}, "state is file but any of the following are missing: content, parts"),
        ({"state": "link"}, "state is link but all of the following are missing: src"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, call, entry: dict[str, Any], message: str) -> None:
    result = call({"path": f"{tmp_path}/a", **entry})
    assert result["failed"] is True
    assert message in result["msg"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_readable_before_it_has_its_mode(tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = os.chown

    def chown(path: str, uid: int, gid: int) -> None:
        seen.append(stat.S_IMODE(Path(path).lstat().st_mode))
        real(path, uid, gid)

    monkeypatch.setattr(os, "chown", chown)
    call({"path": f"{tmp_path}/d", "state": "directory"}, {"path": f"{tmp_path}/d/key", "content": "x", "mode": "0644"})
    assert seen == [0o700, 0o600]

"""The modules that look at releases, make them and remove them, as Ansible calls them."""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import build
from ansible_collections.taskfleet.celery_cluster.plugins.modules import release_make, release_prune, release_state

#: Stands for uv: it makes the environment of `venv`, and installs nothing.
UV = f"""#!{sys.executable}
import os, pathlib, sys
if sys.argv[1] == "venv":
    pathlib.Path(sys.argv[-1], "bin").mkdir()
    pathlib.Path(sys.argv[-1], "bin", "python").symlink_to(sys.executable)
elif os.environ.get("BROKEN"):
    sys.exit("no version of nothing fits")
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]):
    def run(module: Any, **arguments: Any) -> dict:
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A host with a source, programs of its own, and an account that may do everything: the one that runs this."""
    monkeypatch.setattr(os, "chown", lambda *arguments, **named: None)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "uv").write_text(UV)
    # What precedes the program's name is about the account.
    (programs / "setpriv").write_text('#!/bin/sh\nshift 4\nexec "$@"\n')
    (programs / "systemctl").write_text('#!/bin/sh\n[ -z "$SILENT" ] || exit 1\necho "$UNITS"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.py").write_text("print()")
    (source / "requirements.txt").write_text("celery==5.7.0\n")
    (tmp_path / "root" / "releases").mkdir(parents=True)
    return {
        "root": str(tmp_path / "root"),
        "release": "one",
        "account": getpass.getuser(),
        "known_files": str(tmp_path / "known"),
        "manifest": build(str(source)).digest,
        "files": 2,
        "source": "/srv/shop",
        "host": "w1",
        "rsync": ["rsync", "--recursive", "--links", "--perms", "--times"],
        "rsync_source": f"{source}/",
        "packages": {"python": sys.executable, "way": "requirements", "requirements": "requirements.txt"},
        "uv": str(programs / "uv"),
        "try_command": ["sh", "-c", "echo noise; echo 5.7.0 5.7.1"],
        "application": "shop:app",
    }


def test_made(call, given) -> None:
    result = call(release_make, **given)
    assert result["changed"] and result["versions"] == "5.7.0 5.7.1" and result["environment_made"]
    release = Path(given["root"]) / "releases" / "one"
    assert (release / "code" / "app.py").read_text() == "print()"
    assert (release / "venv").resolve() == Path(result["environment"]) / "venv"
    assert not (release / "complete").exists(), "the role writes it, after it has judged the versions"
    assert call(release_make, **given)["environment_made"] is False


def test_check_mode_makes_nothing(call, given) -> None:
    result = call(release_make, **given, _ansible_check_mode=True)
    assert result["changed"] and list((Path(given["root"]) / "releases").iterdir()) == []


def test_begun(call, given) -> None:
    result = call(release_make, **{**given, "state": "begun"})
    assert (result["share"], result["intact"]) == ("", True)
    assert (Path(result["directory"])).is_dir()


def test_an_environment_of_the_tree(call, given, tmp_path: Path) -> None:
    place = tmp_path / "source" / ".venv" / "bin"
    place.mkdir(parents=True)
    (place / "python").symlink_to(sys.executable)
    (place.parent / "pyvenv.cfg").write_text(f"version = {sys.version_info[0]}.{sys.version_info[1]}.0\n")
    given["manifest"] = build(str(tmp_path / "source")).digest
    result = call(release_make, **{**given, "environment": "sync"})
    assert result["environment"] == f"{given['root']}/releases/one/venv"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"manifest": "0" * 64}, "The tree on w1 (2 files) differs from its source"),
        ({"rsync_source": "/nothing/"}, "rsync cannot fetch /srv/shop"),
        (
            {"variables": {"BROKEN": "1"}},
            "The packages of release one cannot be installed on w1: no version of nothing",
        ),
        (
            {
                "variables": {"BROKEN": "1"},
                "packages": {"python": sys.executable, "way": "requirements", "requirements": "a.lock", "extra": ["b"]},
            },
            "Mend a.lock or code_extra_packages, or say where",
        ),
        ({"environment": "sync"}, "is no Python environment"),
        ({"try_command": ["sh", "-c", "echo KeyError >&2; exit 1"]}, "release one cannot import it on w1: KeyError"),
        ({"try_command": ["sh", "-c", "echo no such release >&2; exit 66"]}, "sh ended with 66: no such release"),
    ],
)
def test_what_fails(call, given, change: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("environments", "release_make"):
        name = f"ansible_collections.taskfleet.celery_cluster.plugins.module_utils.{place}.time.sleep"
        monkeypatch.setattr(name, lambda _seconds: None)
    result = call(release_make, **{**given, **change})
    assert result["failed"] and told in result["msg"]


def complete(call, given) -> Path:
    call(release_make, **given)
    root = Path(given["root"])
    (root / "releases" / "one" / "complete").write_text(json.dumps({"manifest": given["manifest"]}))
    (root / "current").symlink_to("releases/one")
    return root


def test_state(call, given, monkeypatch: pytest.MonkeyPatch) -> None:
    root = complete(call, given)
    monkeypatch.setenv("UNITS", "shop-worker-a@one.service loaded active")
    asked = {
        "root": str(root),
        "release": "one",
        "known_files": given["known_files"],
        "python": sys.executable,
        "account": given["account"],
        "stopping": "shop-worker-*@*.service",
        "paths": [str(root), str(root / "nothing")],
    }
    result = call(release_state, **asked, _ansible_check_mode=True)
    assert not result["changed"] and result["complete"] and result["links"] == {"current": "one"}
    assert result["current_code"] == str(root / "releases" / "one" / "code")
    assert result["stopping"] == ["shop-worker-a@one.service"] and result["there"] == [str(root)]
    assert [result[name] for name in ("altered", "interpreter_problem", "account_problem")] == ["", "", ""]
    (root / "releases" / "one" / "code" / "app.py").write_text("changed")
    result = call(release_state, **{**asked, "python": "/nothing/python", "account": ""})
    assert "is not what was deployed" in result["altered"] and "/nothing/python" in result["interpreter_problem"]


def test_state_of_a_host_without_systemd(call, given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SILENT", "1")
    asked = {"root": given["root"], "known_files": given["known_files"]}
    assert call(release_state, **asked)["stopping"] == []
    assert "does not list services" in call(release_state, **asked, stopping="x@*.service")["msg"]


def test_an_environment_that_the_account_cannot_run(call, given) -> None:
    root = complete(call, given)
    (root / "releases" / "one" / "venv").unlink()
    asked = {"root": str(root), "release": "one", "known_files": given["known_files"], "account": given["account"]}
    assert call(release_state, **asked)["account_problem"] == "exit code 1"


def test_prune(call, given, monkeypatch: pytest.MonkeyPatch) -> None:
    root = complete(call, given)
    asked = {
        "root": str(root),
        "config": str(root / "config"),
        "kept": ["two"],
        "keep": 1,
        "services": "shop-*@*.service",
        "known_files": given["known_files"],
    }
    monkeypatch.setenv("UNITS", "shop-worker-a@one.service loaded active")
    assert call(release_prune, **asked)["changed"] is False
    monkeypatch.setenv("UNITS", "")
    assert call(release_prune, **asked, _ansible_check_mode=True)["releases"] == ["one"]
    assert call(release_prune, **asked)["releases"] == ["one"]
    assert list((root / "releases").iterdir()) == []
    monkeypatch.setenv("SILENT", "1")
    assert "does not list services" in call(release_prune, **asked)["msg"]

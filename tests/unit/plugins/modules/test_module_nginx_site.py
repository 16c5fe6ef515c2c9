"""The module nginx_site as Ansible calls it, with programs that answer as nginx and systemctl do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from os import umask
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.modules import nginx_site

# Refuses a site that holds the word broken, and is stopped until somebody starts it.
NGINX = "#!/bin/sh\nif grep -qs broken {site}; then echo 'nginx: [emerg] broken in {site}:1' >&2; exit 1; fi\n"
SYSTEMCTL = """#!/bin/sh
echo "$1" >> {log}
[ "$1" != show ] || printf 'MainPID=0\\nActiveState=inactive\\nUnitFileState=disabled\\n'
"""


@pytest.fixture(autouse=True)
def mask() -> Iterator[None]:
    before = umask(0o022)
    yield
    umask(before)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    binaries, path = tmp_path / "bin", tmp_path / "site.conf"
    binaries.mkdir()
    for name, text in (("nginx", NGINX), ("systemctl", SYSTEMCTL)):
        (binaries / name).write_text(text.format(site=path, log=tmp_path / "log"))
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}:/usr/bin:/bin")
    return path


def call(capsys: pytest.CaptureFixture[str], check: bool = False, **arguments: Any) -> dict[str, Any]:
    with (
        patch_module_args({**arguments, "_ansible_check_mode": check, "_ansible_diff": True}),
        pytest.raises(SystemExit),
    ):
        nginx_site.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_site_is_written_and_nginx_started(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predicted = call(capsys, check=True, path=str(site), content="one\n")
    assert predicted["changed"] is True and not site.exists()
    made = call(capsys, path=str(site), content="one\n")
    assert (made["changed"], made["path"], site.read_text()) == (True, str(site), "one\n")
    assert (made["diff"]["before"], made["diff"]["after"]) == ("", "one\n")
    assert (site.parent / "log").read_text().split() == ["show", "show", "enable", "start"]


def test_a_refusal_is_told_in_the_words_of_nginx(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.write_text("one\n")
    failed = call(capsys, path=str(site), content="broken\n")
    assert failed["failed"] is True and "[emerg] broken in" in failed["msg"]
    assert site.read_text() == "one\n"


def test_a_site_goes(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.write_text("one\n")
    assert call(capsys, check=True, path=str(site), state="absent")["changed"] is True and site.exists()
    assert call(capsys, path=str(site), state="absent")["changed"] is True and not site.exists()
    assert call(capsys, path=str(site), state="absent")["changed"] is False


def test_a_site_needs_a_text(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "content" in call(capsys, path=str(site))["msg"]

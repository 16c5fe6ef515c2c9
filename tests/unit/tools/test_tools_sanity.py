"""What ansible-test gets to see of the checkout and of the user's settings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import sanity


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(sanity, "CHECKOUT", tmp_path)
    for name in ("galaxy.yml", "plugins/modules/added.py", "plugins/modules/gone.py", "junk.log", ".hidden/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("*.log\n")
    subprocess.run(["git", "-C", str(tmp_path), "add", "galaxy.yml", "plugins/modules/gone.py"], check=True)
    (tmp_path / "plugins/modules/gone.py").unlink()
    return tmp_path


def test_the_copy_is_the_work_tree_without_what_is_ignored_or_hidden(checkout: Path, tmp_path: Path) -> None:
    (checkout / "galaxy.yml").write_text("changed")
    copy = tmp_path / ".copy"
    sanity.copy_collection(copy)
    found = {str(path.relative_to(copy)): path.read_text() for path in copy.rglob("*") if path.is_file()}
    assert found == {"galaxy.yml": "changed", "plugins/modules/added.py": "plugins/modules/added.py"}


def test_pip_hears_what_the_user_told_it(tmp_path: Path) -> None:
    file = tmp_path / ".config" / "pip" / "pip.conf"
    file.parent.mkdir(parents=True)
    file.write_text("[global]\nindex-url = https://file.example/simple\ntimeout = 7\n[install]\nno-binary = x%%y\n")
    env = {
        "PIP_INDEX_URL": "https://env.example/simple",
        "SSL_CERT_FILE": "/ca.pem",
        "PIP_CONFIG_FILE": "/no",
        "X": "1",
    }
    told = sanity.pip_configuration(env, tmp_path)
    assert dict(told["global"]) == {"index-url": "https://env.example/simple", "timeout": "7", "cert": "/ca.pem"}
    assert dict(told["install"]) == {"no-binary": "x%%y"}


def test_a_certificate_meant_for_pip_wins(tmp_path: Path) -> None:
    told = sanity.pip_configuration({"PIP_CERT": "/pip.pem", "SSL_CERT_FILE": "/ca.pem"}, tmp_path)
    assert told["global"]["cert"] == "/pip.pem"


def test_nothing_of_the_users_ansible_reaches_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_CONFIG", "/somewhere/ansible.cfg")
    monkeypatch.setenv("LANG", "C.UTF-8")
    env = sanity.test_environment()
    assert "ANSIBLE_CONFIG" not in env
    assert (env["HOME"], env["LANG"]) == (str(sanity.HOME), "C.UTF-8")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('WARNING: Required program "shellcheck" not found.', ['Required program "shellcheck" not found.']),
        ('WARNING: Using locale "C.UTF-8" instead of "en_US.UTF-8".', []),
    ],
)
def test_a_skipped_test_is_mentioned(line: str, reason: list[str]) -> None:
    assert sanity.TEST_SKIPPED.findall(f"before\n{line}\nafter") == reason

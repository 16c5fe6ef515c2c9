"""Secrets are made once, whoever asks and however many at a time, and nobody else can read them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible_collections.taskfleet.celery_cluster.plugins.lookup import secret

NAME = "taskfleet.celery_cluster.secret"
PROCESSES = 16
# Waits for its standard input to close, so that all processes ask at the same moment.
ASK = """
import os, sys
from pathlib import Path
{load}
print("ready", flush=True)
sys.stdin.read()
print(secret.read_or_create(Path(sys.argv[1]), "broker", 40))
"""


# What Ansible's loader does with the options of a plugin that it finds.
constants.config.initialize_plugin_configuration_definitions(
    "lookup", NAME, yaml.safe_load(secret.DOCUMENTATION)["options"]
)


def look_up(*terms: Any, check: bool = False, **options: Any) -> list[str]:
    lookup = secret.LookupModule()
    lookup._load_name = NAME
    return lookup.run(list(terms), {"ansible_check_mode": check}, **options)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "secrets"
    first, other = look_up("broker_worker", "flower", directory=str(folder))
    assert len(first) == 40
    assert first.isalnum()
    assert first != other
    assert look_up("broker_worker", directory=str(folder)) == [first]
    assert (folder / "broker_worker").read_text() == f"{first}\n"
    assert sorted(path.name for path in folder.iterdir()) == ["broker_worker", "flower"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_it(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        look_up("a", directory=str(tmp_path / "secrets"))
    finally:
        os.umask(before)
    assert (mode(tmp_path / "secrets"), mode(tmp_path / "secrets" / "a")) == (0o700, 0o600)


def test_a_directory_that_others_may_enter_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    look_up("a", directory=str(folder))
    assert mode(folder) == 0o700


def test_a_secret_of_the_operator_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(" pass phrase \n")
    assert look_up("a", directory=str(tmp_path)) == [" pass phrase "]
    assert look_up("a", directory=str(tmp_path), check=True) == [" pass phrase "]


def test_the_length_of_a_new_secret(tmp_path: Path) -> None:
    assert len(look_up("a", directory=str(tmp_path), length=64)[0]) == 64
    with pytest.raises(AnsibleLookupError, match="length is 0"):
        look_up("b", directory=str(tmp_path), length=0)
    assert not (tmp_path / "b").exists()


def test_a_check_makes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert look_up("a", "b", directory=str(folder), check=True) == [secret.PLACEHOLDER] * 2
    assert list(tmp_path.iterdir()) == []


def test_processes_that_ask_at_the_same_moment_get_the_same_secret(tmp_path: Path) -> None:
    # Loaded by path: importing Ansible in every process would take longer than the whole test.
    load = f"""
import importlib.util, types
for name in ("ansible", "ansible.errors", "ansible.plugins", "ansible.plugins.lookup"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["ansible.errors"].AnsibleLookupError = RuntimeError
sys.modules["ansible.plugins.lookup"].LookupBase = object
spec = importlib.util.spec_from_file_location("secret", {str(secret.__file__)!r})
secret = importlib.util.module_from_spec(spec)
spec.loader.exec_module(secret)
"""
    command = [sys.executable, "-S", "-c", ASK.format(load=load), str(tmp_path / "secrets")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _number in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    answers = []
    for process in processes:
        assert process.stdout is not None
        answers.append(process.stdout.read())
        process.stdout.close()
        assert process.wait(timeout=20) == 0
    assert set(answers) == {(tmp_path / "secrets" / "broker").read_text()}
    assert len(answers[0]) == 41
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["broker"]


def test_who_comes_second_takes_what_the_first_one_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def overtaken(source: str, target: Path) -> None:
        Path(target).write_text("of the first\n")
        real(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert look_up("a", directory=str(tmp_path)) == ["of the first"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("content", ["", "\n", " \n\n"])
def test_an_empty_file_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "a").write_text(content)
    for check in (False, True):
        with pytest.raises(AnsibleLookupError, match="is empty: write the secret into it, or remove it"):
            look_up("a", directory=str(tmp_path), check=check)
    assert (tmp_path / "a").read_text() == content


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/etc/passwd", "a b", "a\n", "-\0", ".hidden", "ä"])
def test_a_name_that_leaves_the_directory_or_is_none_is_refused(tmp_path: Path, name: str) -> None:
    for check in (False, True):
        with pytest.raises(AnsibleLookupError, match="is no name of a secret: use letters, digits"):
            look_up(name, directory=str(tmp_path / "secrets"), check=check)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    with pytest.raises(AnsibleLookupError, match="is not UTF-8 text"):
        look_up("a", directory=str(tmp_path))


def test_a_directory_that_cannot_be_made_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnsibleLookupError, match="set celery_secrets_directory to a directory"):
        look_up("a", directory=str(tmp_path / "file" / "secrets"))


def test_a_disk_that_is_full_leaves_no_secret_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(AnsibleLookupError, match="No space left"):
        look_up("a", directory=str(tmp_path))
    assert list(tmp_path.iterdir()) == []

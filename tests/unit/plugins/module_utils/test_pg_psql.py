"""psql: what it is given, what it prints, and what is told of its failures. A program of that name stands in for it."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_psql import LoginError, Psql, PsqlError, clean
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_scram import verifier

VERIFIER = verifier("secret", b"salt", 1)
# Notes how it was called, says that it is connected as the first command of the script asks, and goes on as told.
PROGRAM = """#!/bin/sh
{ for argument; do echo "$argument"; done; } > "$0.arguments"
env > "$0.environment"
cat > "$0.script"
cat "$0.prints" 2>/dev/null
cat "$0.complains" >&2 2>/dev/null
[ -e "$0.sleeps" ] && exec sleep 30
exit $(cat "$0.ends" 2>/dev/null || echo 0)
"""

Prepare = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    def prepare(prints: str = "connected\n", complains: str = "", ends: int = 0, sleeps: bool = False) -> Path:
        path = tmp_path / "bin" / "psql"
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROGRAM)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        Path(f"{path}.prints").write_text(prints)
        Path(f"{path}.complains").write_text(complains)
        Path(f"{path}.ends").write_text(str(ends))
        if sleeps:
            Path(f"{path}.sleeps").touch()
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
        return path

    return prepare


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / ".s.PGSQL.5432"))
        server.listen()
        yield tmp_path


def test_the_script_goes_through_stdin_and_nothing_else_is_taken_over(
    program: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOSTADDR", "PGSERVICE", "PGSSLMODE", "PGPASSWORD", "PGCLUSTER", "PSQLRC", "LANG"):
        monkeypatch.setenv(name, "stray")
    path = program()
    Psql("/run/pg", 5433, "admin").run(f"SELECT '{VERIFIER} ä';", "a b'=\"c")
    assert Path(f"{path}.script").read_text().splitlines()[1] == f"SELECT '{VERIFIER} ä';"
    arguments = Path(f"{path}.arguments").read_text().split()
    assert arguments == ["-X", "-qAt", "--no-password", "--set", "ON_ERROR_STOP=1"]
    environment = dict(line.split("=", 1) for line in Path(f"{path}.environment").read_text().splitlines())
    assert "stray" not in environment.values()
    assert {name: environment[name] for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE")} == {
        "PGHOST": "/run/pg",
        "PGPORT": "5433",
        "PGUSER": "admin",
        "PGDATABASE": "a b'=\"c",
    }
    assert not Path(environment["PGPASSFILE"]).exists()
    assert environment["PGCONNECT_TIMEOUT"] == "10"
    assert "-c statement_timeout=60s" in environment["PGOPTIONS"]
    assert "-c standard_conforming_strings=on" in environment["PGOPTIONS"]
    assert VERIFIER not in json.dumps([arguments, environment])


def test_only_line_feeds_end_a_line(program: Prepare) -> None:
    program(prints="connected\none\x0bstill one\u2028too\n\nthree\n")
    assert Psql("/run/pg", 5432, "postgres").run("...") == ["one\x0bstill one\u2028too", "", "three"]


def test_odd_bytes_come_through(program: Prepare) -> None:
    path = program()
    Path(f"{path}.prints").write_bytes(b"connected\ncaf\xe9\n")
    (line,) = Psql("/run/pg", 5432, "postgres").run("\udce9")
    assert line.encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert b"\n\xe9\n" in Path(f"{path}.script").read_bytes()


def test_a_statement_that_fails_is_told_without_itself(program: Prepare) -> None:
    complaint = f"ERROR:  syntax error at or near \"X\"\nLINE 1: ALTER ROLE shop PASSWORD '{VERIFIER}' X\n        ^\n"
    program(prints="connected\ndone\n", complains=complaint, ends=3)
    with pytest.raises(PsqlError) as failed:
        Psql("/run/pg", 5432, "postgres").run("...")
    assert str(failed.value) == 'ERROR:  syntax error at or near "X"'
    assert failed.value.output == ["done"]
    assert not isinstance(failed.value, LoginError)


def test_a_failure_without_a_word_is_a_failure(program: Prepare) -> None:
    program(ends=3)
    with pytest.raises(PsqlError, match="psql ended with 3"):
        Psql("/run/pg", 5432, "postgres").run("...")


def test_who_is_not_let_in_learns_what_was_tried(program: Prepare, listening: Path) -> None:
    program(prints="", complains='psql: error: FATAL:  Peer-Authentifizierung fehlgeschlagen für "admin"', ends=2)
    with pytest.raises(LoginError) as failed:
        Psql(str(listening), 5432, "admin").run("...")
    text = str(failed.value)
    assert f"in as the role admin over the socket {listening}/.s.PGSQL.5432" in text
    assert "sudo to postgres" in text
    assert "postgresql_account" in text
    assert "'local all admin peer'" in text
    assert "Peer-Authentifizierung fehlgeschlagen" in text


@pytest.mark.parametrize("bound", [True, False])
def test_nobody_answers(program: Prepare, tmp_path: Path, bound: bool) -> None:
    program(prints="", complains="psql: error: Verbindung verweigert", ends=2)
    if bound:  # a socket that a server left behind
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(tmp_path / ".s.PGSQL.5432"))
    with pytest.raises(LoginError) as failed:
        Psql(str(tmp_path), 5432, "postgres").run("...")
    reason = "Connection refused" if bound else "No such file or directory"
    assert f"no server answers on the socket {tmp_path}/.s.PGSQL.5432 ({reason})" in str(failed.value)
    assert "postgresql_socket_directory" in str(failed.value)


def test_psql_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LoginError, match="postgresql-client"):
        Psql("/run/pg", 5432, "postgres").run("...")


def test_it_never_hangs(program: Prepare) -> None:
    program(prints="connected\ndone\n", sleeps=True)
    with pytest.raises(PsqlError, match="had not finished after 1 s") as failed:
        Psql("/run/pg", 5432, "postgres").run("...", seconds=1)
    assert failed.value.output == ["done"]


@pytest.mark.parametrize(
    "text",
    [
        f"LINE 1: ALTER ROLE a PASSWORD '{VERIFIER}'\n             ^",
        f"x '{VERIFIER}' y",
        f"x {VERIFIER[:40]}",
        "x md5" + 32 * "a",
        f"LINE 12: ...{VERIFIER[30:]}...",
    ],
)
def test_verifiers_are_hidden(text: str) -> None:
    cleaned = clean(text)
    for start in range(len(VERIFIER) - 16):
        assert VERIFIER[start : start + 16] not in cleaned
    assert "aaaaaaaa" not in cleaned


def test_other_words_stay() -> None:
    assert clean('ERROR:  role "md5" is no SCRAM\n\nHINT:  x\n') == 'ERROR:  role "md5" is no SCRAM\nHINT:  x'
    assert clean("it says hunter2", ["hunter2"]) == "it says ********"

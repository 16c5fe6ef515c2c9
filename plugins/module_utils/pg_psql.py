# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""psql, which takes scripts on its standard input: no secret is in its arguments or its environment."""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
from collections.abc import Collection
from pathlib import Path

CONNECT_TIMEOUT = 10
STATEMENT_TIMEOUT = 60
LOCK_TIMEOUT = 20
_ARGUMENTS = ("-X", "-qAt", "--no-password", "--set", "ON_ERROR_STOP=1")
# Whatever the role or the database has as defaults (ALTER ROLE ... SET) must not change what scripts mean.
_SETTINGS = {
    "client_min_messages": "warning",
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT}s",
    "lock_timeout": f"{LOCK_TIMEOUT}s",
    "search_path": "pg_catalog",
    "standard_conforming_strings": "on",
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
}
# psql repeats the line of a statement that failed, and there a verifier may stand, or a part of it.
_VERIFIER = re.compile(r"(SCRAM-SHA-256\$|\bmd5[0-9a-f]{8})\S*")
_REPEATED = re.compile(r"^LINE \d+: .*(\n[ \t]*\^)?$", re.MULTILINE)
_HIDDEN = "********"
# psql reads its script only when it has a connection.
_CONNECTED = "connected"


class PsqlError(Exception):
    """psql failed; what it printed before, line by line, is in `output`."""

    def __init__(self, message: str, output: list[str] | None = None) -> None:
        super().__init__(message)
        self.output = output or []


class LoginError(PsqlError):
    """There is no connection, so that no statement was tried."""


class Psql:
    """Runs scripts as one role over the server's socket."""

    def __init__(self, socket_directory: str, port: int, login_user: str) -> None:
        self._directory, self._port, self._user = socket_directory, port, login_user

    def run(self, script: str, database: str = "postgres", seconds: float = 4 * STATEMENT_TIMEOUT) -> list[str]:
        """The lines that the script printed."""
        try:
            done = subprocess.run(  # noqa: S603 - a list of constants
                ["psql", *_ARGUMENTS],  # noqa: S607 - it is found as for any administrator of this host
                input=f"\\echo {_CONNECTED}\n{script}\n".encode("utf-8", "surrogateescape"),
                capture_output=True,
                check=False,
                cwd="/",
                env=self._environment(database),
                timeout=seconds,
            )
        except FileNotFoundError:
            raise LoginError(
                "psql is not on this host's PATH: install the client of PostgreSQL (postgresql-client), or name the"
                " host of the server in the group postgresql"
            ) from None
        except subprocess.TimeoutExpired as expired:
            output = _lines(expired.stdout or b"")[1:]
            raise PsqlError(f"psql had not finished after {seconds:.0f} s", output) from None
        output = _lines(done.stdout)
        if done.returncode:
            said = clean(done.stderr.decode("utf-8", "replace"))
            if _CONNECTED not in output:
                raise self._login_error(said)
            raise PsqlError(said or f"psql ended with {done.returncode}", output[1:])
        return output[1:]

    def _environment(self, database: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        return {
            "PATH": os.defpath,
            **kept,
            "LC_ALL": "C.UTF-8",
            "PGAPPNAME": "celery_cluster",
            "PGCLIENTENCODING": "UTF8",
            "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT),
            "PGDATABASE": database,
            "PGHOST": self._directory,
            "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items()),
            # Whatever is in ~/.pgpass, the login must work without.
            "PGPASSFILE": "/nonexistent",
            "PGPORT": str(self._port),
            "PGUSER": self._user,
        }

    @property
    def socket(self) -> str:
        return str(Path(self._directory) / f".s.PGSQL.{self._port}")

    def _login_error(self, said: str) -> LoginError:
        account = _account()
        silent = self._silent()
        if silent:
            return LoginError(
                f"no server answers on the socket {self.socket} ({silent}): start it, or correct celery_database_port"
                f" or postgresql_socket_directory. psql, as the account {account}, says: {said}"
            )
        return LoginError(
            f"the server does not let the account {account} in as the role {self._user} over the socket {self.socket}."
            " That role must be let in without a password, and be a superuser: let Ansible become the account that is"
            " (sudo to postgres; another one is named in postgresql_account), or put the line"
            f" 'local all {self._user} peer' at the top of pg_hba.conf. psql says: {said}"
        )

    def _silent(self) -> str:
        """Why nobody answers, without regard to the language of the messages; empty when somebody does."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CONNECT_TIMEOUT)
            try:
                connection.connect(self.socket)
            except OSError as error:
                return os.strerror(error.errno) if error.errno else str(error)
        return ""


def clean(text: str, secrets: Collection[str] = ()) -> str:
    """A message without the statement it is about, and without verifiers."""
    text = _REPEATED.sub("", text)
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return re.sub(r"\n\s*\n", "\n", _VERIFIER.sub(_HIDDEN, text)).strip()


def _lines(raw: bytes) -> list[str]:
    # str.splitlines() knows ends of lines that may stand in a text.
    lines = raw.decode("utf-8", "surrogateescape").split("\n")
    return lines if lines[-1] else lines[:-1]


def _account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())

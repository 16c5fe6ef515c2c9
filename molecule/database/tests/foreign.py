"""What the servers' owners do with them. Run by prepare.yml, it writes down how each of their logins ends."""

from __future__ import annotations

import functools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "resources"))

from testing import PROJECT, script_on

HERE = PROJECT / "molecule" / "database"
DIRECTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "foreign"
RECORD = DIRECTORY / "logins.json"
OWNED: dict[str, Any] = yaml.safe_load((HERE / "vars" / "foreign.yml").read_text())
ROLES: dict[str, dict[str, str]] = OWNED["foreign_roles"]
PG_LOGIN = (HERE / "files" / "pg_login.py").read_text()
PORT = 5432
SOCKET = "/var/run/postgresql"
BOTH = frozenset({"db15", "db17"})
NONE: frozenset[str] = frozenset()
ON_17 = frozenset({"db17"})
# No rule admits it; it was admitted and had no or a wrong password.
NO_RULE, WRONG_PASSWORD = "28000", "28P01"


@dataclass(frozen=True)
class Login:
    """One class of the others' connections; way: "4", "6", "socket", or "self" for the server's own address."""

    role: str
    database: str
    caller: str
    way: str
    tls: bool
    # The servers that let it in, and the reason of the others.
    into: frozenset[str] = BOTH
    code: str = NO_RULE
    password: str = ""
    with_certificate: bool = False

    def name(self) -> str:
        kind = "TLS" if self.tls else "plain"
        extra = [word for word in ("wrong password" if self.password else "", self.has_certificate()) if word]
        return " ".join([self.role, "->", self.database, "from", self.caller, self.way, kind, *extra])

    def has_certificate(self) -> str:
        return "certificate" if self.with_certificate else ""


LOGINS = (
    Login("warehouse", "warehouse", "outsider", "4", True),
    Login("warehouse", "warehouse", "outsider", "6", True),
    Login("warehouse", "warehouse", "outsider", "4", False, NONE),
    Login("warehouse", "warehouse", "outsider", "4", True, NONE, WRONG_PASSWORD, password="guessed"),
    Login("warehouse", "reports", "outsider", "4", True),
    Login("auditor", "reports", "outsider", "4", True),
    Login("warehouse", "reports", "outsider", "6", True, NONE),
    Login("warehouse", "postgres", "outsider", "4", True, NONE),
    Login("warehouse", "warehouse", "worker1", "4", True, NONE),
    Login("warehouse", "warehouse", "database", "self", False),
    Login("legacy", "inventory_app", "outsider", "4", False),
    Login("legacy", "inventory_app", "worker1", "4", True),
    Login("legacy", "inventory_app", "outsider", "6", False, NONE),
    Login("legacy", "warehouse", "outsider", "4", False, NONE),
    Login("app_cert", "inventory_app", "outsider", "4", True, with_certificate=True),
    Login("app_cert", "inventory_app", "outsider", "4", True, NONE),
    Login("Report Writer", "reports", "outsider", "4", True),
    Login("Report Writer", "inventory_app", "worker1", "4", True),
    # By the name of the machine.
    Login("Report Writer", "warehouse", "outsider", "4", True),
    Login("Report Writer", "warehouse", "worker1", "4", True, NONE),
    Login("auditor", "reports", "outsider", "4", False),
    Login("auditor", "inventory_app", "outsider", "6", False),
    Login("auditor", "inventory_app", "worker3", "6", True),
    # On one of the servers this host is shut out.
    Login("auditor", "reports", "worker2", "4", True, ON_17),
    Login("auditor", "warehouse", "worker1", "4", True, NONE),
    Login("stock", "inventory_app", "outsider", "6", True, ON_17),
    Login("depot", "inventory_app", "outsider", "4", True, ON_17),
    Login("dba", "postgres", "outsider", "4", True, NONE),
    Login("dba", "postgres", "worker1", "4", True, NONE),
    Login("auditor", "postgres", "database", "socket", False),
    Login("auditor", "reports", "database", "socket", False),
    Login("warehouse", "warehouse", "database", "socket", False, NONE),
    # The administrator, by the account of the operating system.
    Login("postgres", "postgres", "database", "socket", False),
    Login("postgres", "warehouse", "database", "socket", False),
    Login("postgres", "postgres", "database", "self", False, NONE),
)


@functools.cache
def addresses(name: str) -> dict[str, str]:
    """The addresses of a container: "4" and "6"."""
    source = "import json, socket; print(json.dumps({str(4 if f == 2 else 6): a[0] for f, _, _, _, a in "
    source += "socket.getaddrinfo(json.load(__import__('sys').stdin), None, type=socket.SOCK_STREAM)}))"
    found: dict[str, str] = script_on("outsider", source, name)
    return found


def attempt(login: Login, server: dict[str, str]) -> dict[str, Any]:
    """As pg_login.py takes it; server: the addresses of the server."""
    wanted = {
        "host": SOCKET if login.way == "socket" else server["4" if login.way == "self" else login.way],
        "port": PORT,
        "user": login.role,
        "database": login.database,
        "password": login.password or ROLES.get(login.role, {}).get("password", ""),
        "tls": login.tls,
    }
    if login.with_certificate:
        wanted["certificate"] = (DIRECTORY / f"{login.role}.pem").read_text()
        wanted["key"] = (DIRECTORY / f"{login.role}.key").read_text()
    return wanted


def log_in(caller: str, attempts: list[dict[str, Any]], account: str = "") -> list[dict[str, Any]]:
    """What pg_login.py says on that container; account: of the operating system, root without it."""
    command = ["runuser", "-u", account, "--", "python3"] if account else ["python3"]
    found: list[dict[str, Any]] = script_on(caller, PG_LOGIN, attempts, command)
    return found


def outcomes(server: str) -> dict[str, dict[str, Any]]:
    """Each login of the others, really tried now."""
    there = addresses(server)
    found: dict[str, dict[str, Any]] = {}
    for caller in dict.fromkeys(login.caller for login in LOGINS):
        logins = [login for login in LOGINS if login.caller == caller]
        place, account = (server, "postgres") if caller == "database" else (caller, "")
        answers = log_in(place, [attempt(login, there) for login in logins], account)
        found.update({login.name(): answer for login, answer in zip(logins, answers, strict=True)})
    return found


def unexpected(server: str, found: dict[str, dict[str, Any]]) -> list[str]:
    """A record of a world that is not the one described above would prove nothing."""
    return [
        f"{server}: {login.name()}: {found[login.name()]}"
        for login in LOGINS
        if found[login.name()]["in"] is not (server in login.into)
        or found[login.name()].get("code", login.code) != login.code
    ]


def record() -> None:
    found = {server: outcomes(server) for server in sorted(BOTH)}
    wrong = [line for server, answers in found.items() for line in unexpected(server, answers)]
    if wrong:
        raise SystemExit("\n".join(wrong))
    RECORD.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    record()

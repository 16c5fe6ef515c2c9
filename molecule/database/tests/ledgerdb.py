"""The cluster of this scenario, and the server of somebody else that it uses."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testing
import yaml
from foreign import HERE, PORT, addresses, log_in
from testing import INVENTORY, SECRETS, host, query, script_on

NAME = DATABASE = USER = "ledgerdb"
OWNER = f"{NAME}_owner"
SUBMITTER = "broker1"
WORKERS = ("worker1", "worker2", "worker3")
# How each host reaches the server.
WAYS = {"broker1": ("4", "6"), "worker1": ("4",), "worker2": ("4",), "worker3": ("6",), "outsider": ("4", "6")}
RUN = f"/opt/{NAME}/bin/celery-run"
ACCESS = "molecule/database/access.yml"
PREFLIGHT = "playbooks/preflight.yml"
BLOCK = re.compile(
    rf"^# BEGIN taskfleet\.celery_cluster {NAME}\n(.*?)^# END taskfleet\.celery_cluster {NAME}(?:\n|\Z)".encode(),
    re.DOTALL | re.MULTILINE,
)


def secret(name: str) -> str:
    return (SECRETS / name).read_text().strip()


def passwords() -> dict[str, str]:
    return {USER: secret("database"), OWNER: secret("database_owner")}


def source(name: str) -> str:
    """A script that is run on a container."""
    return (HERE / "files" / name).read_text()


@dataclass(frozen=True)
class Server:
    name: str

    @property
    def version(self) -> str:
        return self.name.removeprefix("db")

    @property
    def configuration(self) -> str:
        return f"/etc/postgresql/{self.version}/main"

    @property
    def unit(self) -> str:
        return f"postgresql@{self.version}-main"

    def run(self, command: str, *arguments: str) -> str:
        """As root, which the cluster is not."""
        done = host(self.name).run(command, *arguments)
        assert done.rc == 0, done.stdout + done.stderr
        return str(done.stdout)

    def rows(self, sql: str, database: str = "postgres") -> list[str]:
        return query(database, sql, self.name)

    def json(self, sql: str, database: str = "postgres") -> list[dict[str, Any]]:
        """The rows of a query as objects."""
        (text,) = self.rows(f"SELECT coalesce(jsonb_agg(to_jsonb(found)), '[]') FROM ({sql}) AS found", database)
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def hba(self) -> bytes:
        content: bytes = host(self.name).file(f"{self.configuration}/pg_hba.conf").content
        return content

    def rules(self) -> list[dict[str, Any]]:
        """What the server reads in its files, in the order in which it tries them."""
        order = "rule_number" if self.version != "15" else "line_number"
        return self.json(f"SELECT * FROM pg_hba_file_rules ORDER BY {order}")

    def loaded(self) -> str:
        """When the server last read its configuration."""
        return self.rows("SELECT pg_conf_load_time()")[0]

    def sessions(self) -> list[dict[str, Any]]:
        """The open sessions in the cluster's database."""
        return self.json(
            "SELECT pid, usename, host(client_addr) AS address, ssl, application_name FROM pg_stat_activity"
            f" JOIN pg_stat_ssl USING (pid) WHERE datname = '{DATABASE}' AND backend_type = 'client backend'"
        )

    def roles(self) -> list[dict[str, Any]]:
        """All roles and databases, with whatever may be changed on them."""
        return [
            *self.json("SELECT a.*, shobj_description(oid, 'pg_authid') FROM pg_authid a ORDER BY oid"),
            *self.json(
                "SELECT datname, datdba, datacl, datconnlimit, shobj_description(oid, 'pg_database') FROM pg_database"
                " ORDER BY oid"
            ),
        ]

    def statuses(self, tasks: Sequence[str]) -> dict[str, str]:
        """Task -> its status, of those whose result is in the database."""
        listed = ", ".join(f"'{task}'" for task in tasks)
        rows = self.json(f"SELECT task_id, status FROM celery_taskmeta WHERE task_id IN ({listed})", DATABASE)
        return {row["task_id"]: row["status"] for row in rows}

    def attempts(self, ways: Iterable[str], **wanted: Any) -> list[dict[str, Any]]:
        """What pg_login.py takes, one for each way to this server."""
        there = addresses(self.name)
        return [{"host": there[way], "port": PORT, "database": DATABASE, "tls": True, **wanted} for way in ways]

    def log_in(self, caller: str, role: str = USER, **wanted: Any) -> list[dict[str, Any]]:
        """Log in from a host with the right password, in all of its ways."""
        return log_in(caller, self.attempts(WAYS[caller], user=role, password=passwords()[role], **wanted))


class Cluster:
    """The cluster with one of the servers as its database."""

    def __init__(self, server: Server, directory: Path, kept: dict[str, Any]) -> None:
        self.server, self.directory = server, directory
        # Variables that every later run gets: what one test changed for good, another must not take back.
        self.kept = kept

    def inventory(self, without: Sequence[str] = (), server_variables: Mapping[str, Any] | None = None) -> list[str]:
        """The scenario's inventory with this server, and without some hosts."""
        hosts = yaml.safe_load((INVENTORY / "hosts").read_text())
        groups = hosts["all"]["children"]
        groups["postgresql"]["hosts"] = {self.server.name: dict(server_variables or {})}
        for name in without:
            del hosts["all"]["hosts"][name], groups["celery_workers"]["hosts"][name]
        (self.directory / "hosts").write_text(yaml.safe_dump(hosts))
        if not (self.directory / "group_vars").exists():
            (self.directory / "group_vars").symlink_to((INVENTORY / "group_vars").resolve())
        return ["-i", str(self.directory)]

    def run(
        self,
        *arguments: str,
        name: str = ACCESS,
        without: Sequence[str] = (),
        server_variables: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook; variables: of the cluster, for this run; server_variables: of the database's host."""
        given = {"celery_secrets_directory": str(SECRETS), **self.kept, **variables}
        inventory = self.inventory(without, server_variables)
        return testing.run_playbook(*inventory, "-e", json.dumps(given), *arguments, name=name, alone=True)

    def succeed(self, *arguments: str, **options: Any) -> str:
        """As run, for one that must succeed; returns its output."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        return done.stdout

    def is_used(self) -> bool:
        """Whether the workers' services name this server."""
        file = host("worker1").file(f"/opt/{NAME}/config/pg_service.conf")
        return bool(file.exists and re.search(rf"^host={self.server.name}$", file.content_string, re.MULTILINE))

    def receipts(self, first: int, count: int, **options: Any) -> list[dict[str, Any]]:
        """Send tasks from the submitter: `id` of each, and with wait=True `status` and `value` as read back there."""
        given = {"first": first, "count": count, "rate": 50, "wait": True, **options}
        found: list[dict[str, Any]] = script_on(SUBMITTER, source("receipts.py"), given, [RUN, "python"], 300)
        return found


def ours(hba: bytes) -> list[str]:
    """The lines of the cluster's block, without its comments."""
    found = BLOCK.findall(hba)
    assert len(found) <= 1, "more than one block"
    return [line for line in b"".join(found).decode().splitlines() if line.strip() and not line.startswith("#")]


def is_unchanged(output: str) -> bool:
    """Whether a playbook says that it changed nothing on any host."""
    counts = re.findall(r"^\S+ +: ok=\d+ +changed=(\d+)", output.split("PLAY RECAP", 1)[1], re.MULTILINE)
    return bool(counts) and set(counts) == {"0"}

"""The module against a server that keeps its state: what it makes, refuses, puts back and leaves alone."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import pg_apply
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_file import Swap
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_psql import LoginError, PsqlError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_scram import matches, verifier
from ansible_collections.taskfleet.celery_cluster.plugins.modules import postgresql_access

FOREIGN = "# ours, by hand\nlocal  all postgres\tpeer\n\n# the rest of the world\nhost all all 0.0.0.0/0 reject # all\n"
MARK = "taskfleet.celery_cluster shop"
PASSWORDS = ("owner's secret", "user secret")
METHODS = ("peer", "reject", "scram-sha-256", "md5", "trust", "cert")
FLAGS = ("superuser", "createdb", "createrole", "replication", "bypassrls")
WANTED: dict[str, Any] = {
    "cluster": "shop",
    "database": "shop",
    "owner": {"name": "shop_owner", "password": PASSWORDS[0]},
    "user": {"name": "shop", "password": PASSWORDS[1]},
    "clients": [
        {"name": "worker1", "address": "192.0.2.5/32"},
        {"name": "web", "address": "192.0.2.3/32", "role": "owner"},
    ],
}
BLOCK = """# BEGIN taskfleet.celery_cluster shop
# Written by Ansible from the inventory: a change here is lost with the next run.
# worker1
hostssl shop shop 192.0.2.5/32 scram-sha-256
# web
hostssl shop shop_owner 192.0.2.3/32 scram-sha-256
# every other connection of these roles over the network
host all shop,shop_owner all reject
# END taskfleet.celery_cluster shop
"""
WITH_BLOCK = FOREIGN.replace("# the rest", BLOCK + "# the rest")


def role(name: str, **more: Any) -> dict[str, Any]:
    flags: dict[str, Any] = {**dict.fromkeys(FLAGS, False), "login": True, "expired": False, "limit": -1}
    others = {"comment": None, "password": None, "becomes_superuser": False, "groups": None, "memberships": None}
    return {"name": name, **flags, **others, **more}


class Server:
    """What the scripts read of a server and do to it. The file is a real one, and the server re-reads it when told."""

    def __init__(self, hba: Path) -> None:
        self.hba = hba
        self.roles: dict[str, dict[str, Any]] = {}
        self.databases: dict[str, dict[str, Any]] = {}
        self.inside: dict[str, Any] = {"schemas": [self.schema("public")], "things": [], "defaults": []}
        self.sessions: list[dict[str, Any]] = []
        self.others = 0
        self.first = "on|150020|f"
        self.ssl = "on"
        self.scripts: list[str] = []
        self.loaded, self.in_force = time.time(), hba.read_text()
        self.fail_on = ""
        self.misreads = ""  # a word that the server takes for another one
        self.deaf = False
        self.before_rules: Callable[[], None] = lambda: None

    @staticmethod
    def schema(name: str) -> dict[str, Any]:
        flags = {"owner_creates": True, "user_uses": True, "public_creates": False, "user_creates": False}
        return {"name": name, "owner": "pg_database_owner", **flags}

    def run(self, script: str, database: str = "postgres") -> list[str]:
        self.scripts.append(script)
        if script.startswith("\\set target"):
            return self.everything(script)
        if "pg_hba_file_rules" in script:
            self.before_rules()
            return [json.dumps(self.rules())]
        if "pg_reload_conf" in script:
            if self.deaf:
                return []
            self.loaded, self.in_force = time.time(), self.hba.read_text(errors="replace")
            return ["loaded"]
        if "pg_terminate_backend" in script:
            ended = [entry for entry in self.sessions if f"({entry['pid']}, " in script]
            self.sessions = [entry for entry in self.sessions if entry not in ended]
            return [str(len(ended))]
        if "client_addr IS NOT NULL" in script:
            return [json.dumps(self.sessions)]
        if script.startswith("SELECT oid"):
            return ["16384"]
        return self.execute(script)

    def everything(self, script: str) -> list[str]:
        if self.first != "on|150020|f":
            return [self.first]
        settings = {"max_connections": "100", "superuser_reserved_connections": "3", "ssl": self.ssl, "ssl_ca_file": ""}
        database = self.databases.get("shop")
        told = {
            "settings": settings,
            "system": "4711",
            "hba": self.rules(),
            "authorities": None,
            "roles": [entry for entry in self.roles.values() if f"'{entry['name']}'" in script],
            "marked": sorted(name for name, entry in self.roles.items() if entry["comment"] == MARK),
            "database": database,
            "others": self.others,
        }
        return [
            self.first,
            json.dumps(told),
            json.dumps(self.sessions),
            *([json.dumps(self.inside)] if database else []),
        ]

    def rules(self) -> dict[str, Any]:
        content = self.hba.read_bytes()
        rows = []
        for number, line in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), 1):
            fields = line.partition("#")[0].split()
            if not fields:
                continue
            address, method = (None, fields[3]) if fields[0] == "local" else (fields[3], fields[4])
            network, _slash, bits = (address or "").partition("/")
            mask = {"32": "255.255.255.255", "24": "255.255.255.0", "0": "0.0.0.0"}.get(bits)
            method = "trust" if method == self.misreads else method
            row = {"type": fields[0], "database": fields[1].split(","), "user_name": fields[2].split(",")}
            row |= {"address": network or None, "netmask": mask, "auth_method": method, "options": None, "error": None}
            if method not in METHODS:
                row = {**dict.fromkeys(row), "error": f'invalid authentication method "{method}"'}
            rows.append({**row, "line_number": number})
        text = base64.b64encode(content).decode()
        return {"file": str(self.hba), "text": text, "rules": rows, "loaded": self.loaded}

    def execute(self, script: str) -> list[str]:
        printed = []
        for line in script.splitlines():
            if line == "\\echo done":
                printed.append("done")
            elif self.fail_on and self.fail_on in line:
                raise PsqlError(f"ERROR:  no, said of {line}", printed)
            elif not line.startswith(("\\", "SET ", "RESET ", "BEGIN", "COMMIT")):
                self.statement(line)
        return printed

    def statement(self, line: str) -> None:
        words, names = line.split(), re.findall(r'"([^"]+)"', line)
        stored = re.search(r"PASSWORD (?:'([^']*)'|NULL)", line)
        match words[:3]:
            case ["CREATE", "ROLE", _]:
                assert stored
                self.roles[names[0]] = role(names[0], password=stored[1])
            case ["ALTER", "ROLE", _]:
                there = self.roles[names[0]]
                there |= {flag: False for flag in FLAGS if f"NO{flag.upper()}" in words}
                there |= {"login": there["login"] or "LOGIN" in words}
                there |= {"password": stored[1]} if stored else {}
            case ["COMMENT", "ON", kind]:
                held = self.roles if kind == "ROLE" else self.databases
                held[names[0]]["comment"] = line.split("'")[1]
            case ["CREATE", "DATABASE", _]:
                start = {"oid": "16384", "owner": names[1], "limit": -1, "connectable": True, "comment": None}
                access = {"public": ["CONNECT", "TEMPORARY"], "user": None, "user_connects": True}
                self.databases[names[0]] = {**start, **access}
                missing = ["DELETE", "INSERT", "SELECT", "UPDATE"]
                self.inside["defaults"] = [["r", "public", missing], ["S", "public", ["SELECT", "USAGE"]]]
            case ["GRANT", "CONNECT", _]:
                self.databases[names[0]]["user"] = ["CONNECT"]
            case ["REVOKE", "CONNECT,", "TEMPORARY"]:
                self.databases[names[0]]["public"] = None
            case ["ALTER", "DEFAULT", _]:
                kind = "S" if "SEQUENCES" in words else "r"
                self.inside["defaults"] = [entry for entry in self.inside["defaults"] if entry[0] != kind]
            case ["GRANT", *_] if " ON TABLE " in line:
                self.inside["things"] = []
            case _:
                raise AssertionError(line)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    hba = tmp_path / "pg_hba.conf"
    hba.write_text(FOREIGN)
    hba.chmod(0o640)
    state = Server(hba)
    monkeypatch.setattr(postgresql_access, "Psql", lambda *_: state)
    return state


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(**more: Any) -> dict[str, Any]:
        with patch_module_args({**WANTED, **more}), pytest.raises(SystemExit):
            postgresql_access.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        answer.pop("invocation", None)
        return answer

    return call


@pytest.fixture
def made(server: Server, run: Run) -> Server:
    assert run()["changed"] is True
    server.scripts.clear()
    return server


def beside(server: Server) -> list[str]:
    return sorted(entry.name for entry in server.hba.parent.iterdir())


def test_from_nothing_and_again(server: Server, run: Run) -> None:
    first = run()
    assert first["changes"] == [
        "make the role shop_owner",
        "make the role shop",
        "make the database shop",
        "mark the database shop",
        "grant shop CONNECT on the database shop",
        "take CONNECT and TEMPORARY on the database shop from PUBLIC",
        "grant shop SELECT, USAGE on later sequences of shop_owner in the schema public",
        "grant shop DELETE, INSERT, SELECT, UPDATE on later tables of shop_owner in the schema public",
        f"write the lines of the cluster into {server.hba}",
        f"have the server read {server.hba} anew",
    ]
    assert server.hba.read_text() == server.in_force == WITH_BLOCK
    assert [matches(server.roles[name]["password"], PASSWORDS[n]) for n, name in enumerate(["shop_owner", "shop"])]
    assert (first["reloaded"], first["ended"], first["notes"]) == (True, 0, [])
    assert first["server"] == {
        "version": 150020,
        "identifier": "4711/16384",
        "hba_file": str(server.hba),
        "max_connections": 100,
        "available": 97,
        "others": 0,
        "foreign_roles": [],
    }
    assert beside(server) == ["pg_hba.conf"]
    server.scripts.clear()
    number = server.hba.stat().st_ino
    second = run()
    assert (second["changed"], second["changes"], second["diff"]) == (False, [], [])
    assert second["server"] == first["server"]
    assert len(server.scripts) == 1
    assert server.hba.stat().st_ino == number


def test_a_check_tells_the_same_and_does_nothing(server: Server, run: Run) -> None:
    before = json.dumps([server.roles, server.databases, server.hba.read_text(), server.hba.stat().st_mtime])
    predicted = run(_ansible_check_mode=True)
    assert json.dumps([server.roles, server.databases, server.hba.read_text(), server.hba.stat().st_mtime]) == before
    assert len(server.scripts) == 1
    assert predicted["diff"][0] == {
        "before_header": str(server.hba),
        "after_header": str(server.hba),
        "before": FOREIGN,
        "after": WITH_BLOCK,
    }
    assert predicted["server"]["identifier"] == ""
    done = run()
    assert {**predicted, "server": None} == {**done, "server": None}


def test_no_secret_in_the_answer(server: Server, run: Run) -> None:
    shown = json.dumps([run(_ansible_diff=True), run(user={"name": "shop", "password": "another one"})])
    assert "a new password" in shown
    for secret in (*PASSWORDS, "another one", *(entry["password"] for entry in server.roles.values())):
        assert secret not in shown
    for script in server.scripts:
        assert not any(password in script for password in PASSWORDS)


def test_everything_that_is_wrong_is_told_at_once_and_nothing_changes(server: Server, run: Run) -> None:
    server.roles["shop"] = role("shop", superuser=True, password="md5" + 32 * "0")
    server.databases["shop"] = {
        "oid": "1",
        "owner": "app",
        "limit": -1,
        "connectable": True,
        "comment": None,
        "public": ["CONNECT"],
        "user": None,
        "user_connects": True,
    }
    server.hba.write_text(FOREIGN + "host all all 198.51.100.0/24 scramble\n")
    before = server.hba.read_text()
    server.ssl, server.others = "off", 90
    failed = run(connections=20, clients=[{"name": "w", "address": "missing.invalid"}])
    assert failed["failed"] is True
    assert (failed["changed"], failed["changes"]) == (False, [])
    words = ["ssl = off", "SUPERUSER", "md5", "celery_database_owner: app", "has 7 left", "missing.invalid", "scramble"]
    assert len(failed["problems"]) == len(words)
    for word, problem in zip(words, failed["problems"], strict=True):
        assert word in problem
    assert failed["msg"] == "\n".join(failed["problems"])
    assert len(server.scripts) == 1
    assert server.hba.read_text() == before


def test_a_login_of_somebody_else_that_works_today_is_not_taken_away(server: Server, run: Run) -> None:
    server.hba.write_text("hostssl shop shop 192.0.2.0/24 trust\n" + FOREIGN)
    server.roles["shop"] = role("shop", password=verifier(PASSWORDS[1]))
    (told,) = run()["problems"]
    assert "line 1 (hostssl shop shop 192.0.2.0/24 trust) lets the role shop in" in told
    # It is ours to decide when the role is ours.
    server.roles["shop"]["comment"] = MARK
    assert "problems" not in run()


@pytest.mark.parametrize(
    ("first", "words"),
    [("off|150020|f", "no superuser"), ("on|120000|f", "13 is the oldest"), ("on|150020|t", "a standby")],
)
def test_a_server_with_which_nothing_can_be_done(server: Server, run: Run, first: str, words: str) -> None:
    server.first = first
    (told,) = run()["problems"]
    assert words in told


def test_wrong_options_are_refused_before_the_server_is_asked(server: Server, run: Run) -> None:
    failed = run(clients=[{"name": "w", "address": "10.0.0.5/24"}], database="template1")
    assert len(failed["problems"]) == 2
    assert server.scripts == []


def test_no_login(run: Run, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    def refused(*_: Any) -> list[str]:
        raise LoginError("the server does not let the account root in")

    monkeypatch.setattr(Server, "run", refused)
    failed = run()
    assert failed["problems"] == [failed["msg"]] == ["the server does not let the account root in"]
    assert failed["changed"] is False


# --- pg_hba.conf ------------------------------------------------------------------------------------------------------


def test_a_host_that_left_loses_its_line_and_nobody_else_a_byte(made: Server, run: Run) -> None:
    made.hba.write_bytes(b"# caf\xe9\r\n" + made.hba.read_bytes().replace(b"\t", b"  \t ") + b"local all all peer")
    before = made.hba.read_bytes()
    changed = run(clients=WANTED["clients"][1:])
    assert changed["changes"][0] == f"write the lines of the cluster into {made.hba}"
    gone = b"# worker1\nhostssl shop shop 192.0.2.5/32 scram-sha-256\n"
    assert gone in before
    assert made.hba.read_bytes() == before.replace(gone, b"")
    assert "caf\ufffd" in changed["diff"][0]["before"]


def test_all_lines_go_with_the_last_client(made: Server, run: Run) -> None:
    run(clients=[], reject_others=False)
    assert made.hba.read_text() == FOREIGN


@pytest.mark.parametrize("word", ["scram-sha-256", "reject"])
def test_what_the_server_reads_otherwise_is_put_back(made: Server, run: Run, word: str) -> None:
    before, number, force = made.hba.read_bytes(), made.hba.stat().st_ino, made.in_force
    made.before_rules = lambda: setattr(made, "misreads", word)
    failed = run(clients=WANTED["clients"][:1])
    assert "so the file is again what it was, and the rules in force have not changed" in failed["msg"]
    assert failed["changed"] is False
    assert (made.hba.read_bytes(), made.hba.stat().st_ino, made.in_force) == (before, number, force)
    assert beside(made) == ["pg_hba.conf"]
    made.misreads, made.before_rules = "", lambda: None
    assert run()["changed"] is False


def test_a_server_that_dies_at_the_judgement_finds_the_old_file(made: Server, run: Run) -> None:
    def die() -> None:
        raise PsqlError("server closed the connection unexpectedly")

    before, made.before_rules = made.hba.read_bytes(), die
    assert run(clients=[])["msg"] == "server closed the connection unexpectedly"
    assert made.hba.read_bytes() == before
    assert beside(made) == ["pg_hba.conf"]


def test_somebody_who_edits_at_the_same_moment_keeps_the_edit(
    made: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Swap.replace

    def edited(self: Swap, old: bytes, new: bytes) -> None:
        made.hba.write_text(made.hba.read_text() + "# edited\n")
        replace(self, old, new)

    monkeypatch.setattr(Swap, "replace", edited)
    assert "changed by somebody else while this ran: run again" in run(clients=[])["msg"]
    assert made.hba.read_text() == WITH_BLOCK + "# edited\n"


def test_a_reload_that_does_not_happen_fails_and_is_made_up_for(made: Server, run: Run) -> None:
    made.deaf = True
    failed = run(clients=[])
    assert "has not done so within" in failed["msg"]
    assert failed["changes"] == [f"write the lines of the cluster into {made.hba}"]
    made.deaf = False
    assert run(clients=[])["changes"] == [f"have the server read {made.hba} anew"]
    assert made.in_force == made.hba.read_text()
    assert run(clients=[])["changed"] is False


def test_files_that_the_server_has_not_loaded(made: Server, run: Run, tmp_path: Path) -> None:
    files = [tmp_path / "cert.pem", tmp_path / "missing.pem"]
    files[0].write_text("new")
    made.loaded -= 10
    changed = run(loaded_files=[str(file) for file in files])
    assert changed["changes"] == [f"have the server read {made.hba}, {files[0]} anew"]
    assert run(loaded_files=[str(file) for file in files])["changed"] is False


def run_that_ends_before_the_judgement(server: Server, run: Run, **more: Any) -> None:
    """As if it were killed: what is beside stays there."""

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pg_apply, "judged", kill)
        patch.setattr(Swap, "restore", kill)
        with patch_module_args({**WANTED, **more}), pytest.raises(Killed):
            postgresql_access.main()
    assert beside(server) == [".pg_hba.conf.celery-cluster-before", "pg_hba.conf"]


@pytest.mark.parametrize("clients", [WANTED["clients"], []])
def test_what_a_killed_run_left_is_put_back_first(made: Server, run: Run, clients: list[dict[str, Any]]) -> None:
    run_that_ends_before_the_judgement(made, run, clients=[])
    predicted = run(clients=clients, _ansible_check_mode=True)
    assert len(beside(made)) == 2
    done = run(clients=clients)
    assert predicted == done
    assert done["changes"][0] == f"put {made.hba} back as it was before a run that ended early"
    assert done["reloaded"] is True
    assert (made.in_force == WITH_BLOCK) is bool(clients)
    assert beside(made) == ["pg_hba.conf"]
    assert run(clients=clients)["changed"] is False


def test_what_a_killed_run_left_is_put_back_also_when_the_run_is_refused(made: Server, run: Run) -> None:
    run_that_ends_before_the_judgement(made, run, clients=[])
    made.ssl = "off"
    failed = run()
    assert "ssl = off" in failed["msg"]
    assert failed["changes"] == [f"put {made.hba} back as it was before a run that ended early"]
    assert made.hba.read_text() == WITH_BLOCK


def test_what_was_edited_since_is_for_a_person_to_judge(made: Server, run: Run) -> None:
    run_that_ends_before_the_judgement(made, run, clients=[])
    made.hba.write_text(made.hba.read_text() + "# edited\n")
    before = made.hba.read_text()
    failed = run()
    assert "the file was edited since: see that it is as you want it, remove" in failed["msg"]
    assert made.hba.read_text() == before
    (made.hba.parent / ".pg_hba.conf.celery-cluster-before").unlink()
    assert run()["changed"] is True


def test_a_copy_left_before_the_change_is_removed(made: Server, run: Run) -> None:
    copy = made.hba.parent / ".pg_hba.conf.celery-cluster-before"
    copy.write_bytes(made.hba.read_bytes())
    assert run(_ansible_check_mode=True)["changes"] == [f"remove {copy}, left by a run that ended early"]
    assert copy.exists()
    assert run()["changed"] is True
    assert not copy.exists()
    assert run()["changed"] is False


# --- roles, grants, sessions, pooler ----------------------------------------------------------------------------------


def test_a_failure_half_way_tells_what_is_done_and_the_next_run_does_the_rest(server: Server, run: Run) -> None:
    server.fail_on = 'CREATE ROLE "shop"'
    failed = run()
    assert failed["changed"] is True
    assert failed["changes"] == ["make the role shop_owner"]
    assert failed["msg"].startswith("make the role shop failed: ERROR:  no, said of")
    assert "SCRAM" not in failed["msg"]
    assert server.hba.read_text() == FOREIGN
    server.fail_on = "COMMENT ON DATABASE"
    assert run()["changes"] == ["make the role shop", "make the database shop"]
    server.fail_on = ""
    assert run()["changes"][0] == "mark the database shop"
    assert run()["changed"] is False


def test_in_a_database_of_somebody_else_only_grants_are_added(server: Server, run: Run) -> None:
    server.roles["app"] = role("app", password=verifier("app secret"))
    start = {"oid": "7", "owner": "app", "limit": -1, "connectable": True, "comment": "the application"}
    server.databases["shop"] = {**start, "public": ["CONNECT", "TEMPORARY"], "user": None, "user_connects": True}
    server.inside["schemas"][0]["public_creates"] = True
    server.inside["things"] = [["r", "public", name, ["SELECT"]] for name in ("a", "b")]
    before = json.dumps([server.roles["app"], server.databases])
    changed = run(owner={"name": "app", "password": "app secret"})
    assert changed["changes"][:2] == ["make the role shop", "grant shop SELECT on 2 tables"]
    assert json.dumps([server.roles["app"], server.databases]) == before
    assert changed["server"]["foreign_roles"] == ["app"]
    # The last line names only the role that is ours.
    assert "host all shop all reject\n" in server.hba.read_text()
    assert run(owner={"name": "app", "password": "app secret"})["changed"] is False


def test_sessions_that_could_not_be_opened_any_more(made: Server, run: Run) -> None:
    start = {"started": "2026-01-01 00:00:00+00", "role": "shop", "ssl": True}
    made.sessions = [{**start, "pid": number, "address": f"192.0.2.{number}"} for number in (5, 9, 10)]
    assert run()["changed"] is False
    predicted = run(end_sessions=True, _ansible_check_mode=True)
    assert predicted["changes"] == ["end 2 sessions that could not be opened any more"]
    assert len(made.sessions) == 3
    assert run(end_sessions=True) == predicted
    assert [entry["pid"] for entry in made.sessions] == [5]
    made.scripts.clear()
    assert run(end_sessions=True)["ended"] == 0
    assert len(made.scripts) == 1


def test_the_pooler_is_let_in_and_gets_the_verifier(made: Server, run: Run, tmp_path: Path) -> None:
    userlist = tmp_path / "userlist.txt"
    options = {"pooler": True, "pooler_userlist": str(userlist)}
    predicted = run(**options, _ansible_check_mode=True)
    assert not userlist.exists()
    changed = run(**options)
    assert changed == predicted
    assert changed["userlist_changed"] is True
    stored = made.roles["shop"]["password"]
    assert userlist.read_text() == f'"shop" "{stored}"\n'
    assert userlist.stat().st_mode & 0o777 == 0o600
    assert stored not in json.dumps(changed)
    text = made.hba.read_text()
    assert "local shop shop scram-sha-256\n" in text
    assert "hostssl shop shop " not in text
    assert "hostssl shop shop_owner 192.0.2.3/32 scram-sha-256\n" in text
    assert run(**options)["changed"] is False
    userlist.chmod(0o644)
    assert run(**options)["changes"] == [f"write {userlist}"]
    assert "make its directory" in run(pooler=True, pooler_userlist=str(tmp_path / "no" / "userlist.txt"))["msg"]

"""Values that go into another language are read back by that language as they were."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils import text
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kombu.utils.url import parse_url
from psycopg.conninfo import conninfo_to_dict

# Characters that mean something to a shell, to systemd or in a URL come often.
AWKWARD_LETTERS = "\"'\\$`%#;:/?@&+=!~*[]{}()<>| \x7f\x85\ufeffé☃𝄞"
AWKWARD = st.sampled_from(AWKWARD_LETTERS)
NONCHARACTERS = [chr(plane + end) for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)]
NONCHARACTERS += map(chr, range(0xFDD0, 0xFDF0))
LETTER = st.one_of(AWKWARD, st.characters(min_codepoint=32, codec="utf-8", exclude_characters=NONCHARACTERS))
VALUES = st.lists(st.text(LETTER, max_size=30), min_size=1, max_size=40)
SECRETS = st.text(st.one_of(AWKWARD, st.characters(min_codepoint=1, codec="utf-8")), min_size=1, max_size=30)
ADDRESSES = st.one_of(st.ip_addresses().map(str), st.just("broker1.example.org"))

ALL = AWKWARD_LETTERS  # one example that holds every one of them, whatever chance brings

SHELLS = [shell for shell in ("sh", "bash") if shutil.which(shell)]
few = settings(deadline=None, max_examples=50)


def named(values: list[str]) -> dict[str, str]:
    return {f"V_{number}": value for number, value in enumerate(values)}


# --------------------------------------------------------------------------------------------------
# Environment files


@pytest.mark.parametrize("shell", SHELLS)
@settings(deadline=None, max_examples=20)
@example(values=[ALL, "", " ", "\\"])
@given(values=VALUES)
def test_a_shell_reads_an_environment_file_as_it_was(shell: str, values: list[str]) -> None:
    variables = named(values)
    with tempfile.NamedTemporaryFile(suffix=".env") as file:
        file.write(text.env_file(variables).encode())
        file.flush()
        command = [shell, "-c", 'set -a; . "$1" && exec env -0', shell, file.name]
        done = subprocess.run(command, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"})
    read = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line.startswith("V_"))
    assert (read, done.stderr) == (variables, b"")


def systemd_reads(content: str) -> dict[str, str]:
    """What EnvironmentFile= makes of a file: systemd's state machine, without the states that no output here enters."""
    found: dict[str, str] = {}
    state, key, value, blanks = "before key", "", "", 0
    for letter in content + "\n":
        if state == "before key":
            if letter in "#;":
                state = "comment"
            elif letter not in " \t\r\n":
                state, key = "key", letter
        elif state == "comment":
            state = "before key" if letter in "\r\n" else state
        elif state == "key":
            if letter in "\r\n":
                state = "before key"
            elif letter == "=":
                state, value, blanks = "before value", "", 0
            else:
                key += letter
        elif state == "quoted":
            if letter == '"':
                state = "before value"
            elif letter == "\\":
                state = "escape in quotes"
            else:
                value += letter
        elif state == "escape in quotes":
            state = "quoted"
            if letter in '"\\`$':
                value += letter
            elif letter != "\n":
                value += "\\" + letter
        elif letter in "\r\n":
            # A value without quotes loses the blanks at its end.
            found[key.rstrip()] = value[: len(value) - blanks] if blanks else value
            state = "before key"
        elif state == "before value" and letter == '"':
            state = "quoted"
        elif (state == "before value" and letter == "'") or letter == "\\":
            raise AssertionError("env_file never writes this form")
        elif state == "plain" or letter not in " \t":
            state = "plain"
            blanks = blanks + 1 if letter in " \t" else 0
            value += letter
    return found


@few
@example(values=[ALL, "", " ", "\\"])
@given(values=VALUES)
def test_systemd_reads_an_environment_file_as_it_was(values: list[str]) -> None:
    variables = named(values)
    assert systemd_reads("# Managed\n" + text.env_file(variables)) == variables


def test_numbers_become_text_and_no_variables_an_empty_file() -> None:
    assert text.env_file({"A": 1, "B": 0.5, "_c": "x"}) == 'A="1"\nB="0.5"\n_c="x"\n'
    assert text.env_file({}) == ""


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "A\n", "Ä", 1, None])
def test_a_wrong_name_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="is not a name of an environment variable"):
        text.env_file({name: "x"})  # type: ignore[dict-item]


@pytest.mark.parametrize("letter", ["\n", "\r", "\0", "\t", "\x1f", "\ud800", "\ufffe", "\ufdd0", "\U0010ffff"])
def test_a_character_that_cannot_be_carried_is_refused_without_telling_the_value(letter: str) -> None:
    with pytest.raises(ValueError, match="value of PASSWORD holds a control character") as caught:
        text.env_file({"PASSWORD": f"hunter2{letter}"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [None, ["hunter2"], {"a": "hunter2"}])
def test_a_value_that_is_no_text_is_refused_without_telling_it(value: object) -> None:
    with pytest.raises(ValueError, match="value of A is no text") as caught:
        text.env_file({"A": value})
    assert "hunter2" not in str(caught.value)


def test_all_problems_of_an_environment_come_at_once() -> None:
    with pytest.raises(ValueError, match=r"'1' is not a name.*; the value of B"):
        text.env_file({"1": "x", "B": "\n", "C": "fine"})


# --------------------------------------------------------------------------------------------------
# URLs


@few
@example("::1", 1, ALL, ALL, ALL)
@given(ADDRESSES, st.integers(1, 65535), SECRETS, SECRETS, SECRETS)
def test_kombu_reads_a_broker_url_as_it_was(address: str, port: int, user: str, password: str, vhost: str) -> None:
    url = text.broker_url([address], port, user, password, vhost)
    parts = parse_url(url)
    assert (parts["userid"], parts["password"], parts["virtual_host"]) == (user, password, vhost)
    assert (parts["transport"], parts["hostname"], parts["port"], parts["ssl"]) == ("pyamqp", address, port, "1")


@few
@example(["::1", "mq"], ALL)
@given(st.lists(ADDRESSES, min_size=1, max_size=4), SECRETS)
def test_every_broker_has_its_url(addresses: list[str], password: str) -> None:
    urls = text.broker_url(addresses, 5671, "u", password, "v").split(";")
    assert [(parse_url(url)["hostname"], parse_url(url)["password"]) for url in urls] == [
        (address, password) for address in addresses
    ]


@few
@example("::1", 1, ALL, ALL, ALL, ALL)
@given(ADDRESSES, st.integers(1, 65535), SECRETS, SECRETS, SECRETS, SECRETS)
def test_libpq_reads_a_database_url_as_it_was(
    address: str, port: int, user: str, password: str, database: str, name: str
) -> None:
    ca_file = f"/opt/{name}/ca.pem"
    assert conninfo_to_dict(text.database_url(address, port, user, password, database, ca_file)) == {
        "host": address,
        "port": str(port),
        "user": user,
        "password": password,
        "dbname": database,
        "sslmode": "verify-full",
        "sslrootcert": ca_file,
    }


@few
@example("::1", ALL, ALL)
@given(ADDRESSES, SECRETS, SECRETS)
def test_urllib_reads_every_url_as_it_was(address: str, user: str, password: str) -> None:
    for url in (
        text.database_url(address, 5432, user, password, "d", "/ca", scheme="db+postgresql+psycopg"),
        text.management_url(address, 15671, user, password),
        text.broker_url([address], 5671, user, password, "v"),
    ):
        parts = urlsplit(url)
        assert parts.hostname == address
        assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)
        assert parts.port in (5432, 15671, 5671)
    assert urlsplit(text.management_url(address, 15671, user, password)).path == "/api/"


@few
@example("::1", ALL, ALL)
@given(ADDRESSES, SECRETS, SECRETS)
def test_sqlalchemy_reads_the_result_backend_as_it_was(address: str, user: str, password: str) -> None:
    make_url = pytest.importorskip("sqlalchemy").make_url
    url = make_url(text.database_url(address, 5432, user, password, "shop", "/opt/a b/ca", "postgresql+psycopg"))
    assert (url.host, url.port, url.username, url.password) == (address, 5432, user, password)
    assert (url.database, dict(url.query)) == ("shop", {"sslmode": "verify-full", "sslrootcert": "/opt/a b/ca"})


@few
@example(ALL)
@given(SECRETS)
def test_a_login_by_certificate_has_no_password(user: str) -> None:
    url = text.broker_url(["mq"], 5671, user, "", "v")
    assert (parse_url(url)["userid"], parse_url(url)["password"]) == (user, None)
    assert ":@" not in url
    database = text.database_url("::1", 5432, user, "", "d", "/ca", certificate="/a b.pem", key="/a b.key")
    assert conninfo_to_dict(database) == {
        "host": "::1",
        "port": "5432",
        "user": user,
        "dbname": "d",
        "sslmode": "verify-full",
        "sslrootcert": "/ca",
        "sslcert": "/a b.pem",
        "sslkey": "/a b.key",
    }
    backend = text.database_url("::1", 5432, user, "", "d", "/ca", "db+postgresql+psycopg", "/c.pem", "/c.key")
    assert (urlsplit(backend).username, urlsplit(backend).password) == (quote(user, safe=""), None)
    assert parse_qs(urlsplit(backend).query)["sslkey"] == ["/c.key"]


def test_urls_ask_for_verified_tls() -> None:
    assert text.broker_url(["mq"], 5671, "u", "p", "/") == "pyamqp://u:p@mq:5671/%2F?ssl=1"
    query = parse_qs(urlsplit(text.database_url("2001:db8::1", 5432, "u", "p", "d", "/ca.pem")).query)
    assert query == {"sslmode": ["verify-full"], "sslrootcert": ["/ca.pem"]}
    assert text.management_url("2001:db8::1", 15671, "u", "p") == "https://u:p@[2001:db8::1]:15671/api/"


# --------------------------------------------------------------------------------------------------
# Unit files


def exec_words(line: str) -> Iterator[str]:
    """The words systemd makes of an Exec line without variables: quotes, C escapes, then %% and $$."""
    for plain, quoted in re.findall(r'([^\s"]+)|"((?:[^"\\]|\\.)*)"', line):
        word = plain or re.sub(
            r"\\(?:x([0-9a-f]{2})|(.))", lambda found: chr(int(found[1], 16)) if found[1] else found[2], quoted
        )
        assert not re.search(r"(?<!%)%(%%)*(?!%)|(?<!\$)\$(\$\$)*(?!\$)", word), "a specifier or variable is left"
        yield word.replace("%%", "%").replace("$$", "$")


@few
@example([ALL, "a\nb", "", ";"])
@given(st.lists(st.text(st.one_of(AWKWARD, st.sampled_from("\n\r\t"), st.characters(min_codepoint=1, codec="utf-8")))))
def test_systemd_reads_words_as_they_were(words: list[str]) -> None:
    line = text.systemd_quote(words)
    assert list(exec_words(line)) == words
    assert "\n" not in line, "a line break would begin another directive"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--queues", "--queues"),
        (["a,b", "50%", "a b", ""], 'a,b 50%% "a b" ""'),
        (["$HOME", 'say "x"', "a\\b", ";"], '"$$HOME" "say \\"x\\"" "a\\\\b" ";"'),
        (["a\nExecStartPre=/bin/evil"], '"a\\x0aExecStartPre=/bin/evil"'),
        ([4], "4"),
    ],
)
def test_words_of_a_unit_file(words: object, line: str) -> None:
    assert text.systemd_quote(words) == line  # type: ignore[arg-type]


def test_a_word_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        text.systemd_quote("a\0b")


# --------------------------------------------------------------------------------------------------
# Tables


def test_a_table_is_aligned_and_one_row_is_one_line() -> None:
    rows = [
        {"name": "a", "ok": True, "seconds": 0.123},
        {"name": "longer", "ok": False, "seconds": None, "detail": "no\nway"},
    ]
    assert text.table(rows, ["name", "ok", "seconds", "detail"]).splitlines() == [
        "NAME    OK      SECONDS  DETAIL",
        "------  ------  -------  ------",
        "a       ok      0.12",
        "longer  FAILED           no way",
    ]
    assert text.table([], ["a"]) == "A\n-"


def test_the_environment_file_of_a_shell_runs_no_command(tmp_path: Path) -> None:
    file = tmp_path / "x.env"
    file.write_text(text.env_file({"A": "$(touch made) `touch made` ${B:=1}"}))
    subprocess.run(["sh", "-c", ". ./x.env"], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == [file]


class TestOwnFiles:
    SHARED, OWN = "/opt/shop/config", "/opt/shop/config/releases/4f2c"

    def of(self, value: Any, *names: str) -> Any:
        return text.own_files({"X": value}, self.SHARED, self.OWN, names)["X"]

    def test_a_file_of_the_release(self) -> None:
        assert self.of(f"{self.SHARED}/shop.ini", "shop.ini") == f"{self.OWN}/shop.ini"
        both = f"{self.SHARED}/a.yml:{self.SHARED}/b.yml"
        assert self.of(both, "a.yml", "b.yml") == f"{self.OWN}/a.yml:{self.OWN}/b.yml"

    @pytest.mark.parametrize(
        "value",
        [
            "/opt/shop/config/ca.pem",
            "/opt/shop/config/shop.ini.bak",
            "/opt/shop/config/shop-ini",
            "/else/opt/shop/config/shop.ini",
            "/opt/shop/config/sub/shop.ini",
            17,
        ],
    )
    def test_everything_else_stays(self, value: Any) -> None:
        assert self.of(value, "shop.ini") == value

    def test_without_files(self) -> None:
        assert self.of(f"{self.SHARED}/shop.ini") == f"{self.SHARED}/shop.ini"

    def test_a_name_that_begins_another(self) -> None:
        assert self.of(f"{self.SHARED}/shop.ini.j", "shop.ini", "shop.ini.j") == f"{self.OWN}/shop.ini.j"

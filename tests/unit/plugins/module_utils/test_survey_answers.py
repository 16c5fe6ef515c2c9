"""What a host finds out: real sockets, real directories, and tables as the kernel writes them."""

from __future__ import annotations

import errno
import ipaddress
import os
import shlex
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import survey

Serve = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """command(name, output) puts a program of this name, and nothing else, on the PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def place(name: str, output: str) -> None:
        program = folder / name
        program.write_text(f'#!/bin/sh\nwhile IFS= read -r line; do echo "$line"; done <<E\n{output}\nE\nexit 1\n')
        program.chmod(0o755)

    return place


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# --- names and ports -------------------------------------------------------------------------------------------------


def test_names_resolve_or_not() -> None:
    found = survey.resolve(["localhost", "broker.invalid", "", "x" * 64, "\N{SNOWMAN}" * 80])
    assert found["localhost"] and set(found["localhost"]) <= {"127.0.0.1", "::1"}
    assert found["broker.invalid"] == [] and found["x" * 64] == [] and found["\N{SNOWMAN}" * 80] == []


def test_nothing_is_asked_for() -> None:
    assert (survey.resolve([]), survey.try_ports([], 1), survey.packages([])) == ({}, [], {})
    assert survey.listening([]) == {}


def test_ports_in_their_order_with_their_state(serve: Serve, closed_port: int) -> None:
    port = serve(lambda connection: None)
    asked = [
        {"host": "127.0.0.1", "port": closed_port, "to": "b", "name": "closed"},
        {"host": "127.0.0.1", "port": port, "to": "a", "name": "open"},
        {"host": "broker.invalid", "port": 1, "to": "", "name": "nobody"},
        {"host": "x" * 300, "port": 1, "to": "", "name": "no name at all"},
    ]
    found = survey.try_ports(asked, 5)
    assert [row["state"] for row in found] == ["refused", "open", "unresolved", "unresolved"]
    assert [{key: row[key] for key in ("host", "port", "to", "name")} for row in found] == asked
    assert found[0]["detail"] == "Connection refused" and found[1]["detail"] == ""


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (TimeoutError("timed out"), "timeout"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "timeout"),
        (OSError(errno.ECONNREFUSED, "Connection refused"), "refused"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (OSError(errno.EINVAL, "a blackhole route"), "unreachable"),
        (OSError(errno.EACCES, "a prohibiting route"), "unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "unresolved"),
        (OSError(errno.EMFILE, "Too many open files"), "failed"),
    ],
)
def test_every_end_of_an_attempt_has_a_state(error: OSError, state: str) -> None:
    assert survey.state_of(error) == state


def test_a_silent_port_is_a_timeout() -> None:
    # A queue of one that is full: the kernel answers no further attempt.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _number in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(address)
        found = survey.connect({"host": address[0], "port": address[1]}, 0.3)
        for client in waiting:
            client.close()
    assert found["state"] == "timeout"


def test_a_listener_is_found_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert survey.listening([port]) == {str(port): ["127.0.0.1"]}
    assert survey.listening([port]) == {str(port): []}


def _row(text: str, port: int, state: str) -> str:
    address = ipaddress.ip_address(text).packed
    words = struct.unpack(f">{len(address) // 4}I", address)
    swapped = (struct.unpack("=I", struct.pack(">I", word))[0] for word in words)
    return f"   0: {''.join(f'{word:08X}' for word in swapped)}:{port:04X} 00000000:0000 {state} 0 0 0"


def test_the_tables_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    rows = [_row("192.0.2.7", 5671, "0A"), _row("192.0.2.8", 5671, "01"), _row("0.0.0.0", 22, "0A")]
    (tmp_path / "net/tcp").write_text("\n".join(["  sl  local_address", *rows, ""]))
    assert survey.listening([5671, 5432], tmp_path) == {"5671": ["192.0.2.7"], "5432": []}
    rows = [
        _row("2001:db8::5", 5432, "0A"),
        _row("::", 5671, "0A"),
        _row("::ffff:192.0.2.9", 5671, "0A"),
    ]
    (tmp_path / "net/tcp6").write_text("\n".join(["  sl  local_address", *rows, ""]))
    found = survey.listening([5671, 5432], tmp_path)
    assert found == {"5671": ["192.0.2.7", "::", "192.0.2.9"], "5432": ["2001:db8::5"]}


# --- disk and memory -------------------------------------------------------------------------------------------------


def test_the_room_below_a_path_that_need_not_exist(tmp_path: Path) -> None:
    found = survey.place(str(tmp_path / "opt/shop"))
    room = os.statvfs(tmp_path)
    assert (found["path"], found["nearest"]) == (str(tmp_path / "opt/shop"), str(tmp_path))
    assert found["directory"] is True and found["read_only"] is False
    assert abs(found["bytes_free"] - room.f_bavail * room.f_frsize) < 1 << 30
    assert found["inodes_free"] is None or found["inodes_free"] > 0


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("")
    for path in (tmp_path / "shop", tmp_path / "shop/releases"):
        found = survey.place(str(path))
        assert (found["nearest"], found["directory"]) == (str(tmp_path / "shop"), False)


def test_read_only_and_without_a_number_of_inodes(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = os.statvfs_result((4096, 4096, 10, 5, 3, 0, 0, 0, os.ST_RDONLY, 255))
    monkeypatch.setattr(survey.os, "statvfs", lambda path: numbers)
    found = survey.place("/")
    assert (found["read_only"], found["inodes_free"], found["bytes_free"]) == (True, None, 3 * 4096)


def test_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       24684092 kB\nMemFree:        1 kB\n")
    assert survey.memory(tmp_path) == 24684092 * 1024
    assert survey.memory() > 1 << 26
    (tmp_path / "meminfo").write_text("")
    with pytest.raises(ValueError, match="MemTotal"):
        survey.memory(tmp_path)


# --- the interpreter -------------------------------------------------------------------------------------------------


def test_an_interpreter_that_runs() -> None:
    found = survey.interpreter(sys.executable)
    assert found["exists"] is True and found["detail"] == ""
    assert found["version"] == ".".join(map(str, sys.version_info[:3]))
    assert found["prefix"] == sys.base_prefix and found["real_path"] == os.path.realpath(sys.executable)


def test_the_interpreter_of_an_old_python_says_its_version(tmp_path: Path) -> None:
    found = survey.interpreter(script(tmp_path / "python2", "printf '2.7.18\\n/usr\\n'"))
    assert found["version"] == "2.7.18"


def test_interpreters_that_do_not_run(tmp_path: Path) -> None:
    missing = survey.interpreter(str(tmp_path / "python9"))
    assert (missing["exists"], missing["version"], missing["detail"]) == (False, "", "no such file")
    (tmp_path / "text").write_text("no program")
    assert survey.interpreter(str(tmp_path / "text"))["detail"] == "Permission denied"
    failing = survey.interpreter(
        script(tmp_path / "failing", "echo one >&2; echo 'a library is missing' >&2; exit 127")
    )
    assert (failing["exists"], failing["version"], failing["detail"]) == (True, "", "a library is missing")
    assert survey.interpreter(script(tmp_path / "silent", "exit 3"))["detail"] == "it ended with status 3"
    assert survey.interpreter(script(tmp_path / "other", "echo hello"))["detail"] == "hello"
    assert survey.interpreter(str(tmp_path))["detail"] == "Permission denied"


def test_an_interpreter_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "COMMAND_TIMEOUT", 0.2)
    assert survey.interpreter(script(tmp_path / "slow", "exec sleep 5"))["detail"] == "no answer within 0.2 s"


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that is closed, below one that is not: pytest makes its own for itself alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "home").mkdir(mode=0o700)
        yield Path(folder) / "home"


def test_a_closed_directory_on_the_way(home: Path) -> None:
    (home / "bin").mkdir()
    (home / "bin/python").write_text("")
    closed = {"path": str(home), "mode": "0700"}
    assert survey.closed_directory(str(home / "bin/python")) == closed
    # The path itself need not lead through it: every link counts.
    (home.parent / "absolute").symlink_to(home / "bin/python")
    (home.parent / "bin").mkdir()
    (home.parent / "bin/relative").symlink_to("../absolute")
    assert survey.closed_directory(str(home.parent / "absolute")) == closed
    assert survey.closed_directory(str(home.parent / "bin/relative")) == closed
    home.chmod(0o711)
    assert survey.closed_directory(str(home.parent / "bin/relative")) is None


def test_a_link_to_itself_and_a_missing_directory(home: Path) -> None:
    (home.parent / "loop").symlink_to("loop")
    assert survey.closed_directory(str(home.parent / "loop/python")) is None
    assert survey.closed_directory(str(home.parent / "missing/bin/python")) is None


def test_a_virtual_environment_whose_own_interpreter_is_closed(home: Path) -> None:
    python = script(home.parent / "python", f"printf '3.13.5\\n%s\\n' {shlex.quote(str(home))}")
    assert survey.interpreter(python)["closed"] == {"path": str(home), "mode": "0700"}


# --- packages --------------------------------------------------------------------------------------------------------


def test_versions_of_packages(command: Callable[[str, str], None]) -> None:
    command("dpkg-query", "rabbitmq-server\tinstalled\t3.10.8-1\ntree\tconfig-files\t2.1.0-1\nother\tinstalled\t1")
    command(
        "apt-cache",
        "rabbitmq-server:\n  Installed: 3.10.8-1\n  Candidate: 4.0.5-6\n  Version table:\n     4.0.5-6 500\n"
        "tree:\n  Installed: (none)\n  Candidate: (none)",
    )
    assert survey.packages(["rabbitmq-server", "tree", "gone"]) == {
        "rabbitmq-server": {"installed": "3.10.8-1", "candidate": "4.0.5-6"},
        "tree": {"installed": "", "candidate": ""},
        "gone": {"installed": "", "candidate": ""},
    }


def test_a_host_without_dpkg_and_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert survey.packages(["bash"]) == {"bash": {"installed": "", "candidate": ""}}

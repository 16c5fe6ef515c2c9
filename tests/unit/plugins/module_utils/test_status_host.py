"""What a host tells of itself for a status, from the texts of systemctl and of /proc."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import (
    certificate_dates,
    status_host,
    status_ports,
    status_units,
)
from cryptography import x509

SHOWN = """\
Id=shop-worker-steady@4f2c.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
ActiveEnterTimestampMonotonic=100000000
NRestarts=2
StatusText=2 queues, 1 active, release 4f2c
MainPID=42
Result=success
MemoryCurrent=104857600
MemoryMax=infinity
WatchdogUSec=2min
WatchdogTimestampMonotonic=190500000

Id=shop-worker-steady@4f2c.service
ActiveState=active

Id=shop-beat@4f2c.service
LoadState=not-found
ActiveState=inactive
SubState=dead
MemoryCurrent=[not set]
MemoryMax=18446744073709551615
WatchdogUSec=0
WatchdogTimestampMonotonic=0
"""


def test_what_systemctl_shows() -> None:
    worker, beat = (status_units.unit(values, 200.0) for values in status_units.blocks(SHOWN))
    assert (worker["name"], worker["active"], worker["up"]) == ("shop-worker-steady@4f2c.service", "active", 100.0)
    assert (worker["watchdog"], worker["watchdog_age"]) == (120.0, 9.5)
    assert (worker["memory"], worker["memory_max"], worker["restarts"]) == (104857600, None, 2)
    assert (beat["load"], beat["up"], beat["watchdog_age"]) == ("not-found", None, None)
    assert (beat["memory"], beat["memory_max"], beat["main"]) == (None, None, 0)
    assert status_units.blocks("\n") == []


def test_a_stopped_unit_is_known_by_its_link(tmp_path: Path) -> None:
    wants = tmp_path / "shop.target.wants"
    wants.mkdir()
    for name in ("shop-beat@4f2c.service", "ssh.service"):
        (wants / name).symlink_to("/nowhere")
    assert status_units.linked(str(tmp_path), ["shop-*@*.service"]) == ["shop-beat@4f2c.service"]
    assert status_units.linked(str(tmp_path / "none"), ["*"]) == []


def process(proc: Path, pid: int, groups: str, state: str = "S") -> Path:
    place = proc / str(pid)
    (place / "fd").mkdir(parents=True)
    (place / "cgroup").write_text(groups)
    (place / "stat").write_text(f"{pid} (a ) b) {state} 1 2 3")
    return place


V1 = "4:memory:/docker/ab/system.slice/a@1.service\n1:name=systemd:/docker/ab/system.slice/a@1.service\n"


def test_processes_belong_to_units_by_their_control_group(tmp_path: Path) -> None:
    process(tmp_path, 42, V1)
    process(tmp_path, 43, "0::/system.slice/a@1.service/inner\n", "T")
    process(tmp_path, 44, "0::/system.slice/b@1.service\n")
    (tmp_path / "45").mkdir()
    found = status_units.processes(["a@1.service"], tmp_path)
    assert [(item.pid, item.state, item.unit) for item in found] == [(42, "S", "a@1.service"), (43, "T", "a@1.service")]

    entry = {"name": "a@1.service", "main": 42, "processes": 0, "stopped": [], "memory": 7}
    status_units.fill([entry], found, tmp_path / "nowhere")
    assert (entry["processes"], entry["stopped"], entry["memory"]) == (2, [43], 7)


@pytest.mark.parametrize(
    ("groups", "place", "usage", "cache"),
    [
        ({"memory": "/x", "": "/"}, "memory/x", "memory.usage_in_bytes", "total_inactive_file"),
        ({"": "/x"}, "x", "memory.current", "inactive_file"),
        ({"": "/x"}, "unified/x", "memory.current", "inactive_file"),
    ],
)
def test_memory_without_what_can_be_given_back(
    tmp_path: Path, groups: dict[str, str], place: str, usage: str, cache: str
) -> None:
    assert status_units.memory_of(groups, tmp_path) is None
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / usage).write_text("1000\n")
    (tmp_path / place / "memory.stat").write_text(f"anon 1\n{cache} 300\n")
    assert status_units.memory_of(groups, tmp_path) == 700


# --- ports -----------------------------------------------------------------------------------------------------------

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1628 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 111 1
   1: 0100007F:115C 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 112 1
   2: 0B00000A:9C40 0500000A:1627 01 00000000:00000000 00:00000000 00000000   105        0 113 1
   3: 0B00000A:9C41 0500000A:1627 06 00000000:00000000 00:00000000 00000000   105        0 0 1
"""


def test_sockets_and_their_owners(tmp_path: Path) -> None:
    found = list(status_ports.parse_sockets(TABLE))
    order = (1, 0) if sys.byteorder == "big" else (0, 1)
    assert order == (0, 1), "the table is of a little-endian host"
    assert [(item.state, item.address, item.port, item.remote_port, item.inode) for item in found] == [
        ("0A", "0.0.0.0", 5672, 0, "111"),
        ("0A", "127.0.0.1", 4444, 0, "112"),
        ("01", "10.0.0.11", 40000, 5671, "113"),
    ]
    place = process(tmp_path, 42, V1)
    (place / "fd" / "3").symlink_to("socket:[113]")
    (place / "fd" / "4").symlink_to("/dev/null")
    owners = status_ports.owners(status_units.processes(["a@1.service"], tmp_path), tmp_path)
    assert owners == {"113": "a@1.service"}
    assert status_ports.connections(found, owners, 5671) == {"a@1.service": [["10.0.0.11", 40000]]}
    assert status_ports.connections(found, owners, 5672) == {}


def serving(context: ssl.SSLContext) -> Any:
    def handler(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(1)

    return handler


def amqp(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"AMQP\x00\x00\x09\x01")


def silent(connection: socket.socket) -> None:
    time.sleep(3)


def test_a_port_is_judged_by_its_answer(pki: Any, serve: Any, closed_port: int) -> None:
    assert status_ports.speaks_tls("127.0.0.1", serve(serving(pki.context))) is True
    assert status_ports.speaks_tls("0.0.0.0", serve(serving(pki.context))) is True
    # Only IPv4 of the loopback leads to it, as on a host without IPv6.
    assert status_ports.speaks_tls("::", serve(serving(pki.context))) is True
    assert status_ports.speaks_tls("::", serve(amqp)) is False
    assert status_ports.speaks_tls("::", closed_port) is None
    assert status_ports.speaks_tls("127.0.0.1", serve(amqp)) is False
    assert status_ports.speaks_tls("127.0.0.1", serve(lambda connection: None)) is False
    assert status_ports.speaks_tls("127.0.0.1", serve(silent), timeout=0.2) is False
    assert status_ports.speaks_tls("127.0.0.1", closed_port) is None


def test_which_listeners_are_asked(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(status_ports, "speaks_tls", lambda address, port: asked.append(port) or port == 1)
    rows = [(1, "0.0.0.0", "a"), (2, "::", "b"), (3, "127.0.0.1", "c"), (4, "0.0.0.0", "d"), (5672, "0.0.0.0", "e")]
    found = [status_ports.Socket("0A", address, port, 0, inode) for port, address, inode in rows]
    units = {"a": "rabbitmq-server.service", "b": "postgresql@15-main.service", "c": "rabbitmq-server.service"}
    result = status_ports.listeners(found, units, [5672], ["postgresql@"])
    assert sorted(asked) == [1, 5672]
    assert {(row["port"], row["unit"], row["tls"]) for row in result} == {
        (1, "rabbitmq-server.service", True),
        (5672, "", False),
    }


# --- certificates ----------------------------------------------------------------------------------------------------


def test_when_a_certificate_ends(pki: Any) -> None:
    data = Path(pki.pair).read_bytes()
    wanted = x509.load_pem_x509_certificate(data)
    end = getattr(wanted, "not_valid_after_utc", None) or wanted.not_valid_after
    assert certificate_dates.ends(data) == end.timestamp()
    # The first end of all counts.
    both = Path(pki.ca).read_bytes() + data
    assert certificate_dates.ends(both) == min(
        certificate_dates.ends(data), certificate_dates.ends(Path(pki.ca).read_bytes())
    )


@pytest.mark.parametrize(
    ("text", "tag", "wanted"), [("491231235959Z", 0x17, 2524607999.0), ("20500101000000Z", 0x18, 2524608000.0)]
)
def test_both_forms_of_a_time(text: str, tag: int, wanted: float) -> None:
    assert certificate_dates._moment(tag, text) == wanted


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate_is_told(data: bytes) -> None:
    row = certificate_dates.read("/x.pem", data)
    assert row["ends"] is None and row["error"]


def test_certificates_of_a_directory(tmp_path: Path, pki: Any) -> None:
    (tmp_path / "cert.pem").write_bytes(Path(pki.pair).read_bytes())
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (tmp_path / "ca.pem").mkdir()
    rows = {Path(row["path"]).name: row for row in status_host.certificates([f"{tmp_path}/*.pem", "/none/*.pem"])}
    assert set(rows) == {"cert.pem", "ca.pem"}
    assert rows["cert.pem"]["ends"] > time.time() and "cannot be read" in rows["ca.pem"]["error"]


# --- releases, disks and the last proof ------------------------------------------------------------------------------


def test_releases(tmp_path: Path) -> None:
    assert status_host.releases(str(tmp_path)) == {"current": "", "kept": []}
    (tmp_path / "releases" / "4f2c").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/4f2c")
    assert status_host.releases(str(tmp_path)) == {"current": "4f2c", "kept": ["4f2c"]}


def test_mounts_that_carry_a_path_and_those_below(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    lines = "\n".join(
        f"1 2 0:1 / {point} rw - ext4 x rw"
        for point in ("/", "/etc/hosts", state, f"{state}/a\\040b", f"{state}2", "/x")
    )
    assert status_host.mounts(["/", str(state), "/none"], lines) == ["/", str(state), f"{state}/a b"]


def test_disks_are_listed_once(tmp_path: Path) -> None:
    (row,) = status_host.disks([str(tmp_path), str(tmp_path), "/none"])
    assert 0 <= row["percent"] <= 100 and row["free"] > 0 and row["path"] == str(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"time": 1}', '{"time": "x", "results": []}', '{"time": 1, "results": [1]}']
)
def test_a_proof_that_is_not_understood_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "canary.json").write_text(text)
    assert status_host.canary(str(tmp_path / "canary.json")) is None
    assert status_host.canary(str(tmp_path / "none.json")) is None


def test_the_last_proof(tmp_path: Path) -> None:
    row = {"queue": "celery", "host": "n1", "node": "d@n1", "release": "4f2c", "seconds": 0.1, "ok": True}
    (tmp_path / "canary.json").write_text(json.dumps({"version": 1, "time": 5, "run": "x", "results": [row]}))
    wanted = {"queue": "celery", "host": "n1", "seconds": 0.1, "ok": True}
    assert status_host.canary(str(tmp_path / "canary.json")) == {"time": 5.0, "results": [wanted]}

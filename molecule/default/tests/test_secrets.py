"""No secret in a process list, a journal, a unit, the playbook's output, or a file others can read."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from conftest import HOSTS, PROJECT, SCENARIO, SECRETS


@pytest.fixture(scope="module")
def secrets() -> list[str]:
    """Every generated secret, as it is, as it stands in a URL, and as HTTP carries it."""
    plain = [path.read_text().strip() for path in SECRETS.iterdir() if path.is_file()]
    plain.append((SECRETS / "ca" / "key.pem").read_text().splitlines()[1])
    if SCENARIO == "default":
        # Elsewhere the controller has the tree, and there is no such key.
        plain.append((SECRETS / "ssh" / "source_key").read_text().splitlines()[2])
    assert len(plain) >= 8
    return [*plain, *(quote(item) for item in plain), *(base64.b64encode(item.encode()).decode() for item in plain)]


def output(host, command: str) -> str:
    # Logs and journals hold bytes that are no text.
    return host.run(command).stdout_bytes.decode(errors="replace")


def found(text: str, secrets: list[str]) -> list[str]:
    # The assertion shows where a secret was found, not the secret.
    return [f"secret number {index}" for index, secret in enumerate(secrets) if secret in text]


def test_the_controller_keeps_them_to_itself():
    for path in (SECRETS, *SECRETS.rglob("*")):
        mode = path.stat().st_mode & 0o777
        if path.is_dir():
            assert mode == 0o700, path
        elif path.suffix not in (".pem", ".pub") or path.name == "key.pem":
            assert mode == 0o600, path


@pytest.mark.parametrize("name", HOSTS)
def test_no_secret_where_others_can_read_it(name, on, secrets):
    host = on(name)
    for command in ("ps axww -o args", "journalctl --no-pager -o cat", "systemctl show '*'"):
        assert not found(output(host, command), secrets), command
    readable = output(
        host,
        "find /etc /opt /var/lib /var/log /usr/local -xdev -type f -size -2M -perm /007 "
        "-not -path '*/venv/*' -not -path '/var/lib/dpkg/*' -print0 | xargs -0r cat --",
    )
    assert not found(readable, secrets)


@pytest.mark.parametrize("name", HOSTS)
def test_the_files_that_hold_them_are_closed(name, on, secrets):
    listing = on(name).run("find /opt/fileshelf/config /opt/fileshelf/ssh /etc/rabbitmq -type f 2>/dev/null").stdout
    holders = [path for path in listing.splitlines() if found(on(name).file(path).content_string, secrets)]
    assert holders or name in ("broker1", "db1")
    for path in holders:
        assert on(name).file(path).mode in (0o600, 0o640), path


def test_the_output_of_the_playbook_shows_none(secrets):
    log = (PROJECT / ".cache" / "logs" / f"{SCENARIO}.ansible.log").read_text(errors="replace")
    assert "PLAY RECAP" in log and "task path:" in log, "the log must hold a whole run at -vv"
    assert not found(log, secrets)

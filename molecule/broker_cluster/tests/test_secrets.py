"""The cookie of the brokers and the keys of the certificates: closed files, and nowhere else."""

from __future__ import annotations

import pytest
from cluster import BROKERS, HOSTS, NAME, WORKERS
from conftest import SECRETS


def keys_of(on, name: str) -> dict[str, tuple[int, str, str]]:
    listing = on(name).run(f"find /etc /opt/{NAME}/config /var/lib -xdev -name '*.key' -o -name key.pem").stdout
    files = [
        on(name).file(path) for path in listing.split() if NAME in path or "rabbitmq" in path or "postgres" in path
    ]
    return {file.path: (file.mode, file.user, file.group) for file in files}


@pytest.mark.parametrize("name", HOSTS)
def test_keys_are_closed(name, on):
    keys = keys_of(on, name)
    assert f"/etc/{NAME}-cluster/tls/key.pem" in keys
    assert all(mode in (0o600, 0o640) for mode, _user, _group in keys.values()), keys


@pytest.mark.parametrize("name", [*WORKERS, "app1"])
def test_the_key_of_an_identity_is_read_by_its_account_only(name, on):
    identity = "worker" if name in WORKERS else "producer"
    assert keys_of(on, name)[f"/opt/{NAME}/config/tls/{identity}.key"] == (0o640, "root", NAME)
    assert on(name).run(f"runuser -u {NAME} -- test -r /opt/{NAME}/config/tls/{identity}.key").rc == 0
    assert on(name).run(f"runuser -u nobody -- test -r /opt/{NAME}/config/tls/{identity}.key").rc != 0


@pytest.mark.parametrize("name", BROKERS)
def test_the_cookie_is_in_one_closed_file(name, on):
    cookie = (SECRETS / "erlang_cookie").read_text().strip()
    file = on(name).file("/var/lib/rabbitmq/.erlang.cookie")
    assert (file.mode, file.user, file.content_string.strip()) == (0o400, "rabbitmq", cookie)
    for command in ("ps axwwe -o args", "journalctl --no-pager -o cat", "cat /var/log/rabbitmq/* /etc/rabbitmq/*.conf"):
        # The assertion shows where it was found, not the cookie.
        assert not on(name).run(command).stdout_bytes.count(cookie.encode()), command

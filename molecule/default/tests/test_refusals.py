"""Strangers: what a host outside the inventory, or a default account, is not let do."""

from __future__ import annotations

import subprocess

from conftest import PROJECT, SCENARIO, SECRETS, container, reference_cluster_only

# Where clients get in: on Debian 13 through the pooler.
PORT = 6432 if SCENARIO == "debian13" else 5432


def address(on, name: str) -> str:
    return on(name).run("hostname -I").stdout.split()[0]


def login(on, caller: str) -> dict:
    return {
        "check": "postgres_refused",
        "name": "login",
        "from": caller,
        "to": "db1",
        "host": address(on, "db1"),
        "port": PORT,
        "ca_file": "/root/ca.pem",
        "username": "fileshelf",
        "database": "fileshelf",
    }


def test_a_host_outside_the_inventory_may_not_log_in(on, ad_hoc):
    for name in ("outsider", "worker1"):
        subprocess.run(["docker", "cp", "-q", f"{SECRETS}/ca/ca.pem", f"{container(name)}:/root/ca.pem"], check=True)
    (refused,) = ad_hoc("outsider", "link_probe", {"probes": [login(on, "outsider")]})["rows"]
    assert refused["ok"], refused
    assert "reject" in refused["detail"]
    # The same attempt from a worker is asked for its password: it is the address that decides.
    (asked,) = ad_hoc("worker1", "link_probe", {"probes": [login(on, "worker1")]})["rows"]
    assert not asked["ok"], asked


def test_only_tls_ports_are_open_on_the_broker(on):
    listening = on("broker1").run("ss -Hltn").stdout
    open_ports = {
        line.split()[3].rsplit(":", 1)[1]
        for line in listening.splitlines()
        if not line.split()[3].startswith(("127.", "[::1]", "[::ffff:127."))
    }
    assert {"5671", "15671"} <= open_ports
    # Docker's resolver and the SSH server of the image are not the broker's.
    assert not open_ports & {"5672", "15672", "4369", "25672"}, listening


def test_the_guest_account_does_not_exist(on):
    script = (
        "import ssl, urllib.request, base64, urllib.error\n"
        "context = ssl.create_default_context(cafile='/etc/rabbitmq/tls/ca.pem')\n"
        "request = urllib.request.Request('https://127.0.0.1:15671/api/overview')\n"
        "request.add_header('Authorization', 'Basic ' + base64.b64encode(b'guest:guest').decode())\n"
        "try: print(urllib.request.urlopen(request, context=context).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    assert on("broker1").run("python3 -c %s", script).stdout.strip() == "401"
    users = on("broker1").run("rabbitmqctl -q list_users")
    # A command that fails names nobody either.
    assert users.rc == 0 and "fileshelf-admin" in users.stdout, users.stderr
    assert "guest" not in users.stdout


@reference_cluster_only
def test_the_key_of_the_source_tree_reads_the_tree_and_nothing_else(on):
    ssh = (
        "-i /opt/fileshelf/ssh/source_key -o UserKnownHostsFile=/opt/fileshelf/ssh/known_hosts "
        f"-o BatchMode=yes fileshelf-source@{address(on, 'app1')}"
    )
    assert on("worker1").run(f"ssh {ssh} cat /etc/passwd").rc != 0
    outside = on("worker1").run(
        f"rsync -e 'ssh {ssh.rsplit(' ', 1)[0]}' {ssh.rsplit(' ', 1)[1]}:../../etc/passwd /tmp/stolen"
    )
    assert outside.rc != 0
    assert not on("worker1").file("/tmp/stolen").exists
    inside = on("worker1").run(
        f"rsync -e 'ssh {ssh.rsplit(' ', 1)[0]}' {ssh.rsplit(' ', 1)[1]}:./README.md /tmp/README.md"
    )
    assert inside.rc == 0, inside.stderr


def test_a_worker_cannot_change_the_code_it_runs(on):
    done = on("worker1").run(
        "runuser -u fileshelf -- touch /opt/fileshelf/current/code/x /opt/fileshelf/current/venv/x"
    )
    assert done.rc != 0
    assert (PROJECT / "site.yml").exists()

"""A run with nothing to change is quick, and never because something was overlooked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import HOSTS, INVENTORY, SECRETS, inventory_without, reference_cluster_only, wait_for

pytestmark = reference_cluster_only

LOOKS = ("-e", "celery_receipt_hours=24")
RECEIPT = "/etc/fileshelf-cluster/receipt.json"
NOTHING = "Nothing has changed since the last full run."
EVERYTHING = "Everything is gone through: "
WORKER = "fileshelf-worker-intake@$(basename $(readlink /opt/fileshelf/current)).service"
CURRENT = "/opt/fileshelf/current/"
CODE = f"$(find {CURRENT}code -name '*.py' -size +0 | sort | head -1)"


class Drift(NamedTuple):
    """What somebody does by hand, what the look says of it, and what shows that it was mended."""

    host: str
    command: str
    said: str
    #: Empty: a run over everything leaves it as it is, see docs/unchanged.md; `undo` does not.
    mended: str = ""
    undo: str = "true"


def file(host: str, path: str, command: str = "echo '# by hand' >> {path}") -> Drift:
    return Drift(host, command.format(path=path), path, f"sha256sum {path}; stat -c '%F %a %U %G %N' {path}")


DRIFTS = {
    # Files of the role celery.
    "agent": file("worker1", "/opt/fileshelf/agent/celery_agent.py"),
    "command": file("worker2", "/opt/fileshelf/bin/celery-run", "chmod 0700 {path}"),
    "trust": file("app1", "/opt/fileshelf/config/trust.pem"),
    "authority": file("worker2", "/opt/fileshelf/config/ca.pem", "rm {path}"),
    "database service file": file("worker1", "/opt/fileshelf/config/pg_service.conf", "chmod 0644 {path}"),
    "target": file("worker2", "/etc/systemd/system/fileshelf.target"),
    "directory": Drift(
        "worker1",
        "chmod 0755 /opt/fileshelf/config",
        "/opt/fileshelf/config differs (mode)",
        "stat -c '%a %U %G' /opt/fileshelf/config",
    ),
    "state directory": Drift(
        "worker2",
        "chown root /var/lib/fileshelf",
        "/var/lib/fileshelf differs (owner)",
        "stat -c '%a %U %G' /var/lib/fileshelf",
    ),
    "shell of the account": Drift(
        "worker2",
        "sed -i '/^fileshelf:/s#[^:]*$#/bin/bash#' /etc/passwd",
        "the account fileshelf differs (shell)",
        "getent passwd fileshelf",
    ),
    "package": Drift(
        "worker2",
        "dpkg --remove --force-depends python3-packaging",
        "the package python3-packaging",
        "dpkg-query --show python3-packaging",
    ),
    # Certificates.
    "certificate": file("worker1", "/etc/fileshelf-cluster/tls/ca.pem"),
    "certificate of the broker": file("broker1", "/etc/rabbitmq/tls/cert.pem", "chmod 0600 {path}"),
    "key of the broker": file("broker1", "/etc/rabbitmq/tls/key.pem", "chown root {path}"),
    # The broker's files.
    "broker's settings": file("broker1", "/etc/rabbitmq/rabbitmq.conf", "chmod 0600 {path}"),
    "broker's limits": file("broker1", "/etc/systemd/system/rabbitmq-server.service.d/celery-cluster.conf"),
    "port mapper": file("broker1", "/etc/systemd/system/epmd.socket.d/celery-cluster.conf", "rm {path}"),
    # The database's files.
    "database's settings": file("db1", "/etc/postgresql/15/main/conf.d/celery-cluster.conf"),
    "rule of the database": Drift(
        "db1",
        "sed -i '0,/^hostssl.*fileshelf/{/^hostssl.*fileshelf/d}' /etc/postgresql/15/main/pg_hba.conf",
        "/etc/postgresql/15/main/pg_hba.conf differs",
        "sha256sum /etc/postgresql/15/main/pg_hba.conf",
    ),
    # The source.
    "key of the source": Drift(
        "app1",
        "truncate -s 0 ~fileshelf-source/.ssh/authorized_keys",
        ".ssh/authorized_keys differs",
        "cut -d' ' -f1-3 ~fileshelf-source/.ssh/authorized_keys",
    ),
    "access to the source": file("worker1", "/opt/fileshelf/ssh/known_hosts", "rm {path}"),
    # Releases.
    "link": Drift(
        "app1",
        "ln -sfn releases/none /opt/fileshelf/config/current",
        "/opt/fileshelf/config/current differs",
        "readlink /opt/fileshelf/config/current",
    ),
    "environment of a release": Drift(
        "worker1",
        "echo A=1 >> /opt/fileshelf/config/current/application.env",
        "/application.env differs",
        "sha256sum /opt/fileshelf/config/current/application.env",
    ),
    "environment of a kind": Drift(
        "worker2",
        "rm /opt/fileshelf/config/current/worker-text.env",
        "/worker-text.env is gone",
        "sha256sum /opt/fileshelf/config/current/worker-text.env",
    ),
    "code": Drift("worker1", f"echo '# by hand' >> {CODE}", "the tree /opt/fileshelf/releases/", f"sha256sum < {CODE}"),
    "package in the environment": Drift(
        "worker2",
        f"touch $(readlink -f {CURRENT}venv)/by-hand",
        "the tree /opt/fileshelf/environments/",
        f"find {CURRENT}venv/ -maxdepth 1 -printf '%f\\n' | sort",
    ),
    # Units.
    "unit": file("worker1", "/etc/systemd/system/fileshelf-worker-text@.service"),
    "unit of beat": file("app1", "/etc/systemd/system/fileshelf-beat@.service"),
    "unit of Flower": file("app1", "/etc/systemd/system/fileshelf-flower@.service", "rm {path}"),
    "drop-in": Drift(
        "worker2",
        "mkdir /etc/systemd/system/fileshelf-worker-text@.service.d;"
        " printf '[Service]\\nNice=5\\n' > /etc/systemd/system/fileshelf-worker-text@.service.d/by-hand.conf",
        "by-hand.conf is new",
        undo="rm -r /etc/systemd/system/fileshelf-worker-text@.service.d; systemctl daemon-reload",
    ),
    "stopped": Drift(
        "worker1", f"systemctl stop {WORKER}", "fileshelf-worker-intake@", f"systemctl is-active {WORKER}"
    ),
    "disabled": Drift(
        "worker2", f"systemctl disable {WORKER}", "fileshelf-worker-intake@", f"systemctl is-enabled {WORKER}"
    ),
    "masked": Drift(
        "app1",
        "systemctl mask --runtime nginx.service",
        "the unit nginx.service differs",
        undo="systemctl unmask --runtime nginx.service",
    ),
    "one too many": Drift(
        "worker2",
        "cp -r /opt/fileshelf/config/$(readlink /opt/fileshelf/config/current) /opt/fileshelf/config/releases/byhand;"
        " ln -s $(basename $(readlink /opt/fileshelf/current)) /opt/fileshelf/releases/byhand;"
        # What else is broken here keeps it from being ready.
        " systemctl start --no-block fileshelf-worker-intake@byhand.service; sleep 5",
        "the unit fileshelf-worker-intake@byhand.service is new",
        "systemctl is-active fileshelf-worker-intake@byhand.service | grep -c '^activ'",
        undo="rm -rf /opt/fileshelf/config/releases/byhand /opt/fileshelf/releases/byhand",
    ),
    # Flower's page.
    "page": file("app1", "/etc/nginx/conf.d/fileshelf-flower.conf"),
    "Flower's secrets": file("app1", "/opt/fileshelf/config/flower-options.env", "chmod 0644 {path}"),
}


class Held(NamedTuple):
    """The same for what broker and database hold."""

    host: str
    shows: str
    command: str
    undo: str
    said: str = "what the brokers hold would change"


# Sorted: the broker lists in an order that another declaration changes.
PERMISSIONS = "rabbitmqctl -q list_permissions -p fileshelf --no-table-headers | sort"
POLICIES = "rabbitmqctl -q list_policies -p fileshelf --no-table-headers | sort"
# Those that last: Flower's and the workers' own come and go.
QUEUES = "rabbitmqctl -q list_queues -p fileshelf name durable arguments --no-table-headers | grep -w true | sort"
SQL = "runuser -u postgres -- psql -qAt fileshelf -c"
HELD = {
    "permission": Held(
        "broker1",
        PERMISSIONS,
        f"{PERMISSIONS} | grep ^fileshelf-flower > /root/kept;"
        " rabbitmqctl -q clear_permissions -p fileshelf fileshelf-flower",
        "rabbitmqctl -q set_permissions -p fileshelf fileshelf-flower"
        ' "$(cut -f2 /root/kept)" "$(cut -f3 /root/kept)" "$(cut -f4 /root/kept)"',
    ),
    "policy": Held(
        "broker1",
        POLICIES,
        f'{POLICIES} | head -1 > /root/kept; rabbitmqctl -q clear_policy -p fileshelf "$(cut -f2 /root/kept)"',
        'rabbitmqctl -q set_policy -p fileshelf --apply-to "$(cut -f4 /root/kept)" --priority "$(cut -f6 /root/kept)"'
        ' "$(cut -f2 /root/kept)" "$(cut -f3 /root/kept)" "$(cut -f5 /root/kept)"',
    ),
    "grant": Held(
        "db1",
        f"{SQL} \"SELECT unnest(datacl)::text FROM pg_database WHERE datname = 'fileshelf' ORDER BY 1\"",
        f"{SQL} 'REVOKE CONNECT ON DATABASE fileshelf FROM fileshelf'",
        f"{SQL} 'GRANT CONNECT ON DATABASE fileshelf TO fileshelf'",
        "what the database holds or whom it lets in would change",
    ),
    # Last: nothing but a run makes it again. A worker makes its own queues again at once.
    "queue": Held("broker1", QUEUES, "rabbitmqctl -q delete_queue -p fileshelf fileshelf.dead", "true"),
}


def decision(done) -> str:
    """What the look has decided, on one line."""
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    text = " ".join(done.stdout.split())
    found = re.search(rf"{re.escape(NOTHING)}|{re.escape(EVERYTHING)}.*?\"", text)
    assert found, text[-4000:]
    return found[0]


def changes(done) -> int:
    return sum(int(count) for count in re.findall(r"changed=(\d+)", done.stdout))


@pytest.fixture(scope="module")
def whole(on, playbook) -> Iterator[dict[str, Any]]:
    """A run over everything, which leaves receipts. Afterwards the cluster is whole, and has none."""
    began = time.monotonic()
    done = playbook(*LOOKS)
    state = {"seconds": time.monotonic() - began, "broken": False}
    assert decision(done).startswith(EVERYTHING)
    assert "The next run goes through everything" not in done.stdout, done.stdout[-4000:]
    yield state
    for name in HOSTS:
        on(name).run(f"rm -f {RECEIPT}")
    if state["broken"]:
        for drift in DRIFTS.values():
            on(drift.host).run(drift.undo)
        done = playbook("-e", "celery_receipt_hours=0", "--skip-tags", "verify")
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def test_only_root_reads_a_receipt_and_no_secret_is_in_it(on, whole):
    secrets = [path.read_text().strip() for path in SECRETS.iterdir() if path.is_file()]
    for name in HOSTS:
        seen = on(name).run(f"stat -c '%a %U' {RECEIPT}; cat {RECEIPT}").stdout
        assert seen.startswith("600 root\n")
        assert [secret for secret in secrets if secret in seen] == []


def test_nothing_changed_is_quick(on, playbook, whole):
    before = on("worker1").run(f"stat -c %i {RECEIPT}").stdout
    for arguments in ((), ("--check", "--diff")):
        began = time.monotonic()
        done = playbook(*LOOKS, *arguments)
        seconds = time.monotonic() - began
        assert decision(done) == NOTHING
        assert changes(done) == 0
        # Of each play between the look and the proof, the one task that ends it.
        between = done.stdout.partition("PLAY [Preflight]")[2].partition("PLAY [Servers]")[0]
        ends = {"Do nothing when nothing has changed", "Ask for no facts that are there"}
        assert set(re.findall(r"TASK \[(.*)\]", between)) == ends
        print(f"everything {whole['seconds']:.0f} s, nothing to change {seconds:.1f} s {' '.join(arguments)}")
    # It tells of the last run over everything, whose age counts.
    assert on("worker1").run(f"stat -c %i {RECEIPT}").stdout == before


@pytest.fixture
def smaller(tmp_path: Path) -> list[str]:
    """The inventory without worker2."""
    inventory_without("worker2", tmp_path)
    # What has its place beside an inventory stays where it is.
    places = {"celery_secrets_directory": str(SECRETS), "code_git_cache": str(INVENTORY / ".code-cache")}
    return ["-i", str(tmp_path), "-e", json.dumps(places)]


def passed_by(done, name: str) -> bool:
    """Whether the run did nothing on this host between its look and the proof, beside asking it."""
    built = done.stdout.partition("PLAY [Build]")[2].partition("PLAY [Built]")[0]
    started = done.stdout.partition("PLAY [Start]")[2].partition("PLAY [Roll]")[0]
    assert "ok: [app1]" in built and "ok: [app1]" in started
    # That a play has nothing for a host is told as skipped.
    return not re.search(rf"^(?!skipping).*\[{name}\]", built + started, re.MULTILINE)


def test_another_worker_that_leaves_or_comes_does_not_concern_a_worker(on, playbook, whole, smaller):
    before = on("worker1").run(f"stat -c %i {RECEIPT}; systemctl show -p MainPID 'fileshelf-*'").stdout
    assert on("worker2").run("systemctl stop 'fileshelf-*'").rc == 0
    done = playbook(*smaller, *LOOKS, alone=True)
    assert decision(done).endswith('Nothing of it concerns worker1"') and passed_by(done, "worker1")
    # The others have learned of it, and nobody has forgotten anything: a run over everything finds nothing to do.
    assert decision(playbook(*smaller, *LOOKS, name="playbooks/look.yml", alone=True)) == NOTHING
    done = playbook(*smaller, "-e", "celery_receipt_hours=0.001", alone=True)
    assert decision(done).startswith(EVERYTHING) and not passed_by(done, "worker1") and changes(done) == 0

    began = time.monotonic()
    done = playbook(*LOOKS)
    print(f"everything {whole['seconds']:.0f} s, a worker comes back {time.monotonic() - began:.0f} s")
    assert decision(done).endswith('Nothing of it concerns worker1"') and passed_by(done, "worker1")
    assert decision(playbook(*LOOKS, name="playbooks/look.yml")) == NOTHING
    after = on("worker1").run(f"stat -c %i {RECEIPT}; systemctl show -p MainPID 'fileshelf-*'").stdout
    assert before.splitlines()[1:] == after.splitlines()[1:] and before != after


@pytest.mark.thorough
def test_a_part_looks_at_the_hosts_of_its_limit(playbook, whole):
    done = playbook(*LOOKS, "--limit", "broker1,db1,app1,worker1")
    assert decision(done) == NOTHING
    # And a tag does what it was asked for.
    done = playbook(*LOOKS, "--tags", "celery_configure")
    assert done.returncode == 0 and NOTHING not in done.stdout
    assert "TASK [taskfleet.celery_cluster.celery : Place directories, trust and commands]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-e", "celery_disk_required_mb=10"), "celery_disk_required_mb has changed"),
        (("-e", "celery_delivery_limit=21"), "what the brokers hold would change"),
        (("-e", '{"celery_environment": {"BY_HAND": "1"}}'), "celery_environment has changed"),
        (("-e", "celery_receipt_hours=0.0001"), "the last full run is too long ago"),
    ],
)
def test_another_inventory_or_an_old_receipt_is_seen(playbook, whole, arguments, said):
    text = decision(playbook(*LOOKS, *arguments, name="playbooks/look.yml"))
    assert text.startswith(EVERYTHING) and said in text


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("host", "breaks", "mends", "said"),
    [
        ("app1", "touch /srv/fileshelf/by-hand.py", "rm /srv/fileshelf/by-hand.py", "the code has changed"),
        (
            "worker2",
            f"cp -p {RECEIPT} /root/kept; echo garbage > {RECEIPT}",
            f"mv /root/kept {RECEIPT}",
            "cannot be read",
        ),
        ("worker1", f"chmod 0644 {RECEIPT}", f"chmod 0600 {RECEIPT}", "not as a run has written it"),
        ("worker1", f"mv {RECEIPT} /root/kept", f"mv /root/kept {RECEIPT}", "no full run has ended here yet"),
    ],
)
def test_other_code_or_a_receipt_that_is_none_is_seen(on, playbook, whole, host, breaks, mends, said):
    assert on(host).run(breaks).rc == 0
    try:
        text = decision(playbook(*LOOKS, name="playbooks/look.yml"))
    finally:
        assert on(host).run(mends).rc == 0
    assert text.startswith(EVERYTHING) and said in text


def test_a_secret_that_is_gone_is_seen(playbook, whole):
    path, kept = SECRETS / "ca" / "ca.pem", SECRETS / "ca.pem.kept"
    path.rename(kept)
    try:
        text = decision(playbook(*LOOKS, name="playbooks/look.yml"))
    finally:
        kept.rename(path)
    assert "ca/ca.pem has changed" in text


@pytest.mark.thorough
def test_a_broker_that_is_down_is_a_reason_and_no_failure(on, playbook, whole):
    assert on("broker1").run("systemctl stop rabbitmq-server").rc == 0
    try:
        text = decision(playbook(*LOOKS, name="playbooks/look.yml"))
    finally:
        assert on("broker1").run("systemctl start rabbitmq-server").rc == 0
    assert "broker1: the unit rabbitmq-server.service differs (ActiveState)" in text
    assert wait_for(lambda: decision(playbook(*LOOKS, name="playbooks/look.yml")) == NOTHING)


def seen_on(ad_hoc, name: str) -> list[str]:
    return ad_hoc(name, "host_facts", {"receipt": RECEIPT})["reasons"]


def test_every_kind_of_drift_is_seen_and_one_run_mends_it(on, ad_hoc, playbook, whole):
    assert {name: seen_on(ad_hoc, name) for name in HOSTS} == {name: [] for name in HOSTS}
    shows = {what: on(drift.host).run(drift.mended).stdout for what, drift in DRIFTS.items() if drift.mended}
    held = {what: on(one.host).run(one.shows).stdout for what, one in HELD.items()}
    whole["broken"] = True

    # Broker and database are asked themselves, while their hosts are as they were.
    for what, one in HELD.items():
        assert on(one.host).run(one.command).rc == 0, what
        assert on(one.host).run(one.shows).stdout != held[what], what
        text = decision(playbook(*LOOKS, name="playbooks/look.yml"))
        assert one.said in text, (what, text)
        assert on(one.host).run(one.undo).rc == 0, what
    for what, one in HELD.items():
        assert on(one.host).run(one.command).rc == 0 or what == "queue"

    # One after the other, so that each is seen by itself.
    seen: dict[str, set[str]] = {name: set() for name in HOSTS}
    overlooked = []
    for what, drift in DRIFTS.items():
        done = on(drift.host).run(drift.command)
        assert done.rc == 0, (what, done.stdout, done.stderr)
        now = set(seen_on(ad_hoc, drift.host))
        if not any(drift.said in reason for reason in now - seen[drift.host]):
            overlooked.append((what, sorted(now - seen[drift.host])))
        seen[drift.host] = now
    assert overlooked == []
    text = decision(playbook(*LOOKS, name="playbooks/look.yml"))
    assert text.startswith(EVERYTHING)

    for drift in DRIFTS.values():
        if not drift.mended:
            assert on(drift.host).run(drift.undo).rc == 0
    done = playbook(*LOOKS)
    assert decision(done).startswith(EVERYTHING)
    left = {
        what: (before, now)
        for what, before in shows.items()
        if (now := on(DRIFTS[what].host).run(DRIFTS[what].mended).stdout) != before
    }
    assert left == {}
    assert {what: on(one.host).run(one.shows).stdout for what, one in HELD.items()} == held
    for drift in DRIFTS.values():
        if drift.mended:
            assert on(drift.host).run(drift.undo).rc == 0
    whole["broken"] = False


def test_a_real_task_runs_after_all_of_it(playbook, whole):
    done = playbook(name="playbooks/verify.yml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]

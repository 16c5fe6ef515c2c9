"""Every overridden variable changes something on the host."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import testinfra
import yaml

RUN = "/srv/shelf-root/bin/celery-run"


@pytest.fixture(scope="module")
def node() -> Any:
    return testinfra.get_host("docker://taskfleet-alternative-node1")


@pytest.fixture(scope="module")
def release(node) -> str:
    return node.run("basename $(readlink /srv/shelf-root/current)").stdout.strip()


def unit(node, release: str, name: str) -> dict[str, str]:
    done = node.run(f"systemctl show shelf-{name}@{release}.service")
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def environment(node, release: str, name: str) -> dict[str, str]:
    pid = unit(node, release, name)["MainPID"]
    text = node.run(f"cat /proc/{pid}/environ | tr '\\0' '\\n'").stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def sql(node, query: str) -> str:
    done = node.run("runuser -u postgres -- psql -p 5499 -qAt shelf-db -c %s", query)
    assert done.rc == 0, done.stderr
    return done.stdout.strip()


def test_the_worker_of_threads(node, release):
    shown = unit(node, release, "worker-documents")
    assert shown["ActiveState"] == "active" and shown["User"] == "shelfrunner"
    assert shown["TimeoutStopUSec"] == "1min 30s" and shown["RestartUSec"] == "7s" and shown["Nice"] == "5"
    assert (
        shown["WatchdogUSec"] == "1min"
        and shown["MemoryMax"] == str(1 << 30)
        and shown["TimeoutStartUSec"] == "2min 50s"
    )
    command = shown["ExecStart"]
    for words in (
        "--queues celery,intake,text",
        "--pool threads",
        "--concurrency 3",
        "--prefetch-multiplier 2",
        "--loglevel WARNING",
        "--pidfile=",
    ):
        assert words in command
    variables = environment(node, release, "worker-documents")
    assert variables["SHELF_LABEL"] == '50% of "$HOME" isn\'t \\ much'
    assert variables["SHELF_CONFIG"] == f"/srv/shelf-root/config/releases/{release}/shelf.ini"
    assert variables["SHELF_CA"] == "/srv/shelf-root/config/ca.pem"
    assert variables["SHELF_DATABASE"].startswith("postgresql://shelf.user:")
    assert variables["CELERY_AGENT_RECONNECT_GRACE"] == "120"
    assert variables["PYTHONPATH"].endswith(f"/{release}/code:/srv/shelf-root/releases/{release}/code/samples")


def test_the_worker_of_processes(node, release):
    command = unit(node, release, "worker-reports")["ExecStart"]
    for words in (
        "--queues reports",
        "--pool prefork",
        "--autoscale 2,1",
        "--time-limit 300",
        "--soft-time-limit 280",
        "--max-tasks-per-child 20",
        "--max-memory-per-child 400000",
    ):
        assert words in command
    assert unit(node, release, "worker-reports")["TimeoutStopUSec"] == "6min"


def test_the_limits_and_lines_of_a_kind(node, release):
    documents, reports = unit(node, release, "worker-documents"), unit(node, release, "worker-reports")
    assert documents["MemoryHigh"] == str(900 << 20) and documents["TasksMax"] == "200"
    assert documents["CPUQuotaPerSecUSec"].startswith("1.5")
    assert (documents["ProtectHome"], reports["ProtectHome"]) == ("read-only", "yes")
    # A list grows, and the other kind keeps its own.
    assert set(documents["RestrictAddressFamilies"].split()) == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
    assert "AF_NETLINK" not in reports["RestrictAddressFamilies"]
    assert (documents["Nice"], reports["Nice"]) == ("5", "9")


TOKEN = "t0k/en %41 $x '\"\nsecond line\n"


@pytest.mark.parametrize("service", ["worker-documents", "worker-reports", "beat", "flower"])
def test_a_credential_is_the_services_alone(service, node, release):
    variables = environment(node, release, service)
    path = f"{variables['CREDENTIALS_DIRECTORY']}/shelf-token"
    assert node.run("runuser -u shelfrunner -- cat %s", path).stdout == TOKEN
    assert node.run("runuser -u nobody -- cat %s", path).rc != 0
    assert TOKEN.splitlines()[0] not in "".join(variables.values())


def test_a_credential_is_roots_on_disk_and_there_for_commands(node):
    path = "/srv/shelf-root/config/credentials/shelf-token"
    assert (node.file(path).user, node.file(path).mode) == ("root", 0o600)
    assert node.file("/srv/shelf-root/config/credentials").mode == 0o700
    assert node.run("runuser -u shelfrunner -- cat %s", path).rc != 0
    done = node.run(f"{RUN} sh -c 'id -un; cat $CREDENTIALS_DIRECTORY/shelf-token'")
    assert done.stdout == f"shelfrunner\n{TOKEN}", done.stderr
    assert node.run(f"{RUN} sh -c 'touch $CREDENTIALS_DIRECTORY/more'").rc != 0
    # It was copied for the command only.
    assert "/srv/shelf-root/config" not in node.run("cat /proc/mounts").stdout


def test_the_log_is_a_journal_of_its_own(node, release):
    settings = node.file("/etc/systemd/journald@shelf.conf").content_string
    assert "MaxRetentionSec=7day" in settings and "SystemMaxUse=128M" in settings
    assert unit(node, release, "worker-reports")["LogNamespace"] == "shelf"
    by_service = f"--no-pager --output=cat _SYSTEMD_UNIT=shelf-worker-reports@{release}.service"
    assert "ready." in node.run(f"journalctl --namespace=shelf {by_service}").stdout
    assert "ready." not in node.run(f"journalctl {by_service}").stdout


def test_beat_and_flower(node, release):
    beat = unit(node, release, "beat")
    assert beat["Nice"] == "6" and beat["TimeoutStartUSec"] == "1min 40s"
    assert beat["WatchdogUSec"] == "1min 30s"
    for words in ("--loglevel WARNING", "--scheduler celery.beat:PersistentScheduler", "--max-interval 7"):
        assert words in beat["ExecStart"]
    assert unit(node, release, "flower")["Nice"] == "7"
    script = (
        "import base64, ssl, sys, urllib.request\n"
        "context = ssl.create_default_context(cafile='/srv/shelf-root/config/ca.pem')\n"
        "request = urllib.request.Request('https://node1:5655/garden/workers?json=1')\n"
        "request.add_header('Authorization', 'Basic ' + base64.b64encode(sys.stdin.read().encode()).decode())\n"
        "print(urllib.request.urlopen(request, context=context).read().decode())\n"
    )
    login = "gardener:fl0wer %41 'pass\"word"
    deadline = time.monotonic() + 60
    while True:
        done = node.run("printf '%%s' %s | python3 -c %s", login, script)
        assert done.rc == 0, done.stderr
        online = [item["hostname"] for item in json.loads(done.stdout)["data"] if item["status"]]
        if len(online) == 2 or time.monotonic() > deadline:
            break
        time.sleep(2)
    assert sorted(online) == [f"documents-{release}@node1", f"reports-{release}@node1"]


def test_tasks_run_for_a_producer_that_may_not_declare(node, release):
    done = node.run(f"{RUN} --identity producer python -m celery -A celery_agent call fileshelf.shelf_summary")
    assert done.rc == 0, done.stderr
    task = done.stdout.strip().splitlines()[-1]
    deadline = time.monotonic() + 60
    while not (
        state := sql(
            node, f"SELECT status, worker FROM celery_taskmeta WHERE task_id = '{task}' AND status = 'SUCCESS'"
        )
    ):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert state == f"SUCCESS|reports-{release}@node1"
    # The same without the agent, by the documented snippet, reaches the broker and declares the queue, which this
    # producer may not.
    call = "python -m celery -A fileshelf.celery:app call fileshelf.shelf_summary"
    bare = node.run(f"{RUN} --identity producer sh -c 'CELERY_SETTINGS=\"$SHELF_SETTINGS\" exec {call}'")
    assert bare.rc != 0 and "ACCESS_REFUSED" in bare.stderr + bare.stdout


def test_publishers_are_told_what_to_agree_on(node, release):
    variables = environment(node, release, "worker-documents")
    told = json.loads(variables["SHELF_SETTINGS"])
    files = {
        name: f"/srv/shelf-root/config/tls/worker.{end}" for name, end in (("certfile", "pem"), ("keyfile", "key"))
    }
    assert told["broker_transport_options"]["ssl"] == {
        "server_hostname": "mq.shelf.example.org",
        "cert_reqs": 2,
        "ca_certs": "/srv/shelf-root/config/ca.pem",
        **files,
    }
    # Classic queues are Celery's own default: nothing to agree on.
    assert not [name for name in told if name.startswith("task_")] and variables["CELERY_AGENT_DEFAULTS"] == "{}"
    assert "CELERY_SETTINGS" not in variables
    assert variables["CELERY_AGENT_CLIENT_CERTIFICATE"] == files["certfile"]
    assert variables["CELERY_AGENT_BROKER_NAME"] == "mq.shelf.example.org"


def test_settings_reach_the_application(node):
    done = node.run(f"{RUN} python -m celery -A celery_agent report")
    assert "task_track_started: True" in done.stdout and "worker_max_tasks_per_child: 77" in done.stdout


def test_the_broker(node):
    listening = node.run("ss -Hltn").stdout
    assert "127.0.0.1:4369" in listening and "*:4369" not in listening
    assert "0.0.0.0:5691" in listening and "0.0.0.0:15691" in listening and ":5671" not in listening
    configuration = node.run("rabbitmqctl -q environment").stdout
    for words in (
        "{heartbeat,30}",
        "{consumer_timeout,4000000}",
        "{vm_memory_high_watermark,0.5}",
        '"500MB"',
        "{channel_max,500}",
    ):
        assert words in configuration, words
    assert "shelves/one" in node.run("rabbitmqctl -q list_vhosts").stdout
    users = node.run("rabbitmqctl -q list_users --no-table-headers").stdout
    assert sorted(line.split()[0] for line in users.splitlines()) == [
        "sh.admin",
        "sh.flower.node1",
        "sh.producer.node1",
        "sh.worker.node1",
    ]
    assert node.run("systemctl show -P LimitNOFILE rabbitmq-server").stdout.strip() == "8192"
    stranger = (
        "openssl s_client -connect node1:5691 -CAfile /srv/shelf-root/config/ca.pem "
        "-verify_hostname mq.shelf.example.org -verify_return_error"
    )
    client = f"{stranger} -cert /srv/shelf-root/config/tls/worker.pem -key /srv/shelf-root/config/tls/worker.key"
    old = node.run(f"{client} -tls1_2 </dev/null")
    new = node.run(f"{client} -tls1_3 </dev/null")
    assert old.rc != 0 and new.rc == 0 and "Verify return code: 0 (ok)" in new.stdout
    # With TLS 1.3 the client is told after the handshake.
    refused = node.run(f"sleep 2 | {stranger} -tls1_3")
    assert "certificate required" in refused.stdout + refused.stderr


def test_the_queues(node):
    kinds = node.run("rabbitmqctl -q list_queues -p shelves/one --no-table-headers name type").stdout
    tasks = dict(
        line.split() for line in kinds.splitlines() if line.split()[0] in ("celery", "intake", "text", "reports")
    )
    assert tasks == dict.fromkeys(("celery", "intake", "text", "reports"), "classic")
    policies = node.run("rabbitmqctl -q list_policies -p shelves/one").stdout
    (dead,) = [line for line in policies.splitlines() if "shelf-dead" in line]
    assert f'"message-ttl":{3 * 24 * 3600 * 1000}' in dead


def test_the_database(node):
    for name, value in (("max_connections", "60"), ("work_mem", "8MB"), ("listen_addresses", "0.0.0.0"), ("ssl", "on")):
        assert sql(node, f"SHOW {name}") == value
    assert sql(node, "SHOW log_line_prefix") == "it's %m"
    assert sql(node, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'shelf.user'") == "t"
    assert (
        sql(node, "SELECT count(*) FROM pg_hba_file_rules WHERE 'shelf.user' = ANY(user_name) AND type <> 'local'")
        == "0"
    )


def test_the_owner_and_the_user_of_the_database(node):
    assert sql(node, "SELECT tableowner FROM pg_tables WHERE tablename = 'celery_taskmeta'") == "shelf-keeper"
    assert sql(node, "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'shelf'") == '"shelf-keeper"'
    for schema in ("public", "shelf"):
        assert sql(node, f"SELECT has_schema_privilege('shelf.user', '{schema}', 'USAGE')") == "t"
        assert sql(node, f"SELECT has_schema_privilege('shelf.user', '{schema}', 'CREATE')") == "f"
    label, url = node.file("/srv/shelf-data/setup-environment").content_string.split(maxsplit=1)
    assert label == "setup" and url.startswith("postgresql://shelf-keeper:") and "@node1:5499/" in url


def test_the_pooler(node, release):
    assert "@node1:6499/" in environment(node, release, "worker-reports")["SHELF_DATABASE"]
    # Clients are the pooler's, and it is the server's only one of this role.
    rules = node.file("/etc/pgbouncer/celery-cluster-hba.conf").content_string
    assert '"shelf-db" "shelf.user" 192.0.2.7/32 scram-sha-256' in rules and "2001:db8::/126" in rules
    settings = node.file("/etc/pgbouncer/celery-cluster-settings.ini").content_string
    assert "pool_mode = session" in settings and "default_pool_size = 40" in settings
    ways = sql(
        node,
        "SELECT count(*), count(client_addr) FROM pg_stat_activity WHERE usename = 'shelf.user'",
    )
    sessions, over_the_network = ways.split("|")
    assert int(sessions) > 0 and over_the_network == "0"


def test_the_dumps(node):
    (dump, *_more) = node.run("ls /var/lib/postgresql/shelf-dumps").stdout.split()
    assert dump.startswith("shelf-db-") and dump.endswith(".dump")
    assert node.file("/var/lib/postgresql/shelf-dumps").mode == 0o700


def test_the_certificates(node):
    text = node.run("openssl x509 -in /etc/rabbitmq/shelf-tls/cert.pem -noout -text -ext subjectAltName").stdout
    assert "DNS:node1" in text and "DNS:shelf.example.org" in text and "CN = Shelf Authority" in text
    assert "DNS:mq.shelf.example.org" in text
    for identity in ("worker", "producer", "flower"):
        path = f"/srv/shelf-root/config/tls/{identity}"
        assert f"CN = sh.{identity}.node1" in node.run(f"openssl x509 -in {path}.pem -noout -subject").stdout
        key = node.file(f"{path}.key")
        assert (key.user, key.group, key.mode) == ("root", "shelfrunner", 0o640)
    assert node.run("openssl x509 -in /etc/rabbitmq/shelf-tls/cert.pem -noout -checkend $((198 * 86400))").rc == 0
    assert node.run("openssl x509 -in /etc/rabbitmq/shelf-tls/cert.pem -noout -checkend $((201 * 86400))").rc == 1
    assert node.run("openssl x509 -in /srv/shelf-root/config/ca.pem -noout -checkend $((998 * 86400))").rc == 0
    assert node.file("/etc/postgresql/shelf-tls/key.pem").mode == 0o600


def test_the_release(node, release):
    code = f"/srv/shelf-root/releases/{release}/code"
    assert node.file(f"{code}/samples").is_directory and not node.file(f"{code}/tests").exists
    assert not node.file(f"{code}/README.md").exists
    assert node.run(f"/srv/shelf-root/releases/{release}/venv/bin/python -c 'import iniconfig'").rc == 0
    assert node.file(f"/srv/shelf-root/releases/{release}/venv/bin/python").linked_to.startswith("/usr/bin/python3.11")
    assert len(node.file("/srv/shelf-data/setup").content_string.splitlines()) == 1, "setup commands run once a release"
    path = f"/srv/shelf-root/config/releases/{release}/shelf.ini"
    assert node.file("/srv/shelf-root/config/shelf.ini").linked_to == path
    configuration = node.file(path)
    assert configuration.mode == 0o440 and "postgresql://shelf.user:" in configuration.content_string
    assert node.package("tree").is_installed


def test_only_the_wanted_uv_is_there(node):
    defaults = Path(__file__).resolve().parents[3] / "roles" / "code" / "defaults" / "main.yml"
    wanted = yaml.safe_load(defaults.read_text())["code_uv_version"]
    # prepare.yml has left another one.
    assert node.run("ls -A /srv/shelf-root/tools").stdout.split() == [f"uv-{wanted}"]
    assert node.run(f"/srv/shelf-root/tools/uv-{wanted}/bin/uv --version").stdout.split()[1] == wanted

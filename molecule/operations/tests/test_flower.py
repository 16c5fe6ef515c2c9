"""Flower behind nginx, as HTTP shows it: who gets in, what is closed, what only reads, and what survives a fault."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from testing import INVENTORY, PROJECT, SECRETS, container, host, message, run_playbook, script_on, wait_for

VARIABLES: dict[str, Any] = yaml.safe_load(
    (PROJECT / "molecule" / "operations" / "inventory" / "group_vars" / "all.yml").read_text()
)
NAME = VARIABLES["celery_name"]
CORE, WORKERS = "core1", ("worker1", "worker2")
PORT, BACKEND = VARIABLES.get("flower_port", 5555), VARIABLES.get("flower_backend_port", 5556)
PREFIX = f"/{VARIABLES['flower_url_prefix']}" if VARIABLES.get("flower_url_prefix") else ""
CA = f"/opt/{NAME}/config/ca.pem"
TLS = f"/etc/{NAME}-cluster/tls"
UNIT = f"{NAME}-flower@*.service"
PATIENCE = 120.0

ASK = """
import base64, http.client, json, ssl, sys
given = json.load(sys.stdin)
if given["ca"]:
    context = ssl.create_default_context(cafile=given["ca"])
    link = http.client.HTTPSConnection(given["host"], given["port"], timeout=20, context=context)
else:
    link = http.client.HTTPConnection(given["host"], given["port"], timeout=20)
headers = dict(given["headers"])
if given["login"]:
    headers["Authorization"] = "Basic " + base64.b64encode(given["login"].encode()).decode()
try:
    link.request(given["method"], given["path"], headers=headers)
    answer = link.getresponse()
    body = "" if answer.status == 101 else answer.read().decode("utf-8", "replace")
    found = {"status": answer.status, "body": body, "headers": dict(answer.getheaders()), "why": ""}
except OSError as error:
    found = {"status": 0, "body": "", "headers": {}, "why": str(error)}
print(json.dumps(found))
"""
# In the place of Flower: takes every request for a websocket.
SWITCH = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        wanted = self.headers.get("Upgrade", "") == "websocket" and self.headers.get("Connection", "") == "upgrade"
        self.send_response(101 if wanted else 400)
        if wanted:
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.close_connection = True
http.server.HTTPServer(("127.0.0.1", %d), Handler).serve_forever()
"""


class Answer(NamedTuple):
    status: int
    body: str
    headers: dict[str, str]
    why: str


def on(name: str, command: str, *arguments: str) -> str:
    done = host(name).run(command, *arguments)
    assert done.rc == 0, done.stdout + done.stderr
    return str(done.stdout)


def address(name: str) -> str:
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    argv = ["docker", "inspect", "--format", template, container(name)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def password() -> str:
    return (SECRETS / "flower").read_text().strip()


def ask(path: str, name: str = CORE, login: bool = False, method: str = "GET", **more: Any) -> Answer:
    """What a host of the cluster gets; on Flower's own host from the loopback address."""
    given = {
        "host": "127.0.0.1" if name == CORE else address(CORE),
        "port": PORT,
        "path": PREFIX + path,
        "method": method,
        "login": f"admin:{password()}" if login else "",
        "ca": CA,
        "headers": {},
        **more,
    }
    return Answer(**script_on(name, ASK, given))


def pid(unit: str, name: str = CORE) -> int:
    """The main process of the one unit of this pattern that runs."""
    shown = on(name, f"systemctl show --property=MainPID --value '{unit}'").split()
    (found,) = [int(word) for word in shown if word != "0"]
    return found


def is_well() -> bool:
    return ask("/workers").status == 401 and ask("/workers", login=True).status == 200


@pytest.fixture(autouse=True)
def well() -> Iterator[None]:
    """Every test finds Flower at work, and leaves it so."""
    assert wait_for(is_well, PATIENCE)
    yield
    begun = time.monotonic()
    assert wait_for(is_well, PATIENCE)
    print(f"Flower is well again after {time.monotonic() - begun:.1f} s")


def tasks() -> dict[str, dict[str, Any]]:
    answer = ask("/api/tasks?limit=500", login=True)
    assert answer.status == 200, answer
    return json.loads(answer.body)


def test_nobody_comes_in_without_the_password():
    for path in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"):
        assert ask(path).status == 401, path
        wrong = ask(path, headers={"Authorization": "Basic YWRtaW46d3Jvbmc="})
        assert wrong.status == 401, path
        assert ask(path, WORKERS[0]).status == 401, path
    assert ask("/workers", WORKERS[0], login=True).status == 200


def test_the_headers_of_a_page():
    headers = {key.lower(): value for key, value in ask("/workers", login=True).headers.items()}
    assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
    assert headers["server"] == "nginx"


def test_plain_http_and_flower_itself_are_not_for_others():
    assert ask("/workers", WORKERS[0], ca="").status in (0, 400)
    assert "refused" in ask("/workers", WORKERS[0], ca="", port=BACKEND).why.lower()
    assert ask("/healthcheck", ca="", port=BACKEND).status == 200


def test_both_workers_are_online():
    def online() -> set[str]:
        answer = ask("/workers?json=1", login=True)
        assert answer.status == 200
        return {item["hostname"].rpartition("@")[2] for item in json.loads(answer.body)["data"] if item["status"]}

    assert wait_for(lambda: online() >= set(WORKERS), PATIENCE), online()


def test_tasks_are_seen_by_name():
    def names() -> set[str]:
        return {task["name"] for task in tasks().values() if task.get("name")}

    assert wait_for(lambda: [name for name in names() if name.startswith("ledger.")], PATIENCE), names()
    known = json.loads(ask("/api/task/types", login=True).body)["task-types"]
    assert [name for name in known if name.startswith("ledger.")], known


def test_the_broker_page_reads_the_management_api():
    answer = ask("/broker", login=True)
    assert answer.status == 200
    for queue in (queue for kind in VARIABLES["celery_workers"].values() for queue in kind["queues"]):
        assert queue in answer.body, queue
    assert wait_for(lambda: json.loads(ask("/api/queues/length", login=True).body)["active_queues"], PATIENCE)


@pytest.mark.parametrize("path", ["/metrics", "/healthcheck"])
def test_what_needs_no_login_is_for_the_host_alone(path):
    assert ask(path).status == 200
    for way in (path, f"/{path}", f"{path}?a=b", f"/x/..{path}", path.replace("e", "%65", 1)):
        assert ask(way, WORKERS[0]).status == 403, way
        # A password opens nothing here, and nobody says where he comes from himself.
        forged = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"}
        assert ask(way, WORKERS[0], login=True, headers=forged).status == 403, way


def test_read_only_refuses_what_would_change_something():
    unit = f"{NAME}-worker-*@*.service"
    workers = on(WORKERS[0], f"systemctl show --property=MainPID --value '{unit}'").split()
    data = json.loads(ask("/workers?json=1", login=True).body)["data"]
    victim = next(item["hostname"] for item in data if item["hostname"].endswith(f"@{WORKERS[0]}"))
    for path in (
        f"/api/worker/shutdown/{victim}",
        f"/api/worker/pool/shrink/{victim}",
        f"/api/worker/queue/cancel-consumer/{victim}?queue=celery",
        "/api/task/revoke/0?terminate=true",
        "/api/task/send-task/ledger.nothing",
        "/api/task/send-task/x/../../../../tasks/datatable",
    ):
        refused = ask(path, login=True, method="POST", headers={"Content-Length": "0"})
        assert refused.status in (400, 403), (path, refused)
        # Nor past nginx: Flower 2.1 and newer refuses by itself.
        itself = ask(path, login=True, method="POST", headers={"Content-Length": "0"}, ca="", port=BACKEND)
        assert itself.status == 403, (path, itself)
    # The one page that is asked for by POST is a list: Flower wants to know which part of it.
    assert ask("/tasks/datatable", login=True, method="POST", headers={"Content-Length": "0"}).status in (200, 400)
    time.sleep(5)
    assert on(WORKERS[0], f"systemctl show --property=MainPID --value '{unit}'").split() == workers


def test_a_websocket_passes_nginx():
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    unit = on(CORE, f"systemctl list-units --plain --no-legend --state=active '{UNIT}'").split()[0]
    try:
        on(CORE, "systemctl stop %s", unit)
        on(CORE, "systemd-run --collect --unit=switch-101 /usr/bin/python3 -c %s", SWITCH % BACKEND)
        found = wait_for(lambda: ask("/any", headers=headers).status == 101, 30)
        assert found, ask("/any", headers=headers)
        assert ask("/any").status == 400
    finally:
        host(CORE).run("systemctl stop switch-101.service")
        on(CORE, "systemctl start %s", unit)


def test_what_it_knows_survives_a_restart():
    def finished() -> list[str]:
        return [found for found, task in tasks().items() if task["state"] == "SUCCESS"]

    known = wait_for(finished, PATIENCE)
    assert known
    before = pid(UNIT)
    begun = time.monotonic()
    on(CORE, f"systemctl restart '{UNIT}'")
    assert wait_for(is_well, PATIENCE) and pid(UNIT) != before
    print(f"Flower restarted in {time.monotonic() - begun:.1f} s")
    answer = ask(f"/api/task/info/{known[0]}", login=True)
    assert answer.status == 200 and json.loads(answer.body)["state"] == "SUCCESS"


def served() -> str:
    """The serial number of the certificate that a client is shown."""
    return on(CORE, f"openssl s_client -connect 127.0.0.1:{PORT} </dev/null 2>/dev/null | openssl x509 -noout -serial")


@pytest.mark.thorough
def test_a_renewed_certificate_is_loaded_without_a_restart():
    before, nginx, flower = served(), pid("nginx.service"), pid(UNIT)
    done = run_playbook(name="playbooks/rotate_certificates.yml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert served() != before
    assert (pid("nginx.service"), pid(UNIT)) == (nginx, flower)


def test_a_fault_of_somebody_else_stops_the_run_and_not_nginx():
    theirs, nginx = "/etc/nginx/conf.d/zz-theirs.conf", pid("nginx.service")
    site = on(CORE, f"cat /etc/nginx/conf.d/{NAME}-flower.conf")
    try:
        on(CORE, "echo 'nonsense on;' >%s", theirs)
        told = message(run_playbook("-e", json.dumps({"flower_hsts_seconds": 60})))
        assert "refuses its configuration as it is" in told and f"{theirs}:1" in told
        assert is_well() and pid("nginx.service") == nginx
        assert on(CORE, f"cat /etc/nginx/conf.d/{NAME}-flower.conf") == site
    finally:
        on(CORE, "rm -f %s", theirs)


def test_the_page_of_the_package_is_closed():
    assert host(CORE).run("ss -Hltn 'sport = :80'").stdout.strip() == ""
    assert not host(CORE).file("/etc/nginx/sites-enabled/default").exists


def expired() -> tuple[bytes, bytes]:
    """Certificate and key, by the cluster's own authority and for the names of the real one, that ended yesterday."""
    real = x509.load_pem_x509_certificate(on(CORE, "cat %s/cert.pem", TLS).encode())
    names = real.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    authority = x509.load_pem_x509_certificate((SECRETS / "ca" / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((SECRETS / "ca" / "key.pem").read_bytes(), None)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, CORE)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * day)
        .not_valid_after(now - day)
        .add_extension(names.value, critical=False)
    )
    made = builder.sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def test_an_expired_certificate_is_refused():
    certificate, key = expired()
    on(CORE, "cp -a %s/cert.pem %s/cert.pem.kept && cp -a %s/key.pem %s/key.pem.kept", *[TLS] * 4)
    try:
        write = (
            "import json, sys\nfor path, text in json.load(sys.stdin).items(): open(path, 'w').write(text)\nprint(1)"
        )
        script_on(CORE, write, {f"{TLS}/cert.pem": certificate.decode(), f"{TLS}/key.pem": key.decode()})
        on(CORE, "systemctl reload nginx")
        assert wait_for(lambda: "expired" in ask("/workers", WORKERS[0]).why, 30), ask("/workers", WORKERS[0])
    finally:
        on(CORE, "mv %s/cert.pem.kept %s/cert.pem && mv %s/key.pem.kept %s/key.pem", *[TLS] * 4)
        on(CORE, "touch %s/cert.pem && systemctl reload nginx", TLS)


def test_a_wrong_login_is_refused_before_a_host_is_touched():
    oauth = {"provider": "github", "key": "k", "secret": "not-to-be-seen", "emails": [".*@example.org"]}
    told = message(run_playbook("-e", json.dumps({"flower_auth": "oauth", "flower_oauth": oauth})))
    assert "CC660" in told and "without ^ and $" in told and "No host was changed" in told
    assert "not-to-be-seen" not in told


@pytest.fixture
def without_flower(tmp_path: Path) -> Path:
    """The inventory with nobody in the group flower."""
    folder = tmp_path / "inventory"
    shutil.copytree(INVENTORY, folder)
    hosts = yaml.safe_load((folder / "hosts").read_text())
    hosts["all"]["children"]["flower"] = {"hosts": {}}
    (folder / "hosts").write_text(yaml.safe_dump(hosts))
    return folder


@pytest.mark.thorough
def test_flower_goes_with_its_page_and_comes_back(without_flower):
    files = [f"/etc/nginx/conf.d/{NAME}-flower.conf", f"/etc/systemd/system/{NAME}-flower@.service"]
    files += [f"/var/lib/{NAME}/flower", f"/opt/{NAME}/config/flower-options.env"]
    try:
        done = run_playbook("-i", str(without_flower), "--tags", "code", alone=True)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        assert [path for path in files if host(CORE).file(path).exists] == []
        assert "refused" in ask("/workers").why.lower()
        assert host(CORE).run(f"systemctl list-units --plain --no-legend '{UNIT}'").stdout.strip() == ""
    finally:
        done = run_playbook("--tags", "code")
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]

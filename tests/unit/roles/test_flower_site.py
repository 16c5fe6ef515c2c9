"""The site of nginx in front of Flower, as the role's template writes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
TEMPLATE = CHECKOUT / "roles" / "flower" / "templates" / "nginx.conf.j2"
VARIABLES: dict[str, Any] = {
    "celery_name": "my-shop",
    "__flower_listen": "127.0.0.1",
    "flower_listen_address": "127.0.0.1",
    "flower_port": 5555,
    "flower_backend_port": 5556,
    "__flower_names": ["mon", "192.0.2.1"],
    "__flower_site_files": ["/etc/shop/cert.pem", "/etc/shop/key.pem"],
    "flower_hsts_seconds": 0,
    "__flower_prefix": "",
    "flower_metrics_allowed": ["127.0.0.1/32", "::1/128"],
    "flower_read_only": True,
}


def render(**changes: Any) -> str:
    # As Ansible renders a template.
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters["bool"] = bool
    return environment.from_string(TEMPLATE.read_text()).render({**VARIABLES, **changes})


def location(text: str, path: str) -> list[str]:
    """The lines of one location, without comments."""
    found = re.search(rf"^    location {re.escape(path)} \{{\n(.*?)^    \}}", text, re.MULTILINE | re.DOTALL)
    assert found, f"no location {path} in:\n{text}"
    lines = [line.strip() for line in found[1].splitlines()]
    return [line for line in lines if not line.startswith("#")]


def test_the_page_has_tls_alone() -> None:
    text = render()
    assert re.findall(r"^ +(?:listen|server_name|ssl_protocols|ssl_certificate\w*) .*;$", text, re.MULTILINE) == [
        "    listen 127.0.0.1:5555 ssl;",
        "    server_name mon 192.0.2.1;",
        "    ssl_certificate /etc/shop/cert.pem;",
        "    ssl_certificate_key /etc/shop/key.pem;",
        "    ssl_protocols TLSv1.2 TLSv1.3;",
    ]
    assert "listen [::]:5555 ssl ipv6only=off;" in render(flower_listen_address="::", __flower_listen="[::]")
    # A variable of nginx has no hyphen.
    assert "map $http_upgrade $my_shop_flower_connection {" in text


@pytest.mark.parametrize("prefix", ["", "/a/b"])
def test_what_flower_shows_to_everybody_is_for_stated_addresses(prefix: str) -> None:
    text = render(__flower_prefix=prefix)
    for page in ("metrics", "healthcheck"):
        assert location(text, f"= {prefix}/{page}") == [
            "allow 127.0.0.1/32;",
            "allow ::1/128;",
            "deny all;",
            f"proxy_pass http://127.0.0.1:5556{prefix}/{page};",
        ]
    assert location(render(flower_metrics_allowed=[]), "= /metrics")[0] == "deny all;"


def test_read_only_lets_reading_and_the_list_of_tasks_through() -> None:
    text = render()
    assert location(text, "/") == ["limit_except GET {", "deny all;", "}", "proxy_pass http://127.0.0.1:5556;"]
    # By the path that was judged, not by the one that was written.
    assert location(text, "= /tasks/datatable") == ["proxy_pass http://127.0.0.1:5556/tasks/datatable;"]
    writable = render(flower_read_only=False)
    assert location(writable, "/") == ["proxy_pass http://127.0.0.1:5556;"] and "datatable" not in writable


def test_below_a_prefix_nothing_else_is_served() -> None:
    text = render(__flower_prefix="/flower")
    assert location(text, "/") == ["return 404;"]
    assert location(text, "= /flower") == ["return 301 /flower/;"]
    assert location(text, "/flower/")[-1] == "proxy_pass http://127.0.0.1:5556;"


def test_hsts_is_asked_for_on_request() -> None:
    assert "Strict-Transport-Security" not in render()
    assert 'Strict-Transport-Security "max-age=60" always;' in render(flower_hsts_seconds=60)


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed here")
@pytest.mark.parametrize(
    "changes", [{}, {"__flower_prefix": "/f", "flower_read_only": False, "flower_hsts_seconds": 9}]
)
def test_nginx_takes_it(changes: dict[str, Any], tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (tmp_path / "site.conf").write_text(render(**changes, __flower_site_files=[certificate, key]))
    # What the package's own configuration says of temporary files is not for everybody's eyes and directories.
    paths = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
        f"http {{ access_log off; {paths} include {tmp_path}/site.conf; }}\n"
    )
    done = subprocess.run(
        ["nginx", "-t", "-q", "-p", tmp_path, "-c", "nginx.conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------------------------------
# With the variables of the roles, as Ansible has them

PLAY = """
- hosts: mon
  gather_facts: false
  vars_files: {files}
  tasks:
    - ansible.builtin.import_role: {{name: taskfleet.celery_cluster.celery, tasks_from: variables}}
    - ansible.builtin.copy:
        dest: "{{{{ out }}}}/{{{{ item.name }}}}.json"
        content: "{{{{ {{'site': lookup('ansible.builtin.template', template), 'environment': __flower_environment,
                        'url': __flower_check_url}} | to_json }}}}"
        mode: "0600"
      delegate_to: localhost
      vars:
        flower_proxy: "{{{{ item.proxy }}}}"
        flower_auth: "{{{{ item.auth }}}}"
        flower_read_only: "{{{{ item.read_only }}}}"
        flower_listen_address: "{{{{ item.listen }}}}"
      loop:
        - {{name: default, proxy: nginx, auth: basic, read_only: true, listen: 127.0.0.1}}
        - {{name: alone, proxy: none, auth: basic, read_only: false, listen: "::"}}
        - {{name: oauth, proxy: nginx, auth: oauth, read_only: true, listen: 192.0.2.1}}
"""
GIVEN = {
    "flower_url_prefix": "f",
    "flower_password": "fl0wer 'pass",
    "celery_broker_flower_password": "br0ker-flower-pass",
    "flower_settings": {"FLOWER_MAX_TASKS": 7},
    "flower_oauth": {"provider": "google", "key": "id", "secret": "theirs", "emails": ["*@example.org"]},
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("flower")
    files = [str(CHECKOUT / "roles" / "flower" / kind / "main.yml") for kind in ("defaults", "vars")]
    groups = ("rabbitmq", "postgresql", "celery_workers", "flower")
    variables = {"celery_name": "shop", "celery_app": "x", "celery_workers": {"default": {"queues": ["celery"]}}}
    hosts = {"hosts": {"mon": {"celery_address": "192.0.2.1"}}}
    inventory = {"all": {**hosts, "children": {group: {"hosts": {"mon": None}} for group in groups}, "vars": variables}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    (folder / "play.yml").write_text(PLAY.format(files=json.dumps(files)))
    (folder / "ansible.cfg").write_text("[defaults]\n")
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_REMOTE_TMP": str(folder / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
    }
    extra = json.dumps({"out": str(folder), "template": str(TEMPLATE), **GIVEN})
    command = ["ansible-playbook", "-i", "hosts.yml", "play.yml", "-e", extra]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("default", "alone", "oauth")}


def test_flower_behind_nginx_is_on_the_loopback_address_and_only_shows(rendered: dict[str, dict[str, Any]]) -> None:
    found = rendered["default"]["environment"]
    assert {name: str(found[name]) for name in ("FLOWER_ADDRESS", "FLOWER_PORT", "FLOWER_READ_ONLY")} == {
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": "5556",
        "FLOWER_READ_ONLY": "true",
    }
    assert found["FLOWER_BASIC_AUTH"] == "admin:fl0wer 'pass"
    assert (found["FLOWER_URL_PREFIX"], str(found["FLOWER_MAX_TASKS"])) == ("f", "7")
    assert "FLOWER_CERTFILE" not in found and "FLOWER_AUTH" not in found
    site = rendered["default"]["site"]
    assert "    listen 127.0.0.1:5555 ssl;" in site and location(site, "/f/")
    assert "    ssl_certificate /etc/shop-cluster/tls/cert.pem;" in site
    assert re.search(r"server_name mon .*192\.0\.2\.1.*;", site)
    assert rendered["default"]["url"] == "https://127.0.0.1:5555/f"


def test_flower_alone_has_tls_of_its_own(rendered: dict[str, dict[str, Any]]) -> None:
    found = rendered["alone"]["environment"]
    assert (found["FLOWER_ADDRESS"], str(found["FLOWER_PORT"]), found["FLOWER_READ_ONLY"]) == ("::", "5555", "false")
    assert found["FLOWER_CERTFILE"] == "/var/lib/shop/flower/tls/cert.pem" and "FLOWER_XHEADERS" not in found
    assert rendered["alone"]["url"] == "https://127.0.0.1:5555/f"


def test_a_login_elsewhere_takes_the_place_of_the_password(rendered: dict[str, dict[str, Any]]) -> None:
    found = rendered["oauth"]["environment"]
    assert found["FLOWER_AUTH"] == ".*@example.org" and "FLOWER_BASIC_AUTH" not in found
    assert found["FLOWER_OAUTH2_REDIRECT_URI"] == "https://mon:5555/f/login"
    assert len(found["FLOWER_COOKIE_SECRET"]) > 15
    assert "    listen 192.0.2.1:5555 ssl;" in rendered["oauth"]["site"]
    assert rendered["oauth"]["url"] == "https://192.0.2.1:5555/f"

"""The action as a play runs it: on hosts that nobody can reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.constants import DEFAULT_VAULT_IDENTITY
from ansible.parsing.vault import VaultLib, VaultSecret

CHECKOUT = Path(__file__).resolve().parents[4]

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Compute the cluster
      taskfleet.celery_cluster.topology:
        name: "{{ celery_name }}"
        app: "{{ celery_app }}"
        workers: "{{ celery_workers }}"
        allowed_clients: "{{ celery_allowed_clients }}"
        result_backend_url: "{{ celery_result_backend_url | default('') }}"
    - name: Write what the templates see
      ansible.builtin.copy:
        dest: "{{ out }}/{{ inventory_hostname }}.json"
        mode: "0600"
        content: >-
          {{ {'model': ansible_facts['celery_cluster'],
              'env': celery_workers.default.environment | taskfleet.celery_cluster.env_file,
              'words': ansible_facts['celery_cluster'].workers.default | taskfleet.celery_cluster.worker_arguments
                       | taskfleet.celery_cluster.systemd_quote,
              'password': lookup('taskfleet.celery_cluster.secret', 'broker', directory=out ~ '/../secrets'),
              'own_env': {'A': vaulted, 'B': inventory_hostname} | taskfleet.celery_cluster.env_file,
              'probes': ansible_facts['celery_cluster']
                        | taskfleet.celery_cluster.probes(inventory_hostname, links)} | to_json }}
      delegate_to: localhost
      when: inventory_hostname in ansible_facts['celery_cluster'].hosts
"""

LINKS = {
    "broker_port": 5671,
    "vhost": "shop",
    "user": "shop-worker",
    "database": "shop",
    "database_user": "shop",
    "database_port": 5432,
    "ca_file": "/ca.pem",
}


class Vaulted(str):
    """A value that the inventory file holds encrypted."""


def _vaulted(dumper: yaml.SafeDumper, value: Vaulted) -> yaml.Node:
    return dumper.represent_scalar("!vault", str(value), style="|")


yaml.SafeDumper.add_representer(Vaulted, _vaulted)


def encrypted(value: str) -> Vaulted:
    vault = VaultLib([(DEFAULT_VAULT_IDENTITY, VaultSecret(b"vault password"))])
    return Vaulted(vault.encrypt(value).decode())


def play(folder: Path, inventory: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    (folder / "play.yml").write_text(PLAY)
    (folder / "ansible.cfg").write_text("[defaults]\n")
    (folder / "vault").write_text("vault password")
    (folder / "out").mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_VAULT_PASSWORD_FILE": str(folder / "vault"),
    }
    command = ["ansible-playbook", "-i", "hosts.yml", "play.yml", "-vv", "-e", json.dumps({"out": str(folder / "out")})]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def group(*hosts: str) -> dict[str, Any]:
    return {"hosts": dict.fromkeys(hosts)}


def inventory(hosts: dict[str, Any], groups: dict[str, Any], **variables: Any) -> dict[str, Any]:
    # The addresses are of a range for documentation: a play that contacts one of them hangs or fails.
    return {"all": {"hosts": hosts, "children": groups, "vars": {"links": LINKS, "vaulted": "x", **variables}}}


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("right")
    done = play(
        folder,
        inventory(
            {
                "mq": {"celery_address": "192.0.2.1"},
                "db": {"celery_address": "{{ '192.0.2.' ~ 2 }}"},
                "app": {"ansible_host": "192.0.2.3"},
                "w1": {"celery_address": "192.0.2.4"},
                "w2": {"celery_address": "192.0.2.5"},
                "other": {},
            },
            {
                "rabbitmq": group("mq"),
                "postgresql": group("db"),
                "celery_source": group("app"),
                "celery_workers": {"children": {"big": group("w2")}, **group("w1")},
            },
            celery_name="shop",
            celery_app="shop.celery:app",
            celery_workers={
                "default": {
                    "queues": ["celery", "mail"],
                    "concurrency": "{{ 2 * 2 }}",
                    "hosts": "celery_workers:!big",
                    "environment": {"TOKEN": encrypted('s3"cret'), "PLACE": "{{ celery_name }}"},
                    "arguments": ["-O", "fair", "50%"],
                },
                "video": {"queues": ["video"], "hosts": "~^w2$"},
            },
            celery_allowed_clients=["198.51.100.0/24"],
            vaulted=encrypted("very secret"),
        ),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: json.loads(path.read_text()) for path in (folder / "out").iterdir()} | {"output": done.stdout}


def test_a_right_inventory_yields_the_model_on_every_host(right: dict[str, Any]) -> None:
    model = right["w1"]["model"]
    assert [right[host]["model"] for host in ("mq", "db", "app", "w2")] == [model] * 4
    assert (model["brokers"], model["database"], model["source"], model["beat"]) == (["mq"], "db", "app", None)
    assert {host: facts["address"] for host, facts in model["hosts"].items()} == {
        "mq": "192.0.2.1",
        "db": "192.0.2.2",
        "app": "192.0.2.3",
        "w1": "192.0.2.4",
        "w2": "192.0.2.5",
    }
    assert {kind: worker["hosts"] for kind, worker in model["workers"].items()} == {"default": ["w1"], "video": ["w2"]}
    assert model["workers"]["default"]["concurrency"] == 4
    assert [client["cidr"] for client in model["database_clients"]] == [
        "192.0.2.4/32",
        "192.0.2.5/32",
        "192.0.2.3/32",
        "198.51.100.0/24",
    ]


def test_filters_take_what_ansible_hands_over(right: dict[str, Any]) -> None:
    assert right["w1"]["env"] == 'TOKEN="s3\\"cret"\nPLACE="shop"\n'
    assert right["w1"]["own_env"] == 'A="very secret"\nB="w1"\n'
    assert right["w1"]["words"].startswith("--queues celery,mail --pool prefork --concurrency 4")
    assert right["w1"]["words"].endswith("-O fair 50%%")
    assert [probe["check"] for probe in right["mq"]["probes"]] == ["postgres_refused"]


def test_all_hosts_get_the_same_generated_secret(right: dict[str, Any]) -> None:
    passwords = {right[host]["password"] for host in ("mq", "db", "app", "w1", "w2")}
    assert len(passwords) == 1
    assert len(passwords.pop()) == 40


def test_secrets_are_not_in_the_output(right: dict[str, Any]) -> None:
    assert right["output"].count("ok: [w1]") == 1
    for value in ("very secret", "s3", "cret", right["w1"]["password"]):
        assert value not in right["output"]


def test_a_wrong_inventory_is_refused_with_everything_that_is_wrong(tmp_path: Path) -> None:
    done = play(
        tmp_path,
        inventory(
            {
                "mq": {"celery_address": "192.0.2.1"},
                "mq2": {"celery_address": "192.0.2.0/24"},
                "db": {"celery_address": "127.0.0.1"},
                "w1": {},
                "outside": {"celery_address": "192.0.2.9"},
            },
            {
                "rabbitmq": group("mq", "mq2"),
                "postgresql": group("db"),
                "celery_workers": group("w1"),
                "elsewhere": group("outside"),
            },
            celery_name="Shop",
            celery_app="",
            celery_workers={
                "default": {"queues": ["celery", "celery"], "pool": "process", "memory": "8G"},
                "Video": {"queues": ["a b"], "environment": {"A-B": 1}},
                "mail": {"queues": ["mail"], "hosts": "nowhere"},
                "far": {"queues": ["far"], "hosts": "elsewhere"},
                "none": None,
            },
            celery_allowed_clients="192.0.2.1",
        ),
    )
    assert done.returncode == 2
    assert list((tmp_path / "out").iterdir()) == []
    expected = [
        "The inventory does not describe a cluster that can work",
        "celery_name is 'Shop': write a lower-case letter",
        "celery_app is not set: write what",
        "the group rabbitmq has 2 hosts",
        "celery_workers.default.memory: unknown option",
        "celery_workers.Video: a kind of worker is",
        "celery_workers.Video.queues has 'a b'",
        "celery_workers.Video.environment: 'A-B' is not a name",
        "celery_workers.mail.hosts: the pattern 'nowhere' matches no host",
        "outside is matched by celery_workers but is in none",
        "celery_workers.none is None: write a mapping",
        "celery_address of mq2 is '192.0.2.0/24': write one address",
        "celery_address of db is 127.0.0.1, which leads every other host to itself",
        "the address of w1 is unknown: set celery_address",
        "celery_allowed_clients is '192.0.2.1': write a list",
    ]
    output = done.stdout + done.stderr
    assert [message for message in expected if message not in output] == []
    assert "Traceback" not in output
    assert "UNREACHABLE" not in output

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
    - name: Compute it as it is once a host has left
      taskfleet.celery_cluster.topology:
        without: [app, nobody]
        complete: false
      register: without
    - name: Write what the templates see
      ansible.builtin.copy:
        dest: "{{ out }}/{{ inventory_hostname }}.json"
        mode: "0600"
        content: >-
          {{ {'model': ansible_facts['celery_cluster'], 'without': without.model | default({}),
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
    "management_port": 15671,
    "vhost": "shop",
    "client_directory": "/config/tls",
    "certificate_days": 14,
    "database": "shop",
    "database_user": "shop",
    "database_owner": "shop_owner",
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


def play(folder: Path, inventory: dict[str, Any], text: str = PLAY) -> subprocess.CompletedProcess[str]:
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory, sort_keys=False))
    (folder / "play.yml").write_text(text)
    (folder / "ansible.cfg").write_text("[defaults]\n")
    (folder / "vault").write_text("vault password")
    (folder / "out").mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        # Below the home directory of the account otherwise, whatever HOME says.
        "ANSIBLE_REMOTE_TMP": str(folder / "tmp"),
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
    assert (model["broker_name"], model["broker_login"], model["queue_type"]) == ("shop-broker", "password", "quorum")
    assert model["broker_nodes"] == {"mq": "rabbit@mq"}
    assert model["hosts"]["w1"]["broker_users"] == {"worker": "shop-worker"}
    assert [port["port"] for port in model["hosts"]["mq"]["ports"]] == [5671, 15671]
    assert [client["cidr"] for client in model["database_clients"]] == [
        "192.0.2.4/32",
        "192.0.2.5/32",
        "192.0.2.3/32",
        "198.51.100.0/24",
    ]


def test_a_host_that_is_on_its_way_out(right: dict[str, Any]) -> None:
    model = right["w1"]["without"]
    assert model["source"] is None and sorted(model["hosts"]) == ["db", "mq", "w1", "w2"]
    assert "192.0.2.3/32" not in [client["cidr"] for client in model["database_clients"]]


def test_the_database_has_its_defaults_from_the_roles(right: dict[str, Any]) -> None:
    model = right["w1"]["model"]
    assert (model["database_mode"], model["database_port"], model["database_server_port"]) == ("managed", 5432, 5432)
    assert (model["database_login"], model["database_pooler"]) == ("password", "none")
    assert model["database_owners"] == [{"name": "app", "cidr": "192.0.2.3/32"}]
    assert model["database_users"] == ["app", "w1", "w2"]
    assert model["prepared_hosts"] == ["mq", "db", "app", "w1", "w2"]
    assert model["database_connections"] > 0


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
    assert right["output"].count("ok: [w1]") == 2
    for value in ("very secret", "s3", "cret", right["w1"]["password"]):
        assert value not in right["output"]


# Fifteen mistakes, each with the code that must be told. The hosts do not exist: nobody may contact them.
MISTAKES = {
    "CC101": {"celery_name": "Shop"},
    "CC102": {"celery_app": ""},
    "CC112": {"celery_settings": {"beat_schedule": {"nightly": {"task": "shop.tidy"}}}},
    "CC901": {"celery_databse_port": 5433},
    "CC903": {"celery_broker_port": "the usual one"},
}
WORKERS = {
    "default": {"queues": ["celery", "celery"], "pool": "process", "memory": "8G"},
    "Video": {"queues": ["a b"], "environment": {"A-B": 1}},
    "mail": {"queues": ["mail"], "hosts": "nowhere"},
    "far": {"queues": ["far"], "hosts": "elsewhere"},
    "none": None,
    "long": {"queues": ["long"], "time_limit": 600, "stop_timeout": 60},
}
CHECK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Check the inventory
      taskfleet.celery_cluster.topology:
        complete: false
      run_once: true
"""
CHECK_AND_CONTACT = f"""{CHECK}
    - name: Contact the host
      ansible.builtin.ping:
"""


def wrong_inventory() -> dict[str, Any]:
    variables: dict[str, Any] = {}
    for mistake in MISTAKES.values():
        variables |= mistake
    return inventory(
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
        celery_workers=WORKERS,
        celery_allowed_clients=["10.0.0.5/24"],
        **variables,
    )


def test_fifteen_mistakes_are_told_at_once_and_no_host_is_contacted(tmp_path: Path) -> None:
    done = play(tmp_path, wrong_inventory(), CHECK_AND_CONTACT)
    output = done.stdout + done.stderr
    assert done.returncode == 2
    expected = [
        "CC101 error: celery_name is 'Shop': write",
        "CC102 error: celery_app is not set: write",
        "CC103 error: group rabbitmq has 2 hosts",
        "CC112 error: celery_settings.beat_schedule is set",
        "celery_workers.default.queues",
        "celery_workers.default.pool is 'process'",
        "celery_workers.default.memory",
        "celery_workers.Video ",
        "celery_workers.Video.queues has 'a b'",
        "celery_workers.mail.hosts",
        "outside",
        "celery_workers.none ",
        "celery_workers.long.stop_timeout",
        "mq2: celery_address is '192.0.2.0/24'",
        "db: celery_address is ",
        "write 10.0.0.0/24",
        "CC901 error: celery_databse_port is a variable that no role of this collection reads: write "
        "celery_database_port",
        "CC903 error: celery_broker_port ",
    ]
    assert [message for message in expected if message not in output] == []
    assert len(expected) >= 15
    assert "No host was changed" in output
    assert "Traceback" not in output
    # The next task would have tried to reach them.
    assert "Contact the host" not in output and "UNREACHABLE" not in output


def test_a_warning_is_shown_and_stops_nothing(tmp_path: Path) -> None:
    wanted = small(worker_ramp=1)
    done = play(tmp_path, wanted, CHECK)
    assert done.returncode == 0, done.stdout + done.stderr
    text = " ".join((done.stdout + done.stderr).split())
    assert "CC902 warning: worker_ramp is a variable that no role of this collection reads" in text
    assert "CC114 warning: group celery_beat is empty" in text


def small(**variables: Any) -> dict[str, Any]:
    return inventory(
        {"one": {}, "two": {}},
        {
            "rabbitmq": group("one"),
            "postgresql": group("one"),
            "celery_source": group("one"),
            "celery_workers": group("two"),
        },
        **{"celery_app": "shop.celery:app", **variables},
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        # What waits for the facts of a host is nobody's mistake.
        ({"celery_workers": {"a": {"queues": ["celery"], "concurrency": "{{ ansible_facts.processor_vcpus }}"}}}, ""),
        ({"rabbitmq_open_files": "{{ ansible_facts.memtotal_mb }}"}, ""),
        ({"celery_vhost": "{{ celery_name }}/a", "code_python": "{{ celery_root }}/python"}, ""),
        ({"celery_root": "{{ 'a' | no_such_filter }}"}, "CC904 error: one: celery_root cannot be computed"),
        ({"celery_app": "{{ lookup('ansible.builtin.file', '/no/such/file') }}"}, "celery_app cannot be computed"),
    ],
)
def test_expressions_are_computed_before_the_facts_are_known(
    tmp_path: Path, variables: dict[str, Any], message: str
) -> None:
    done = play(tmp_path, small(**variables), CHECK)
    text = " ".join((done.stdout + done.stderr).split())
    assert (done.returncode == 0) == (message == ""), text
    assert message in text


def test_a_cluster_variable_that_differs_between_hosts_is_refused(tmp_path: Path) -> None:
    wanted = small()
    wanted["all"]["children"]["celery_workers"]["vars"] = {"celery_broker_port": 5672}
    done = play(tmp_path, wanted, CHECK)
    assert done.returncode == 2
    text = " ".join((done.stdout + done.stderr).split())
    assert "CC111 error: celery_broker_port is one thing on one and another on two" in text


def test_mistakes_about_the_broker_are_told_at_once(tmp_path: Path) -> None:
    wrong = {
        "CC116": {"celery_broker_name": "my_broker"},
        "CC117": {"rabbitmq_settings": {"listeners.tcp.default": 5672}},
        "CC311": {"celery_queue_type": "quorom"},
        "CC312": {"celery_delivery_limit": "0"},
        "CC313": {"celery_dead_letter_days": 365},
        "CC618": {"celery_broker_login": "cert"},
        "CC903": {"celery_broker_identities_per_host": "sometimes"},
    }
    variables: dict[str, Any] = {}
    for mistake in wrong.values():
        variables |= mistake
    done = play(tmp_path, small(**variables), CHECK)
    assert done.returncode == 2
    text = " ".join((done.stdout + done.stderr).split())
    told = {code: f"{code} error: {next(iter(mistake))}" for code, mistake in wrong.items()}
    assert [message for message in told.values() if message not in text] == []


def test_the_play_has_the_last_word(tmp_path: Path) -> None:
    check = CHECK.replace("  tasks:", "  vars: {celery_name: Play}\n  tasks:")
    done = play(tmp_path, small(celery_name="inventory"), check)
    assert done.returncode == 2
    assert "celery_name is 'Play'" in done.stdout + done.stderr


def test_mistakes_about_the_database_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n")
    wrong = {
        "CC122": {"postgresql_pooler": "session"},
        "CC518": {"celery_database_schemas": "public"},
        "CC613": {"celery_database_user": "u" * 60},
        "CC624": {"celery_database_login": "certificat"},
        "CC640": {"celery_database_ca_file": str(tmp_path / "key.pem")},
        "CC717": {"postgresql_backup_keep": 0},
        "CC903": {"postgresql_backup": "sometimes"},
    }
    variables: dict[str, Any] = {"postgresql_mode": "access", "postgresql_max_connections": 500}
    for mistake in wrong.values():
        variables |= mistake
    done = play(tmp_path, small(**variables), CHECK)
    assert done.returncode == 2
    text = " ".join((done.stdout + done.stderr).split())
    told = {code: f"{code} error: {next(iter(mistake))}" for code, mistake in wrong.items()}
    told["CC613"] = "CC613 error: celery_database_owner is 'uuu"
    told["CC123"] = "CC123 warning: postgresql_max_connections is set, and changes nothing"
    assert [message for message in told.values() if message not in text] == []
    assert "which holds a private key" in text and "write certificate" in text


def test_an_existing_database_with_an_authority_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    show = f"""{CHECK}
      register: found
    - name: Show the plan
      ansible.builtin.debug:
        msg: "{{{{ found.model | taskfleet.celery_cluster.plan(found.settings, found.budget)
          | taskfleet.celery_cluster.plan_text }}}}"
      run_once: true
"""
    values = {"postgresql_mode": "access", "celery_database_ca_file": str(tmp_path / "ca.pem")}
    wanted = small(**values, celery_database_login="certificate", celery_database_owner="keeper")
    done = play(tmp_path, wanted, show)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("existing server, database celery", "keeper", "by certificate", " cert "):
        assert words in done.stdout
    # Nothing is known of its room.
    assert "possible" not in done.stdout

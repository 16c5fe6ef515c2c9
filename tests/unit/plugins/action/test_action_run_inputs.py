"""What a run is made of, as the action reads it from Ansible's variables: everything counts, nothing is guessed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible_collections.taskfleet.celery_cluster.plugins.action import run_inputs
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils import inputs

CHECKOUT = Path(__file__).resolve().parents[4]
MODEL = {
    "release_hosts": ["w1"],
    "prepared_hosts": ["mq", "w1"],
    "brokers": ["mq"],
    "database": None,
    "flower": [],
    "beat_hosts": [],
    "source": None,
    "submitter": "mq",
    "workers": {},
    "worker_hosts": ["w1"],
    "consumer_timeout": 1800,
}


#: Reads one run per line and answers with the parts of each host. A process of its own: plugins are found only where
#: Ansible itself has loaded the collection.
WORKER = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([sys.argv[1]])
from ansible.parsing.dataloader import DataLoader
from ansible.template import trust_as_template
from ansible_collections.taskfleet.celery_cluster.plugins.action.run_inputs import Run, UnknownValueError
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.inputs import expand

class Hostvars:
    def __init__(self, raw):
        self.raw_get = raw.get

def trusted(value):
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    return trust_as_template(value) if isinstance(value, str) else value

loader = DataLoader()
for line in sys.stdin:
    wish = json.loads(line)
    raw = trusted(wish["raw"])
    variables = {**wish["play"], "hostvars": Hostvars(raw)}
    try:
        found = Run(loader, variables, raw).made_of(wish["tree"], {"database": "7"})
        answer = {host: expand(found["common"], found["hosts"], host) for host in raw}
    except (UnknownValueError, OSError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    folder = tmp_path_factory.mktemp("worker")
    environment = {**os.environ, "ANSIBLE_HOME": str(folder / "ansible"), "HOME": str(folder), "LANG": "C.UTF-8"}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(CHECKOUT / ".collections")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def made(tmp_path: Path, worker: subprocess.Popen[str]) -> Callable[..., Any]:
    """made(option=value) -> the parts of host w1, or what is wrong."""
    (tmp_path / "app.ini.j2").write_text("name = {{ celery_name }} {{ own | default('') }}\n")

    def run(
        host: str = "w1",
        tree: str = "t",
        facts: Any = None,
        groups: Any = None,
        check: bool = False,
        play: Any = None,
        **options: Any,
    ) -> Any:
        raw = {
            name: {
                "inventory_hostname": name,
                "inventory_dir": str(tmp_path),
                "ansible_facts": {"celery_cluster": MODEL, "distribution_major_version": "12", **(facts or {})},
                "celery_name": "shop",
                "celery_config_files": [{"src": str(tmp_path / "app.ini.j2"), "dest": "app.ini"}],
                "celery_secrets_directory": str(tmp_path / "secrets"),
                **options,
            }
            for name in ("mq", "w1")
        }
        variables = {
            "inventory_hostname": "mq",
            **(play or {}),
            "groups": groups or {"all": ["mq", "w1"]},
            "playbook_dir": str(tmp_path),
            "ansible_check_mode": check,
        }
        assert worker.stdin and worker.stdout
        worker.stdin.write(json.dumps({"raw": raw, "play": variables, "tree": tree}) + "\n")
        worker.stdin.flush()
        answer = json.loads(worker.stdout.readline())
        return answer.get("error") or answer[host]

    return run


def specs() -> dict[str, Any]:
    options: dict[str, Any] = {}
    for file in CHECKOUT.glob("roles/*/meta/argument_specs.yml"):
        for spec in yaml.safe_load(file.read_text())["argument_specs"].values():
            options.update(spec.get("options") or {})
    return options


def test_the_same_run_is_made_of_the_same(made) -> None:
    one = made()
    assert one == made()
    assert one == made(celery_receipt_hours=7)
    assert len(set(one.values())) > 50


def test_every_option_of_every_role_is_a_part(made) -> None:
    left_out = set(specs()) - set(made())
    assert {name for name in left_out if not name.startswith(("status_", "verify_"))} == inputs.NOT_COUNTED
    # Another file for the proof's report changes no host.
    assert "verify_report" in left_out and made() == made(verify_report="/var/tmp/another")


def test_every_option_changes_the_parts(made) -> None:
    before = made()
    strange = {name: ["another value"] for name in specs() if inputs.counts(name) and name not in FOR_THE_ACTION}
    after = made(**strange)
    assert [name for name in strange if before[name] == after[name]] == []


#: The action itself reads these.
FOR_THE_ACTION = {"celery_secrets_directory", "celery_config_files", *inputs.FILE_OPTIONS}


def test_what_the_play_sets_counts_for_all_hosts(made) -> None:
    one = made(celery_vhost="inventory")
    # As Ansible hands them to a task: the host's own and the defaults are among them.
    again = made(celery_vhost="inventory", play={"celery_vhost": "inventory", "celery_broker_port": 5671})
    assert one == again
    other = made(celery_vhost="inventory", play={"celery_vhost": "play"})
    assert inputs.differences(one, other) == ["celery_vhost has changed"]


def test_options_of_lists_of_dictionaries_count_to_their_ends(made) -> None:
    one = made(celery_workers={"a": {"queues": ["x"], "environment": {"A": "1"}}})
    other = made(celery_workers={"a": {"queues": ["x"], "environment": {"A": "2"}}})
    assert inputs.differences(one, other) == ["celery_workers has changed"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tree": "another"}, "the code has changed"),
        ({"facts": {"distribution_major_version": "13"}}, "what the host is has changed"),
        ({"facts": {"celery_cluster": {**MODEL, "flower": ["w1"]}}}, "the cluster has changed"),
        ({"groups": {"all": ["mq", "w1"], "big": ["w1"]}}, "the groups has changed"),
    ],
)
def test_what_is_no_option_counts_as_well(made, change: dict[str, Any], said: str) -> None:
    assert said in inputs.differences(made(), made(**change))


def test_a_rendered_file_counts_by_its_text(made, tmp_path: Path) -> None:
    before = made()
    text = f"the text of {tmp_path}/app.ini.j2"
    assert inputs.differences(before, made(own="")) == []
    # A variable that is no option of any role.
    assert inputs.differences(before, made(own="x")) == [f"{text} has changed"]
    (tmp_path / "app.ini.j2").write_text("name = {{ celery_name }}\n")
    assert inputs.differences(before, made()) == [f"{text} has changed"]
    # The broker's host gets no such file.
    assert text not in made(host="mq")


def test_what_cannot_be_rendered_is_not_guessed(made, tmp_path: Path) -> None:
    (tmp_path / "app.ini.j2").write_text("{{ nobody_knows_this }}")
    assert made() == f"w1: the text of {tmp_path}/app.ini.j2 cannot be computed"
    (tmp_path / "app.ini.j2").unlink()
    assert "cannot be computed" in made()


def test_what_cannot_be_computed_is_not_guessed_and_not_shown(made) -> None:
    said = made(celery_environment={"TOKEN": "hunter2{{ nobody_knows_this }}"})
    assert said == "mq: celery_environment cannot be computed"


def test_the_contents_of_files_that_options_name_count(made, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/own.pem").write_text("a")
    (tmp_path / "brought").mkdir()
    (tmp_path / "brought/w1.pem").write_text("a")
    options: dict[str, Any] = {
        "celery_extra_trust_anchors": ["own.pem"],
        "celery_database_ca_file": "own.pem",
        "certificates_files_directory": str(tmp_path / "brought"),
    }
    before = made(**options)
    (tmp_path / "files/own.pem").write_text("b")
    (tmp_path / "brought/w1.pem").write_text("b")
    assert inputs.differences(before, made(**options)) == [
        "what celery_database_ca_file names has changed",
        "what celery_extra_trust_anchors names has changed",
        "what certificates_files_directory names has changed",
    ]
    (tmp_path / "files/own.pem").unlink()
    (tmp_path / "brought/w1.pem").unlink()
    assert len(inputs.differences(before, made(**options))) == 3


def test_every_path_of_the_controller_is_accounted_for() -> None:
    """A new option of type path is either on the hosts, or its file's content counts, or there is a reason."""
    on_hosts = {
        "celery_root",
        "celery_state_directory",
        "code_python",
        "postgresql_backup_directory",
        "postgresql_socket_directory",
        "postgresql_tls_directory",
        "rabbitmq_tls_directory",
        "verify_record",
    }
    paths = {name for name, spec in specs().items() if spec.get("type") == "path" and inputs.counts(name)}
    accounted = on_hosts | set(inputs.FILE_OPTIONS) | set(inputs.OTHER_PATHS)
    assert paths - accounted == set()


def test_a_secret_that_is_gone_or_another_one_is_a_change(made, tmp_path: Path) -> None:
    made()
    before = made()
    assert made(check=True) == before
    kept = {path.name for path in (tmp_path / "secrets").iterdir()}
    # The options' generated passwords, and the key of the digests.
    assert {"release", "broker_worker", "database"} <= kept
    (tmp_path / "secrets/broker_worker").write_text("another\n")
    found = inputs.differences(before, made())
    assert found == [
        "celery_broker_worker_password has changed",
        "the file of celery_secrets_directory broker_worker has changed",
    ]
    (tmp_path / "secrets/release").unlink()
    # Another key: nothing is as it was.
    after = made()
    assert all(before[name] != after[name] for name in before if before[name] != "not set")


def test_every_role_says_what_it_owns() -> None:
    loader = DataLoader()
    names = run_inputs.owned_names(run_inputs.Documented(loader).computed)
    assert names == [
        f"__{role}_owned" for role in ("beat", "celery", "code", "flower", "postgresql", "rabbitmq", "worker")
    ]


RECEIPT = {"same": True, "inputs": {}, "reasons": []}
FINE = {"changed": False}
LOOKS = [{"result": "__node", "on": ["mq"], "what": "the node"}]


def unlike(node: Any, **hosts: Any) -> list[str]:
    raw = {
        name: {"receipt": receipt, "ansible_facts": {"celery_cluster": MODEL}}
        for name, receipt in {"mq": RECEIPT, "w1": RECEIPT, **hosts}.items()
    }
    raw["mq"]["__node"] = node
    return run_inputs._unlike(raw, "receipt", LOOKS)


def test_all_hosts_must_say_that_nothing_changed() -> None:
    assert unlike(FINE) == []
    assert unlike(FINE, w1={**RECEIPT, "same": False, "reasons": ["/x differs"]}) == ["w1: /x differs"]
    for nothing in (None, {}, {"failed": True}, {"skipped": True, "changed": False}):
        assert unlike(FINE, w1=nothing) == ["w1: could not be looked at"]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"changed": True}, "mq: the node would change"),
        ({"changed": False, "failed": True}, "mq: the node could not be looked at"),
        ({"changed": False, "skipped": True}, "mq: the node could not be looked at"),
        ({"changed": False, "unreachable": True}, "mq: the node could not be looked at"),
        ({}, "mq: the node could not be looked at"),
        (None, "mq: the node could not be looked at"),
    ],
)
def test_a_look_that_says_anything_else_is_a_reason(node: Any, said: str) -> None:
    assert unlike(node) == [said]


def test_a_host_that_is_not_of_this_run_is_not_asked() -> None:
    raw = {"mq": {"receipt": RECEIPT, "ansible_facts": {"celery_cluster": MODEL}, "__node": FINE}}
    assert run_inputs._unlike(raw, "receipt", LOOKS) == []
    # But the broker must have been asked.
    raw = {"w1": {"receipt": RECEIPT, "ansible_facts": {"celery_cluster": MODEL}}}
    assert run_inputs._unlike(raw, "receipt", LOOKS) == ["mq: the node could not be looked at"]


def test_receipts_of_another_run_are_told_by_what_differs() -> None:
    def differences(**kept: dict[str, str]) -> list[str]:
        facts = {"celery_cluster": MODEL}
        # An existing server alone on its host has no receipt, and needs none.
        raw = {
            name: {"receipt": {"inputs": kept_there}, "ansible_facts": facts}
            for name, kept_there in {**kept, "db": {}}.items()
        }
        return run_inputs._differences(raw, "receipt", {"common": {"a": "1", "b": "2"}, "hosts": {"w1": {"c": "3"}}})

    assert "db" not in MODEL["prepared_hosts"]
    assert differences(w1={"a": "1", "b": "2", "c": "3"}) == []
    assert differences(w1={"a": "1", "b": "9"}) == ["w1: b has changed", "w1: c has changed"]


def settled(model: dict[str, Any] | None = None, changed: tuple[str, ...] = (inputs.CLUSTER,), **same: bool) -> Any:
    now = {inputs.CLUSTER: "1", inputs.CONCERNS: "2", "celery_vhost": "3"}
    before = {name: "another" if name in changed else digest for name, digest in now.items()}
    raw = {
        name: {
            "receipt": {"same": same.get(name, True), "inputs": before},
            "ansible_facts": {"celery_cluster": {**MODEL, "worker_hosts": ["w1", "w2"], **(model or {})}},
        }
        for name in ("mq", "w1", "w2")
    }
    return run_inputs._settled(raw, "receipt", {"common": now, "hosts": {}})


def test_a_worker_that_nothing_concerns_is_settled() -> None:
    assert settled() == ["w1", "w2"]
    assert settled(changed=()) == ["w1", "w2"]
    assert settled(w1=False) == ["w2"]
    assert settled(model={"beat_hosts": ["w1"]}) == ["w2"]
    assert settled(changed=("celery_vhost",)) == settled(changed=(inputs.CLUSTER, inputs.CONCERNS)) == []


def test_nobody_is_settled_when_the_host_that_names_the_release_is_not_as_it_was() -> None:
    assert settled(mq=False) == []

"""The operator's guide: every command in it is executed by a test, under its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(CHECKOUT / "molecule" / "resources"))

import guide  # noqa: E402
from guide_claims import CLAIMS  # noqa: E402

PLAYBOOKS = {path.stem for path in (CHECKOUT / "playbooks").glob("*.yml")}
#: Written with the playbook, which another change brings.
EXECUTED = "molecule/operations/tests/test_guide.py"


def test_every_claim_is_a_command_of_the_guide() -> None:
    assert set(CLAIMS) <= set(guide.commands())


@pytest.mark.parametrize(("name", "path"), sorted(CLAIMS.items()))
def test_a_claimed_command_is_looked_up_by_the_test_that_claims_it(name: str, path: str) -> None:
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    assert any(f'guide.{verb}("{name}"' in text for verb in ("playbook", "command", "local")), (name, path)


def test_all_others_are_executed_in_the_scenario() -> None:
    text = (CHECKOUT / EXECUTED).read_text(encoding="utf-8")
    assert "[name for name in guide.commands() if name not in CLAIMS]" in text


@pytest.mark.parametrize("name", sorted(guide.commands()))
def test_a_command_is_of_a_kind_that_can_be_executed(name: str) -> None:
    words = guide.command(name)
    if words[0] == "ansible-playbook":
        assert words[1:3] == ["-i", "inventory"]
        assert words[3].startswith("taskfleet.celery_cluster.")
        assert words[3].rpartition(".")[2] in PLAYBOOKS | {"status"}
    elif words[0] == "ssh":
        assert words[1] in ("core1", "beat1", "beat2", "worker1", "worker2")
        assert len(words) == 3, "quote what the other host gets"
    else:
        assert words[0] in ("ansible", "ansible-vault", "cp", "mkdir", "mv", "printf")


def test_local_commands_name_the_inventory_and_the_container() -> None:
    containers = {"core1": "c-core1", "worker1": "c-worker1"}
    assert guide.local("make it so", "/tmp/i", containers) == [
        "ansible-playbook",
        "-i",
        "/tmp/i",
        "taskfleet.celery_cluster.site",
    ]
    assert guide.local("who consumes", "/tmp/i", containers) == [
        *("docker", "exec", "c-core1", "sh", "-c"),
        "sudo rabbitmqctl list_consumers -p ledger",
    ]


def test_a_word_in_capitals_is_filled_in() -> None:
    assert guide.playbook("roll back to a release", RELEASE="4f2c").arguments == ("-e", "release=4f2c")
    with pytest.raises(ValueError, match="is not a playbook"):
        guide.playbook("who consumes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```sh\nls\n```\n", "one command per line"),
        ("```\nls   # list\n```\n", "a block of no language"),
        ("```sh\nls   # list\nls -l   # list\n```\n", "the name of two commands"),
    ],
)
def test_what_cannot_be_executed_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        guide.parse(text)

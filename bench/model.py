"""Part `model`: the time to model 500 hosts. No host is contacted, and no container is made.

bench/model.py [--hosts 500] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / ".collections"))

import yaml  # type: ignore[import-untyped]
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.topology import build

import results
from common import CACHE, CHECKOUT, UserError, main, say
from process import logged, tail, termination_as_exit, tools_environment

#: So many of the hosts are brokers, database, application and beat.
OTHERS = 8
DIRECTORY = CACHE / "bench" / "model"
LOG = CACHE / "logs" / "bench-model.log"


def description(hosts: int) -> dict[str, Any]:
    """Three brokers, a database, an application host, two of beat, Flower, and workers of three kinds."""
    workers = [f"node{number:03d}" for number in range(1, hosts - OTHERS + 1)]
    groups = {
        "rabbitmq": ["mq1", "mq2", "mq3"],
        "postgresql": ["db1"],
        "celery_source": ["app1"],
        "celery_beat": ["beat1", "beat2"],
        "flower": ["flower1"],
        "celery_workers": workers,
        "big_memory": workers[: len(workers) // 10],
    }
    everyone = list(dict.fromkeys(name for members in groups.values() for name in members))
    variables = {
        "celery_name": "shop",
        "celery_app": "shop.celery:app",
        "celery_workers": {
            "default": {"queues": ["celery", "mail"], "concurrency": 2},
            "reports": {"queues": ["reports"], "concurrency": 1, "pool": "threads"},
            "video": {"queues": ["video"], "concurrency": 1, "hosts": "big_memory", "memory_max": "8G"},
        },
        "code_source_path": "/srv/shop",
        "postgresql_max_connections": 5000,
    }
    return {
        "all": {
            "vars": variables,
            "hosts": {name: {"celery_address": address(number)} for number, name in enumerate(everyone)},
            "children": {group: {"hosts": {name: {} for name in members}} for group, members in groups.items()},
        }
    }


def address(number: int) -> str:
    return f"10.20.{number // 250}.{number % 250 + 1}"


def defaults() -> dict[str, Any]:
    """The literal defaults of all roles, as the model's own reader knows them."""
    found: dict[str, Any] = {}
    for file in sorted((CHECKOUT / "roles").glob("*/defaults/main.yml")):
        found.update(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    return {name: value for name, value in found.items() if "{{" not in str(value)}


def calculated(content: dict[str, Any]) -> float:
    """Seconds of the function alone, with proof that it found a cluster."""
    described = content["all"]
    groups = {group: list(members["hosts"]) for group, members in described["children"].items()}
    settings = {**defaults(), "celery_vhost": "shop", **described["vars"]}
    own = frozenset(described["vars"])

    def match(pattern: str) -> list[str]:
        return groups.get(pattern, [])

    problems = Problems()
    begun = time.perf_counter()
    cluster = build(Inventory(groups, described["hosts"], settings, match, own), problems)
    seconds = time.perf_counter() - begun
    if cluster is None or len(cluster.hosts) != len(described["hosts"]):
        raise UserError(f"the generated inventory is refused: {'; '.join(map(str, problems.errors))}")
    return seconds


def planned() -> float:
    """Seconds of plan.yml: Ansible's own start, reading the inventory, the model, and the page."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    argv = ["ansible-playbook", "-i", str(DIRECTORY / "hosts.json"), "playbooks/plan.yml"]
    begun = time.monotonic()
    if logged([*argv, "-e", f"plan_page={DIRECTORY / 'plan.html'}"], LOG, env=tools_environment({"NO_COLOR": "1"})):
        raise UserError(f"plan.yml failed:\n{tail(LOG, 40)}")
    return time.monotonic() - begun


def benchmark(hosts: int, rounds: int) -> None:
    facts, content = results.machine(), description(hosts)
    LOG.unlink(missing_ok=True)
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    (DIRECTORY / "hosts.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    figures = {
        "plan.yml": [round(planned(), 3) for _round in range(rounds)],
        "the model alone": [round(calculated(content), 4) for _round in range(rounds)],
    }
    cases = [
        {"case": f"{hosts} hosts, {what}", "unit": "s", "figures": {"ours": values}, "goals": [], "note": ""}
        for what, values in figures.items()
    ]
    results.write("model", cases, facts)
    say(results.table(cases))


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with termination_as_exit():
        benchmark(given.hosts, given.rounds)


if __name__ == "__main__":
    main(command)

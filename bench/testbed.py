"""Containers for a part of the benchmark, and playbooks against them with a clock."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import containers
import images
from common import CACHE, CHECKOUT, LABEL, UserError, must
from process import logged, tail, tools_environment

RECIPE = CHECKOUT / "bench" / "image"
VARIANT = "-preinstalled"
# What the roles, the shell script and the conventional playbook install, whatever the job of the host.
PACKAGES = ["ca-certificates", "openssh-client", "openssh-server", "openssl", "python3", "python3-cryptography"]
PACKAGES += [
    "python3-packaging",
    "python3-venv",
    "python3-pip",
    "python3-psycopg2",
    "python3-requests",
    "rsync",
    "util-linux",
]
PACKAGES += ["postgresql-15", "postgresql-client", "rabbitmq-server", "nginx", "acl", "curl"]
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Cluster:
    """Containers of one label, and the inventory that describes them."""

    def __init__(self, name: str) -> None:
        self.label = f"bench-{name}"
        self.directory = CACHE / "bench" / name
        self.inventory = self.directory / "inventory"
        self.log = CACHE / "logs" / f"{self.label}.log"

    def container(self, host: str) -> str:
        return f"taskfleet-{self.label}-{host}"

    def begin(self) -> None:
        """Without anything that an interrupted run may have left."""
        self.down()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.inventory.mkdir(parents=True)

    def describe(self, inventory: Mapping[str, Any]) -> None:
        (self.inventory / "hosts.json").write_text(json.dumps(inventory, indent=1) + "\n", encoding="utf-8")

    def up(self) -> None:
        """The containers of the inventory that do not run yet."""
        self.play("molecule/resources/create.yml")

    def down(self) -> None:
        containers.remove(self.label)

    def play(
        self, playbook: str, *arguments: str, unchanged: bool = False, env: Mapping[str, str] | None = None
    ) -> float:
        """Seconds. unchanged: a run that changed something measured something else."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        # Also create.yml finds its label here.
        more = {"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "MOLECULE_SCENARIO_NAME": self.label, **(env or {})}
        argv = ["ansible-playbook", "-i", str(self.inventory), playbook, *arguments]
        seconds = self.logged(argv, env=tools_environment(more))
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(seen)
            changed = sum(int(match[2]) for match in RECAP.finditer(log.read()))
        if unchanged and changed:
            raise UserError(f"{playbook} changed {changed} things where nothing was to be changed: {self.log}")
        return seconds

    def logged(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> float:
        begun = time.monotonic()
        if logged(argv, self.log, env=env):
            raise UserError(f"{' '.join(argv)[:200]} failed; full output: {self.log}\n{tail(self.log, 40)}")
        return time.monotonic() - begun

    def on(self, host: str, *argv: str, given: Path | None = None) -> str:
        """The output of a command in a container; `given` is its input."""
        command = ["docker", "exec", "-i", self.container(host), *argv]
        if given is None:
            return must(command)
        with given.open("rb") as source:
            return must(command, stdin=source)


def preinstalled() -> None:
    """The image of hosts that have all packages: built on the test bed's, and again when that changes."""
    base = f"{images.REPOSITORY}:debian12"
    images.ensure(["debian12"])
    parts = [images.label_of(base) or "", *PACKAGES, (RECIPE / "Dockerfile").read_text(encoding="utf-8")]
    recipe, image = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16], base + VARIANT
    if images.label_of(image) == recipe:
        return
    arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"PACKAGES={' '.join(PACKAGES)}"]
    flags = [*arguments, "--label", f"{LABEL}.recipe={recipe}"]
    must(
        ["docker", "build", "--quiet", *flags, "--tag", image, str(RECIPE)], attempts=2, hint="is the mirror reachable?"
    )


def index_variables() -> dict[str, Any]:
    """Behind a proxy that ends TLS, the hosts need the authorities and the package index of this machine."""
    anchors = [os.environ.get(name) for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")]
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or ""
    return {"celery_extra_trust_anchors": [name for name in anchors if name][:1], "code_index_url": index}


def inventory(cluster: Cluster, groups: Mapping[str, Sequence[str]], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Hosts by group, in the form that Ansible reads from a file."""
    hosts = dict.fromkeys(host for members in groups.values() for host in members)
    return {
        "all": {
            "vars": {
                "ansible_connection": "community.docker.docker",
                "testbed_image": "debian12",
                "testbed_network": f"taskfleet-{cluster.label}",
                **index_variables(),
                **variables,
            },
            "hosts": {host: {"ansible_host": cluster.container(host)} for host in hosts},
            "children": {group: {"hosts": {host: {} for host in members}} for group, members in groups.items()},
        }
    }


def repeated(rounds: int, measure: Callable[[], float]) -> list[float]:
    return [measure() for _round in range(rounds)]

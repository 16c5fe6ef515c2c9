#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_status
short_description: How the services of a host are
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Reads, in one round trip, the services of the cluster on a host with their processes and memory, the releases, the
    certificates, the disks and the ports that are open to others. It changes nothing and judges nothing.
  - The only command it starts is C(systemctl show).
  - A host that does not answer does not fail the task. An action plugin on the controller returns RV(answered)
    instead, because of what a status has to tell this is a part.
options:
  patterns:
    description: Services to look at, names or patterns like V(shop-worker-*@*.service).
    type: list
    elements: str
    required: true
  root:
    description: The directory with the releases. Empty looks at none.
    type: str
    default: ""
  certificates:
    description: Files with certificates, or patterns of them. What is not there is left out.
    type: list
    elements: str
    default: []
  paths:
    description: Directories whose disks are looked at, together with the disks that are mounted below them.
    type: list
    elements: str
    default: []
  watched_ports:
    description:
      - Ports at which nothing may listen without TLS, whoever it is. All other ports count when a service that
        matches O(patterns) listens there.
    type: list
    elements: int
    default: []
  not_tls:
    description:
      - Beginnings of the names of services whose ports are not tried, because their protocol does not begin with TLS.
    type: list
    elements: str
    default: []
  broker_port:
    description: Port of the broker. The services' connections to it are returned.
    type: int
    default: 5671
  canary:
    description: File in which the last run of the playbook C(verify) left its results. Empty reads none.
    type: str
    default: ""
attributes:
  check_mode:
    description: The module never changes anything and runs in check mode as well.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Look at the workers of a host
  taskfleet.celery_cluster.host_status:
    patterns: [shop-worker-*@*.service]
    root: /opt/shop
    certificates: [/etc/shop-cluster/tls/cert.pem]
    paths: [/, /var/lib/shop]
  register: seen
"""

RETURN = r"""
answered:
  description: Whether the host could be looked at.
  returned: always
  type: bool
  sample: true
why:
  description: Why not. Empty when it could.
  returned: always
  type: str
  sample: ""
time:
  description: Time on the host, in seconds since the epoch.
  returned: when it answered
  type: float
  sample: 1795230000.5
units:
  description: The services that systemd knows, loaded or enabled.
  returned: when it answered
  type: list
  elements: dict
  sample: [{name: shop-worker-default@4f2c.service, active: active, sub: running, status: "1 queue, 0 active"}]
releases:
  description: The release that is switched on, and all that are kept.
  returned: when it answered
  type: dict
  sample: {current: 4f2c, kept: [1b9e, 4f2c]}
certificates:
  description: When the first certificate of each file ends, in seconds since the epoch, or why that is unknown.
  returned: when it answered
  type: list
  elements: dict
  sample: [{path: /etc/shop-cluster/tls/cert.pem, ends: 1826766000.0, error: ""}]
disks:
  description: How full the file systems are.
  returned: when it answered
  type: list
  elements: dict
  sample: [{path: /, percent: 41.5, inodes_percent: 8.0, free: 21474836480}]
listeners:
  description: What other hosts can reach, and whether it answers with TLS.
  returned: when it answered
  type: list
  elements: dict
  sample: [{address: "::", port: 5671, unit: rabbitmq-server.service, tls: true}]
canary:
  description: The results of the last run of C(verify). Null when there is none.
  returned: when it answered
  type: dict
  sample: {time: 1795220000.0, results: [{queue: celery, host: node1, seconds: 0.04, ok: true}]}
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import (
    status_host,
    status_ports,
    status_units,
)

UNIT_DIRECTORY = "/etc/systemd/system"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "patterns": {"type": "list", "elements": "str", "required": True},
            "root": {"type": "str", "default": ""},
            "certificates": {"type": "list", "elements": "str", "default": []},
            "paths": {"type": "list", "elements": "str", "default": []},
            "watched_ports": {"type": "list", "elements": "int", "default": []},
            "not_tls": {"type": "list", "elements": "str", "default": []},
            "broker_port": {"type": "int", "default": 5671},
            "canary": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    binary = module.get_bin_path("systemctl")
    if binary is None:
        module.fail_json(msg="systemctl is not on this host: its services cannot be seen")
    names = status_units.linked(UNIT_DIRECTORY, given["patterns"])
    # Fixed formats: what is read here must not depend on the locale or on a pager of the host.
    environment = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_URLIFY": "0"}
    command = [binary, *status_units.ARGUMENTS, *names, *given["patterns"]]
    rc, stdout, stderr = module.run_command(command, environ_update=environment, errors="backslashreplace")
    if rc:
        module.fail_json(msg=f"systemctl show failed: {(stderr or stdout).strip()[:400]}")
    now = time.monotonic()
    units = [status_units.unit(values, now) for values in status_units.blocks(stdout)]
    processes = status_units.processes(unit["name"] for unit in units)
    status_units.fill(units, processes)
    sockets, owners = status_ports.sockets(), status_ports.owners(processes)
    connections = status_ports.connections(sockets, owners, given["broker_port"])
    for unit in units:
        unit["connections"] = connections.get(unit["name"], [])
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="latin-1")
    module.exit_json(
        changed=False,
        answered=True,
        why="",
        time=time.time(),
        units=units,
        releases=status_host.releases(given["root"]) if given["root"] else {"current": "", "kept": []},
        certificates=status_host.certificates(given["certificates"]),
        disks=status_host.disks(status_host.mounts(given["paths"], mountinfo)),
        listeners=status_ports.listeners(sockets, owners, given["watched_ports"], given["not_tls"]),
        canary=status_host.canary(given["canary"]) if given["canary"] else None,
    )


if __name__ == "__main__":
    main()

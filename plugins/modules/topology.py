#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the topology action; the work is done on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: topology
short_description: Compute the model of the Celery cluster
description:
  - Reads the inventory's groups and the variables of all roles of this collection, and derives the whole cluster from
    them, or refuses it with every problem at once. Each problem has a code, which C(docs/problems.md) explains.
  - Runs on the controller and contacts no host.
  - The model is returned as the fact C(celery_cluster). It holds no secrets.
author:
  - The taskfleet developers (@taskfleet)
version_added: 0.1.0
options:
  complete:
    description:
      - Whether the facts of all hosts are gathered. Before that, an unknown address is no problem, and the fact is not
        set; but the names of the variables are judged, because no task has added its own yet.
    type: bool
    default: true
  without:
    description:
      - Hosts that are on their way out. The model is that of the inventory after they left it.
    type: list
    elements: str
    default: []
notes:
  - Variables that the play or the role call sets win over the inventory's, as they do for the roles.
  - A variable that differs between hosts is read from the first host its role runs on.
attributes:
  check_mode:
    description: The action only computes.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Check the inventory without contacting a host
  taskfleet.celery_cluster.topology:
    complete: false
  run_once: true

- name: Compute the cluster from the inventory and the gathered facts
  taskfleet.celery_cluster.topology:

- name: Compute it as it is once a host has left
  taskfleet.celery_cluster.topology:
    without: [node3]
"""

RETURN = r"""
ansible_facts:
  description: The fact C(celery_cluster), which is the model.
  returned: success, when O(complete=true)
  type: dict
  sample: {celery_cluster: {name: shop, brokers: [mq1], worker_hosts: [node1, node2]}}
model:
  description: The model.
  returned: success
  type: dict
settings:
  description: The variables that describe the links of the cluster, without secrets.
  returned: success
  type: dict
budget:
  description: Who needs how many connections of the database, and how many there are. Null without a managed database.
  returned: success
  type: dict
problems:
  description: Everything that is wrong, errors first.
  returned: always
  type: list
  elements: dict
  contains:
    code: {description: The stable code., type: str, sample: CC203}
    severity: {description: V(error) or V(warning)., type: str}
    host: {description: The host it is about; empty when it is about the cluster., type: str}
    place: {description: The variable and the path inside it., type: str, sample: celery_workers.video.pool}
    what: {description: What is wrong., type: str}
    instead: {description: What to write instead., type: str}
"""

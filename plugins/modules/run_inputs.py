#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the run_inputs action; the work is done on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_inputs
short_description: Say what a run is made of, and whether that is what the hosts' receipts say
version_added: 0.1.0
description:
  - Computes one digest for each thing on the controller that decides what the hosts get. These are the files of the
    collection, the version of Ansible, the model of the cluster, the groups, each option of each role as it is for a
    host, the files that options name, the application's rendered configuration files and the generated secrets.
  - A value that cannot be computed is never guessed. Then nothing is the same.
  - The digests have a key that stays on the controller, so that a receipt confirms no guess of a secret.
  - Runs on the controller, once for all hosts of the play, and contacts no host.
author:
  - The taskfleet developers (@taskfleet)
options:
  tree:
    description: The digest of the code. Empty when it was not read, because the receipts do not hold anyway.
    type: str
    required: true
  found:
    description: What only a run can find out, name to value. It may differ between the beginning and the end of one.
    type: dict
    default: {}
  receipts:
    description:
      - Name of the variable in which each host has the result of M(taskfleet.celery_cluster.host_facts).
      - Without it the digests are only computed.
    type: str
    default: ""
  looks:
    description: Other results that must say that nothing would change.
    type: list
    elements: dict
    default: []
    suboptions:
      result:
        description: Name of the variable in which a host has the result.
        type: str
      "on":
        description: The hosts that must have it.
        type: list
        elements: str
      what:
        description: What was looked at.
        type: str
  began:
    description: The C(common) and C(hosts) of an earlier task, to be compared with those of now.
    type: dict
    default: {}
  owned:
    description: Whether to say also what the roles own on each host.
    type: bool
    default: false
attributes:
  check_mode:
    description: The action only computes.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Say what the run is made of
  taskfleet.celery_cluster.run_inputs:
    tree: "{{ code.digest }}"
  run_once: true
  register: made_of
"""

RETURN = r"""
same:
  description: Whether nothing has changed. Never without O(receipts).
  returned: always
  type: bool
reasons:
  description: What has changed, or could not be looked at.
  returned: always
  type: list
  elements: str
settled:
  description:
    - Hosts that are as their receipts say, and that nothing of what has changed concerns. A further worker, for
      example, is none of the other workers' business.
    - Only of hosts that run workers and nothing else. Empty without O(receipts) or O(tree).
  returned: always
  type: list
  elements: str
common:
  description: Name to digest, of what is the same for all hosts.
  returned: when all values are known
  type: dict
hosts:
  description: Host to name to digest, of the rest.
  returned: when all values are known
  type: dict
moved:
  description: What changed since O(began) without the run's doing.
  returned: with O(began)
  type: list
  elements: str
owned:
  description: Host to what M(taskfleet.celery_cluster.host_receipt) takes as C(owned).
  returned: with O(owned=true)
  type: dict
"""

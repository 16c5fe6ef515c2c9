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
  - Derives the whole cluster from the inventory's groups and variables, or refuses it with every problem at once.
  - Runs on the controller and contacts no host.
  - The model is returned as the fact C(celery_cluster). It holds no secrets.
author:
  - The taskfleet developers (@taskfleet)
version_added: 0.1.0
options:
  name:
    description: Name of the cluster. It prefixes units, broker users and paths.
    type: str
    required: true
  app:
    description: What C(celery -A) takes.
    type: str
    required: true
  workers:
    description: Kinds of workers, name to options.
    type: dict
    required: true
  allowed_clients:
    description: Addresses or networks beyond the inventory that may log in to the database.
    type: list
    elements: str
    default: []
  result_backend_url:
    description: URL of an existing result backend. Needed when the group C(postgresql) is empty.
    type: str
    default: ""
attributes:
  check_mode:
    description: The action only computes.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Compute the cluster
  taskfleet.celery_cluster.topology:
    name: shop
    app: shop.celery:app
    workers:
      default: {queues: [celery, mail], concurrency: 4}
"""

RETURN = r"""
ansible_facts:
  description: The fact C(celery_cluster), which is the model.
  returned: success
  type: dict
  sample: {celery_cluster: {name: shop, brokers: [mq1], worker_hosts: [node1, node2]}}
"""

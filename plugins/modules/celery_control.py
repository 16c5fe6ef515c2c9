#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: celery_control
short_description: See and steer the Celery workers of a host
version_added: 0.1.0
description:
  - Talks to workers over the cluster's broker, with the application's own environment and the cluster's TLS. One
    process is started for a call, whatever it takes, because importing an application may take ten seconds.
  - Runs as root on a host of workers. With an empty list of nodes nothing is started.
  - A worker in a warm shutdown does not answer. What its unit says tells it from one that is dead.
author:
  - The taskfleet developers (@taskfleet)
requirements:
  - the command C(celery-run) of the role celery on the managed host
options:
  command:
    description:
      - Path of C(celery-run), which runs a command with a release's code and the cluster's environment.
    type: path
    required: true
  identity:
    description:
      - The identity whose environment and broker login are used. A producer may not talk to workers.
    type: str
    default: worker
  release:
    description:
      - The release whose code and packages are used. Without it, the current one.
    type: str
  nodes:
    description:
      - The workers to talk to.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The name of the worker as Celery knows it, V(default-4f2c@worker1).
        type: str
        required: true
      unit:
        description:
          - The service on this host that runs the worker, V(shop-worker-default@4f2c.service). It tells a worker that
            stops, starts or is busy from one that is dead. One whose service does not run is not asked.
          - Without it, a worker that does not answer is V(unknown), which fails everything but O(action=inspect).
        type: str
      queues:
        description:
          - The queues it shall consume again, for O(action=add_consumers) instead of O(queues).
        type: list
        elements: str
        default: []
  action:
    description:
      - V(inspect) tells what each worker is doing.
      - V(cancel_consumers) makes the workers take no more messages. What they have they finish. A worker that loses
        its broker and finds it again keeps to this; one that is restarted consumes again.
      - V(add_consumers) makes them consume queues again.
      - V(wait_idle) waits until the workers run, hold and plan no task and consume no queue. A worker that is
        stopping is idle when its process has ended. A broker that goes away meanwhile is waited for as well.
      - V(revoke) makes the workers ignore tasks that they have or will get. A revoked task that another worker gets is
        run there, so name all nodes that may. One that the pool has begun or, in a pool of threads, holds already, is
        run to its end.
    type: str
    choices: [inspect, cancel_consumers, add_consumers, wait_idle, revoke]
    default: inspect
  queues:
    description:
      - The queues to cancel or to add. Without it, O(action=cancel_consumers) means all that the workers consume.
    type: list
    elements: str
    default: []
  minimum_consumers:
    description:
      - With O(action=cancel_consumers), how many consumers each queue must keep as the broker counts them. Nothing is
        cancelled before that is so, and each is counted again before and after it is cancelled.
      - When it cannot be had within O(deadline), the call fails and the workers consume as before.
      - Two calls at the same moment see the same numbers, and the one that comes too late gives back what it
        cancelled. To exclude even that moment, run the task with C(throttle=1).
    type: int
    default: 0
  deadline:
    description:
      - Seconds to wait, for the workers to be idle, for enough consumers elsewhere, and for the answer of a worker
        whose service runs. O(action=inspect) and check mode do not wait.
    type: int
    default: 60
  must:
    description:
      - Whether O(action=wait_idle) fails when the workers are not idle after O(deadline).
    type: bool
    default: false
  task_ids:
    description:
      - The tasks that O(action=revoke) is about.
    type: list
    elements: str
    default: []
  terminate:
    description:
      - Whether O(action=revoke) also ends those that run already. The pools prefork, gevent and eventlet can
        do that.
    type: bool
    default: false
  signal:
    description:
      - How O(terminate) ends the process of a task.
    type: str
    choices: [SIGTERM, SIGINT, SIGUSR1, SIGQUIT, SIGKILL]
    default: SIGTERM
  timeout:
    description:
      - Seconds to wait for one reply of the workers.
    type: float
    default: 5
  startup_timeout:
    description:
      - Seconds that importing the application may take. The process is ended when it exceeds this and what the action
        may take.
    type: int
    default: 120
attributes:
  check_mode:
    description:
      - Reads the workers and the broker and reports what would change. It waits for nothing.
      - Workers that do not answer are no failure, because they may be those that an earlier task would have started.
    support: full
  diff_mode:
    description: What changes is returned as lists.
    support: none
notes:
  - A worker with the solo pool answers only between two tasks. While its service runs it is V(silent), not V(dead), and
    it gets until O(deadline) to answer.
  - Tasks that a rate limit holds back are told by no worker. They are not lost when it stops.
  - The arguments of tasks are neither returned nor logged, and passwords in messages are masked.
"""

EXAMPLES = r"""
- name: See what the workers of this host do
  taskfleet.celery_cluster.celery_control:
    command: /opt/shop/bin/celery-run
    nodes:
      - name: default-4f2c@worker1
        unit: shop-worker-default@4f2c.service
  register: workers

- name: Take no more messages, but leave at least one consumer on every queue
  taskfleet.celery_cluster.celery_control:
    command: /opt/shop/bin/celery-run
    action: cancel_consumers
    nodes:
      - name: default-4f2c@worker1
        unit: shop-worker-default@4f2c.service
    minimum_consumers: 1
    deadline: 300
  throttle: 1

- name: Wait an hour for the tasks that are still running
  taskfleet.celery_cluster.celery_control:
    command: /opt/shop/bin/celery-run
    action: wait_idle
    nodes:
      - name: default-4f2c@worker1
        unit: shop-worker-default@4f2c.service
    deadline: 3600
    must: true

- name: Bring them back
  taskfleet.celery_cluster.celery_control:
    command: /opt/shop/bin/celery-run
    action: add_consumers
    nodes:
      - name: default-4f2c@worker1
        unit: shop-worker-default@4f2c.service
        queues: [celery, mail]

- name: End a task that was sent by mistake
  taskfleet.celery_cluster.celery_control:
    command: /opt/shop/bin/celery-run
    action: revoke
    nodes:
      - name: default-4f2c@worker1
      - name: default-4f2c@worker2
    task_ids: [7d1e4f0c-0d0f-4c3c-8c53-b3a5c0ffee00]
    terminate: true
"""

RETURN = r"""
nodes:
  description: The nodes, in the order in which they were given.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name of the worker.
      type: str
    unit:
      description: Its service, or nothing.
      type: str
    unit_state:
      description: C(ActiveState) of the service, or nothing.
      type: str
    condition:
      description:
        - V(online) answers. V(stopping) is being stopped and may still run tasks. V(starting) does not answer yet.
        - V(silent) does not answer although its service runs, which a solo pool does while it runs a task. V(dead) has
          no process. V(unknown) does not answer and no service was given.
      type: str
    queues:
      description: The queues it consumes. Only of nodes that answered.
      type: list
      elements: str
    active:
      description: The tasks it runs. Only for O(action=inspect) and O(action=wait_idle).
      type: dict
      contains:
        count:
          description: How many.
          type: int
        tasks:
          description: The first hundred, each with C(id), C(name) and, when it runs, C(since).
          type: list
          elements: dict
    reserved:
      description: The tasks it holds and has not begun, like RV(nodes[].active).
      type: dict
    scheduled:
      description: The tasks it holds until their time comes, like RV(nodes[].active), each with C(eta).
      type: dict
  sample:
    - name: default-4f2c@worker1
      unit: shop-worker-default@4f2c.service
      unit_state: active
      condition: online
      queues: [celery, mail]
      active:
        count: 1
        tasks:
          - id: 7d1e4f0c-0d0f-4c3c-8c53-b3a5c0ffee00
            name: shop.report
            since: "2026-03-01T12:00:00Z"
      reserved: {count: 0, tasks: []}
      scheduled: {count: 0, tasks: []}
cancelled:
  description: What was cancelled, or would be in check mode.
  returned: action is cancel_consumers
  type: list
  elements: dict
  sample: [{node: default-4f2c@worker1, queue: mail}]
short:
  description:
    - The queues that did not have enough other consumers when they were last counted. Not empty in a failure, and in
      check mode.
  returned: action is cancel_consumers
  type: list
  elements: dict
  sample: [{queue: mail, consumers: 1, ours: 1, minimum: 1}]
added:
  description: What is consumed again, or would be in check mode.
  returned: action is add_consumers
  type: list
  elements: dict
  sample: [{node: default-4f2c@worker1, queue: mail}]
idle:
  description: Whether nothing was left in the end.
  returned: action is wait_idle
  type: bool
remaining:
  description:
    - What was left. The state is one of V(consuming), V(active), V(reserved), V(scheduled), V(silent), V(starting) and
      V(stopping).
  returned: action is wait_idle
  type: list
  elements: dict
  sample:
    - node: default-4f2c@worker1
      state: active
      id: 7d1e4f0c-0d0f-4c3c-8c53-b3a5c0ffee00
      name: shop.report
      since: "2026-03-01T12:00:00Z"
waited:
  description: Seconds that it took.
  returned: action is wait_idle
  type: float
revoked:
  description: Which node was told to ignore which task, whether it ran there at that moment, and whether it was ended.
  returned: action is revoke
  type: list
  elements: dict
  sample: [{node: default-4f2c@worker1, id: 7d1e4f0c-0d0f-4c3c-8c53-b3a5c0ffee00, running: true, terminated: true}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.control import (
    ACTIONS,
    ControlError,
    Node,
    Request,
    UnitState,
    parse_units,
    problems,
    settle,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.control_process import run_process


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "command": {"type": "path", "required": True},
            "identity": {"type": "str", "default": "worker"},
            "release": {"type": "str"},
            "nodes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "unit": {"type": "str"},
                    "queues": {"type": "list", "elements": "str", "default": []},
                },
            },
            "action": {"type": "str", "choices": list(ACTIONS), "default": "inspect"},
            "queues": {"type": "list", "elements": "str", "default": []},
            "minimum_consumers": {"type": "int", "default": 0},
            "deadline": {"type": "int", "default": 60},
            "must": {"type": "bool", "default": False},
            "task_ids": {"type": "list", "elements": "str", "default": []},
            "terminate": {"type": "bool", "default": False},
            "signal": {
                "type": "str",
                "choices": ["SIGTERM", "SIGINT", "SIGUSR1", "SIGQUIT", "SIGKILL"],
                "default": "SIGTERM",
            },
            "timeout": {"type": "float", "default": 5},
            "startup_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    given = module.params
    request = Request(
        action=given["action"],
        nodes=tuple(Node(node["name"], node["unit"] or "", tuple(node["queues"])) for node in given["nodes"]),
        command=given["command"],
        identity=given["identity"],
        release=given["release"] or "",
        queues=tuple(given["queues"]),
        minimum=given["minimum_consumers"],
        deadline=given["deadline"],
        must=given["must"],
        task_ids=tuple(given["task_ids"]),
        terminate=given["terminate"],
        signal=given["signal"],
        timeout=given["timeout"],
        startup_timeout=given["startup_timeout"],
        check=module.check_mode,
    )
    found = problems(request)
    if found:
        module.fail_json(msg="; ".join(found))

    def show(units: list[str]) -> dict[str, UnitState]:
        """Nothing where systemd does not run: then the workers' answers alone count."""
        binary = module.get_bin_path("systemctl")
        if binary is None:
            return {}
        command = [binary, "show", "--property=Id,LoadState,ActiveState,MainPID", "--", *units]
        rc, stdout, _stderr = module.run_command(command, environ_update={"LC_ALL": "C", "SYSTEMD_COLORS": "0"})
        return parse_units(stdout, units) if rc == 0 else {}

    try:
        result = settle(request, run_process, show)
    except ControlError as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()

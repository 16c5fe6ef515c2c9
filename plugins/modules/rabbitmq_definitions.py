#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_definitions
short_description: Bring what a RabbitMQ broker holds to a stated condition
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Vhosts, users, permissions, limits, policies, parameters, exchanges, queues and bindings of a broker, in one call.
  - Reads the definitions of the broker once over its management API and changes only what differs. With nothing to
    change that one request is all. More is asked only to remove a queue, an exchange or a vhost, or when RabbitMQ 3.10
    shall have a certain description or tags of a vhost.
  - Access is taken away first and given last. A vhost has its limits, exchanges, queues, bindings and policies before
    anybody is let in.
  - Compares passwords with the stored hash, so that an unchanged password is no change and needs no login.
  - What is not named is never touched, except what O(owner) is recorded to own. Of a named user, permissions, topic
    permissions and limits that are not listed are removed.
  - While it declares or deletes exchanges, queues and bindings, RabbitMQ wants O(username) to have permissions on the
    vhost. It is given them when it has not, and they are taken back, also after a failure.
  - The certificate of the broker is always verified. Proxies of the environment are not used.
notes:
  - Passwords in addresses, as federation and shovels have them in their parameters, are hidden in the output.
options:
  url:
    description: Address of the management API.
    type: str
    required: true
  ca_file:
    description: File with the certificate authorities that the broker's certificate is verified against.
    type: path
    required: true
  username:
    description:
      - User to log in as. It needs the tag C(administrator).
      - It is never removed.
    type: str
    required: true
  password:
    description: Password of O(username).
    type: str
    required: true
  owner:
    description:
      - Name under which the broker keeps, as the global parameter C(celery_cluster.owned.<owner>), the names of
        everything that these calls manage. What is recorded there and no longer named is removed; nothing else is.
      - What exists already and is named becomes recorded, and is from then on removed when it is no longer named.
      - What another owner has recorded, too, is not removed.
      - Empty, nothing is recorded and nothing removed, except what O(absent_users) and the named users imply.
    type: str
    default: ""
  vhosts:
    description:
      - Vhosts that must exist.
      - An owned one that is no longer named is removed when it has no queues, with everything else in it.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the vhost.
        type: str
        required: true
      description:
        description: Text for people. Without it, what is there stays.
        type: str
      tags:
        description: Tags of the vhost. Without it, what is there stays.
        type: list
        elements: str
      default_queue_type:
        description:
          - Type of the queues that are declared without one. Without it, what is there stays.
          - RabbitMQ 3.10 sets it only when it makes the vhost.
        type: str
        choices: [classic, quorum, stream]
      limits:
        description:
          - Upper limits, C(max-connections) and C(max-queues). V(0) allows none.
          - An owned limit that is no longer named is removed.
        type: dict
        default: {}
  users:
    description: Users that must exist, exactly as stated here.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password of the user. Only its hash is sent.
        type: str
      certificate:
        description:
          - Whether the user logs in by a certificate only. It then has no password, and one that it has is removed.
          - Exactly one of this and O(users[].password) is needed.
        type: bool
        default: false
      tags:
        description: Tags of the user, for example V(monitoring).
        type: list
        elements: str
        default: []
      permissions:
        description: The complete permissions of the user, at most one entry for each vhost.
        type: list
        elements: dict
        default: []
        suboptions:
          vhost:
            description: Vhost the permissions apply to.
            type: str
            required: true
          configure:
            description: Regular expression of the names the user may declare and delete.
            type: str
            required: true
          write:
            description: Regular expression of the names the user may write to.
            type: str
            required: true
          read:
            description: Regular expression of the names the user may read from.
            type: str
            required: true
      topic_permissions:
        description:
          - The complete topic permissions of the user, at most one entry for each exchange.
          - On an exchange without an entry every routing key is allowed that the permissions cover.
        type: list
        elements: dict
        default: []
        suboptions:
          vhost:
            description: Vhost of the exchange.
            type: str
            required: true
          exchange:
            description: Name of the topic exchange.
            type: str
            required: true
          write:
            description: Regular expression of the routing keys the user may publish with.
            type: str
            required: true
          read:
            description: Regular expression of the routing keys the user may bind with.
            type: str
            required: true
      limits:
        description:
          - All upper limits of the user, C(max-connections) and C(max-channels). V(0) allows none.
        type: dict
        default: {}
  absent_users:
    description: Users that must not exist, whoever made them.
    type: list
    elements: str
    default: []
  policies:
    description: Policies that must exist, exactly as stated here.
    type: list
    elements: dict
    default: []
    suboptions:
      vhost:
        description: Vhost of the policy.
        type: str
        required: true
      name:
        description: Name of the policy.
        type: str
        required: true
      pattern:
        description: Regular expression of the names the policy applies to.
        type: str
        required: true
      apply_to:
        description: What the policy applies to. Those for one type of queue need RabbitMQ 3.12.
        type: str
        choices: [all, exchanges, queues, classic_queues, quorum_queues, streams]
        default: all
      priority:
        description: Of several policies that match, the one with the highest priority applies.
        type: int
        default: 0
      definition:
        description: What the policy sets, for example C(delivery-limit).
        type: dict
        required: true
  parameters:
    description: Runtime parameters of plugins that must exist, for example of federation.
    type: list
    elements: dict
    default: []
    suboptions:
      vhost:
        description: Vhost of the parameter.
        type: str
        required: true
      component:
        description: What the parameter belongs to, for example V(federation-upstream).
        type: str
        required: true
      name:
        description: Name of the parameter.
        type: str
        required: true
      value:
        description: Value of the parameter.
        type: raw
        required: true
  global_parameters:
    description: Runtime parameters that belong to no vhost and must exist.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the parameter.
        type: str
        required: true
      value:
        description: Value of the parameter.
        type: raw
        required: true
  exchanges:
    description:
      - Exchanges that must exist. RabbitMQ cannot change one, so that one with other properties is an error.
      - An owned one that is no longer named is removed when nothing of others is bound to it.
    type: list
    elements: dict
    default: []
    suboptions:
      vhost:
        description: Vhost of the exchange.
        type: str
        required: true
      name:
        description: Name of the exchange.
        type: str
        required: true
      type:
        description: Type of the exchange; plugins add more than the four of RabbitMQ itself.
        type: str
        default: direct
      durable:
        description: Whether it is there after a restart of the broker.
        type: bool
        default: true
      auto_delete:
        description: Whether it goes with the last binding to it.
        type: bool
        default: false
      internal:
        description: Whether only other exchanges can send to it.
        type: bool
        default: false
      arguments:
        description: Arguments, for example C(alternate-exchange).
        type: dict
        default: {}
  queues:
    description:
      - Queues that must exist. RabbitMQ cannot change one, so that one with other properties is an error.
      - An owned one that is no longer named is removed when it is empty and has no consumers.
    type: list
    elements: dict
    default: []
    suboptions:
      vhost:
        description: Vhost of the queue.
        type: str
        required: true
      name:
        description: Name of the queue.
        type: str
        required: true
      durable:
        description: Whether it is there after a restart of the broker.
        type: bool
        default: true
      auto_delete:
        description: Whether it goes with its last consumer.
        type: bool
        default: false
      arguments:
        description:
          - Arguments, for example C(x-queue-type). Without a type, a queue that exists may have any, and a new one has
            the default of its vhost.
        type: dict
        default: {}
  bindings:
    description: Bindings that must exist.
    type: list
    elements: dict
    default: []
    suboptions:
      vhost:
        description: Vhost of both ends.
        type: str
        required: true
      source:
        description: Exchange the messages come from.
        type: str
        required: true
      destination:
        description: Queue or exchange the messages go to.
        type: str
        required: true
      destination_type:
        description: What O(bindings[].destination) is.
        type: str
        choices: [queue, exchange]
        default: queue
      routing_key:
        description: Routing key, or pattern of it for a topic exchange.
        type: str
        default: ""
      arguments:
        description: Arguments, for example what a headers exchange compares.
        type: dict
        default: {}
  timeout:
    description: Seconds to wait for the answer to one request.
    type: float
    default: 10
  server_name:
    description:
      - The name that the certificate of the broker must have. Without it, that is the host of O(url).
    type: str
    default: ""
  ready_timeout:
    description: Seconds to wait until the API answers at all, for example after a start of the broker.
    type: float
    default: 0
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns what changes, of passwords only that they change.
    support: full
"""

EXAMPLES = r"""
- name: Give the cluster its vhost and identities
  taskfleet.celery_cluster.rabbitmq_definitions:
    url: https://192.0.2.10:15671
    ca_file: /opt/celery/config/ca.pem
    username: celery-admin
    password: "{{ rabbitmq_admin_password }}"
    ready_timeout: 60
    owner: shop
    vhosts:
      - name: celery
        limits: {max-queues: 200}
    users:
      - name: celery-worker
        password: "{{ rabbitmq_worker_password }}"
        permissions:
          - vhost: celery
            configure: ^(video)$
            write: ^(video|amq\.default)$
            read: ^(video)$
      - name: celery-producer
        certificate: true
        permissions:
          - {vhost: celery, configure: ^$, write: ^(video)$, read: ^$}
    absent_users: [guest]
- name: Keep what could not be done
  taskfleet.celery_cluster.rabbitmq_definitions:
    url: https://192.0.2.10:15671
    ca_file: /opt/celery/config/ca.pem
    username: celery-admin
    password: "{{ rabbitmq_admin_password }}"
    owner: shop-dead-letters
    exchanges:
      - {vhost: celery, name: shop.dead, type: fanout}
    queues:
      - {vhost: celery, name: shop.dead, arguments: {x-queue-type: quorum}}
    bindings:
      - {vhost: celery, source: shop.dead, destination: shop.dead}
    policies:
      - vhost: celery
        name: shop-tasks
        pattern: ^(video)$
        apply_to: queues
        priority: 1
        definition: {dead-letter-exchange: shop.dead, delivery-limit: 20}
- name: Remove everything of an owner, except queues that hold messages
  taskfleet.celery_cluster.rabbitmq_definitions:
    url: https://192.0.2.10:15671
    ca_file: /opt/celery/config/ca.pem
    username: celery-admin
    password: "{{ rabbitmq_admin_password }}"
    owner: shop-dead-letters
  register: removal
  failed_when: removal is failed or removal.kept
"""

RETURN = r"""
operations:
  description: What was changed, or would be in check mode, in this order.
  returned: always
  type: list
  elements: str
  sample: [delete the user guest, create the vhost celery]
kept:
  description: What is owned and no longer named, but cannot be removed yet. It stays recorded for the next run.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the thing, as the options are called.
      type: str
      sample: queues
    name:
      description: Its name.
      type: str
      sample: queue video on vhost celery
    reason:
      description: Why it stays.
      type: str
      sample: it has 3 messages and 1 consumer
rabbitmq_version:
  description: Version of the broker.
  returned: success
  type: str
  sample: 3.10.8
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import (
    rabbitmq_apply,
    rabbitmq_describe,
    rabbitmq_survey,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_api import ApiError, ManagementApi
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_ownership import RecordError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_plan import leaving, plan
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_problems import conflicts, problems
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_requests import Operation
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_state import wanted_from

NAME = {"type": "str", "required": True}
OPTIONAL = {"type": "str"}
EMPTY = {"type": "dict", "default": {}}
YES = {"type": "bool", "default": True}
NO = {"type": "bool", "default": False}
VALUE = {"type": "raw", "required": True}


def entries(**options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


def choice(*choices: str, default: str) -> dict[str, Any]:
    return {"type": "str", "choices": list(choices), "default": default}


ARGUMENTS: dict[str, Any] = {
    "url": NAME,
    "ca_file": {"type": "path", "required": True},
    "username": NAME,
    "password": {"type": "str", "required": True, "no_log": True},
    "owner": {"type": "str", "default": ""},
    "vhosts": entries(
        name=NAME,
        description=OPTIONAL,
        tags={"type": "list", "elements": "str"},
        default_queue_type={"type": "str", "choices": ["classic", "quorum", "stream"]},
        limits=EMPTY,
    ),
    "users": entries(
        name=NAME,
        password={"type": "str", "no_log": True},
        certificate=NO,
        tags={"type": "list", "elements": "str", "default": []},
        permissions=entries(vhost=NAME, configure=NAME, write=NAME, read=NAME),
        topic_permissions=entries(vhost=NAME, exchange=NAME, write=NAME, read=NAME),
        limits=EMPTY,
    ),
    "absent_users": {"type": "list", "elements": "str", "default": []},
    "policies": entries(
        vhost=NAME,
        name=NAME,
        pattern=NAME,
        apply_to=choice("all", "exchanges", "queues", "classic_queues", "quorum_queues", "streams", default="all"),
        priority={"type": "int", "default": 0},
        definition={"type": "dict", "required": True},
    ),
    "parameters": entries(vhost=NAME, component=NAME, name=NAME, value=VALUE),
    "global_parameters": entries(name=NAME, value=VALUE),
    "exchanges": entries(
        vhost=NAME,
        name=NAME,
        type={"type": "str", "default": "direct"},
        durable=YES,
        auto_delete=NO,
        internal=NO,
        arguments=EMPTY,
    ),
    "queues": entries(vhost=NAME, name=NAME, durable=YES, auto_delete=NO, arguments=EMPTY),
    "bindings": entries(
        vhost=NAME,
        source=NAME,
        destination=NAME,
        destination_type=choice("queue", "exchange", default="queue"),
        routing_key={"type": "str", "default": "", "no_log": False},
        arguments=EMPTY,
    ),
    "timeout": {"type": "float", "default": 10},
    "server_name": {"type": "str", "default": ""},
    "ready_timeout": {"type": "float", "default": 0},
}


def run(module: AnsibleModule, done: list[Operation]) -> dict[str, Any]:
    """Read, compare, apply. What was applied is added to done at once: a failure must be able to tell it."""
    options = module.params
    for name in ("parameters", "global_parameters"):
        module.no_log_values.update(rabbitmq_describe.passwords_in([entry["value"] for entry in options[name]]))
    wanted, user = wanted_from(options), options["username"]
    if wrong := problems(options, wanted, user):
        raise ApiError("\n".join(wrong))
    login = (
        options[name] for name in ("url", "ca_file", "username", "password", "timeout", "ready_timeout", "server_name")
    )
    api = ManagementApi(*login)
    try:
        state = rabbitmq_survey.with_metadata(api, api.definitions(), wanted)
        if wrong := conflicts(state, wanted, leaving(state, wanted)):
            raise ApiError("\n".join(wrong))
        kept = rabbitmq_survey.kept(api, state, wanted, user)
        planned = plan(state, wanted, user, kept)
        operations = planned.operations
        if not module.check_mode:
            application = rabbitmq_apply.Application(api, state, wanted, planned, done)
            application.run()
            operations, kept = done, kept + application.kept
    finally:
        api.close()
    return {
        "changed": bool(operations),
        "operations": [operation.text for operation in operations],
        "kept": [item.told() for item in kept],
        "rabbitmq_version": state.version,
        "diff": rabbitmq_describe.diff(state, wanted, planned),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    done: list[Operation] = []
    try:
        result = run(module, done)
    except (ApiError, RecordError) as error:
        module.fail_json(msg=str(error), changed=bool(done), operations=[operation.text for operation in done])
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()

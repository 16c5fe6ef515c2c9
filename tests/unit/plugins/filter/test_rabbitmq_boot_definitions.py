"""The filter as templates call it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.taskfleet.celery_cluster.plugins.filter.rabbitmq import FilterModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_boot import boot_definitions

boot = FilterModule().filters()["rabbitmq_boot_definitions"]


def test_it_is_boot_definitions() -> None:
    value: dict[str, Any] = {
        "owner": "shop",
        "vhosts": [{"name": "v"}],
        "users": [{"name": "u", "password": "p"}],
        "policies": [{"vhost": "v", "name": "p", "pattern": "", "definition": {"max-length": 1}}],
        "queues": [{"vhost": "v", "name": "q"}],
    }
    assert boot(value) == boot_definitions(value)
    assert boot(value)["users"][0]["name"] == "u"
    assert boot(value)["policies"][0]["name"] == "p"
    assert "queues" not in boot(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "give a dictionary"),
        ({"users": []}, "give a dictionary"),
        ({"vhosts": [], "users": [], "policy": []}, "policy is none of vhosts, users, policies, owner"),
        ({"vhosts": [], "users": [{"name": "u"}]}, "'u' has no password"),
        ({"vhosts": [{}], "users": []}, "lacks 'name'"),
        ({"vhosts": [], "users": [{"name": "u", "password": ""}]}, "empty password"),
    ],
)
def test_wrong_input_is_an_error_of_the_filter(value: Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        boot(value)

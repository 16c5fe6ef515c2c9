"""Which refusals are tried from which host."""

from __future__ import annotations

from typing import Any

from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.probes import CHECKS
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.links import STRANGER, probes

LINKS = {
    "broker_port": 5671,
    "vhost": "shop",
    "user": "shop-worker",
    "database": "shop",
    "database_user": "shop",
    "database_port": 5432,
    "ca_file": "/ca.pem",
}

"""A cluster of five hosts on which nothing is wrong, as the three modules would tell of it. Tests break one thing."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.status import cluster_status

NOW = 1_795_230_000.0
DAY = 86400
MODEL: dict[str, Any] = {
    "name": "shop",
    "brokers": ["core1"],
    "broker_nodes": {"core1": "rabbit@core1"},
    "database": "core1",
    "database_mode": "managed",
    "database_pooler": "none",
    "database_connections": 16,
    "submitter": "core1",
    "beat": "beat1",
    "beat_hosts": ["beat1", "beat2"],
    "flower": ["core1"],
    "release_hosts": ["core1", "beat1", "beat2", "worker1", "worker2"],
    "workers": {
        "steady": {"queues": ["celery", "long"], "hosts": ["worker1", "worker2"]},
        "quick": {"queues": ["numbers"], "hosts": ["worker1", "worker2"]},
    },
    "queues": {
        queue: [{"worker": kind, "host": host} for host in ("worker1", "worker2")]
        for queue, kind in (("celery", "steady"), ("long", "steady"), ("numbers", "quick"))
    },
}


def unit(name: str, status: str = "", **other: Any) -> dict[str, Any]:
    return {
        "name": name,
        "load": "loaded",
        "active": "active",
        "sub": "running",
        "enabled": "enabled",
        "up": 5000.0,
        "restarts": 0,
        "status": status,
        "main": 100,
        "result": "success",
        "memory": 100 * 2**20,
        "memory_max": None,
        "watchdog": 0.0,
        "watchdog_age": None,
        "processes": 3,
        "stopped": [],
        "connections": [],
        **other,
    }


def worker(kind: str, host: str, queues: int) -> dict[str, Any]:
    port = 40000 + (kind == "quick")
    return unit(
        f"shop-worker-{kind}@4f2c.service",
        f"{queues} queue{'' if queues == 1 else 's'}, 1 active, release 4f2c",
        watchdog=120.0,
        watchdog_age=4.0,
        memory_max=2**30,
        connections=[[f"192.0.2.{host[-1]}", port]],
    )


def answer(*units: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "answered": True,
        "why": "",
        "time": NOW,
        "units": list(units),
        "releases": {"current": "4f2c", "kept": ["1b9e", "4f2c"]},
        "certificates": [{"path": "/etc/shop-cluster/tls/cert.pem", "ends": NOW + 300 * DAY, "error": ""}],
        "disks": [{"path": "/", "percent": 40.0, "inodes_percent": 5.0, "free": 2**34}],
        "listeners": [],
        "canary": None,
        **other,
    }


def queue(name: str, **other: Any) -> dict[str, Any]:
    rates = {"in_rate": 1.0, "out_rate": 1.0, "before": 2.0, "recent": 2.0, "window": 570.0}
    return {
        "name": name,
        "state": "running",
        "ready": 0,
        "unacknowledged": 2,
        "age": 0.0,
        "at_least": False,
        **rates,
        **other,
    }


class World:
    """hosts, brokers and databases may be changed before ``status`` is asked."""

    def __init__(self) -> None:
        results = [{"queue": name, "host": "worker1", "seconds": 0.05, "ok": True} for name in MODEL["queues"]]
        self.model = copy.deepcopy(MODEL)
        self.limits: dict[str, int] = {}
        self.hosts: dict[str, dict[str, Any]] = {
            "core1": answer(
                unit("rabbitmq-server.service"),
                unit("postgresql@15-main.service"),
                unit("shop-flower@4f2c.service"),
                listeners=[{"address": "::", "port": 5671, "unit": "rabbitmq-server.service", "tls": True}],
                canary={"time": NOW - 3600, "results": results},
            ),
            "beat1": answer(unit("shop-beat@4f2c.service", "active, last tick 1 s ago")),
            "beat2": answer(unit("shop-beat@4f2c.service", "standby, beat1 is active")),
        }
        for host in ("worker1", "worker2"):
            self.hosts[host] = answer(worker("steady", host, 2), worker("quick", host, 1))
        consumers = [
            {"queue": name, "host": f"192.0.2.{end}", "port": 40000 + (name == "numbers")}
            for name in MODEL["queues"]
            for end in (1, 2)
        ]
        self.broker: dict[str, Any] = {
            "answered": True,
            "why": "",
            "vhost": True,
            "queues": {name: queue(name) for name in (*MODEL["queues"], "shop.dead")},
            "consumers": consumers,
            "channels": [{"host": "192.0.2.1", "port": 40000, "unacknowledged": 5}],
            "plaintext": [],
            "members": ["rabbit@core1"],
            "running": ["rabbit@core1"],
            "alarms": [],
            "partitions": [],
        }
        self.broker["queues"]["shop.dead"]["unacknowledged"] = 0
        self.database: dict[str, Any] = {
            "answered": True,
            "why": "",
            "limit": 100,
            "reserved": 3,
            "used": 14,
            "ssl": True,
            "roles": {"shop": 12},
            "clients": [["192.0.2.1", 7], ["192.0.2.2", 5]],
            "plaintext": 0,
            "open_rules": [],
        }

    def unit(self, host: str, part: str) -> dict[str, Any]:
        return next(found for found in self.hosts[host]["units"] if part in found["name"])

    def status(self) -> dict[str, Any]:
        return cluster_status(
            self.model,
            {"celery_vhost": "shop"},
            self.hosts,
            {"core1": self.broker},
            {"core1": self.database},
            {"server": 16, "total": 16, "limit": 97},
            self.limits,
            ["inv/hosts.yml"],
        )

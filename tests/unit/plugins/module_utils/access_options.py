"""What every test of postgresql_access starts from: the options of the module for one cluster."""

from __future__ import annotations

from typing import Any


def access_options(**more: Any) -> dict[str, Any]:
    return {
        "cluster": "shop",
        "database": "shop",
        "schemas": ["public"],
        "owner": {"name": "shop_owner", "password": "owner-secret"},
        "user": {"name": "shop", "password": "user-secret", "login": "password"},
        "clients": [],
        "reject_others": True,
        "end_sessions": False,
        "pooler": False,
        "pooler_userlist": "",
        "connections": 0,
        "certificate_authority": "",
        "loaded_files": [],
        **more,
    }

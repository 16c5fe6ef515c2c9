# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections and access rules of the cluster's database: one script of psql that only reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from .pg_sql import array, literal

# A rule with a host name, or with samenet, is for others as well; a loopback address is for nobody else.
_SCRIPT = """
SELECT jsonb_build_object(
  'limit', current_setting('max_connections')::int,
  'reserved', current_setting('superuser_reserved_connections')::int
    + coalesce(current_setting('reserved_connections', true)::int, 0),
  'ssl', current_setting('ssl') = 'on',
  'used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
  'roles', (SELECT coalesce(jsonb_object_agg(usename, count), '{{}}') FROM (
    SELECT usename, count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND usename = ANY ({roles}) GROUP BY usename) AS counted),
  'clients', (SELECT coalesce(jsonb_agg(jsonb_build_array(address, count) ORDER BY count DESC, address), '[]') FROM (
    SELECT coalesce(host(client_addr), 'local') AS address, count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND usename = ANY ({roles}) GROUP BY 1) AS counted),
  'plaintext', (SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
    WHERE client_addr IS NOT NULL AND NOT client_addr <<= '127.0.0.0/8' AND client_addr <> '::1' AND NOT ssl
    AND usename = ANY ({roles})),
  'open_rules', (SELECT coalesce(jsonb_agg(jsonb_build_object('line', line_number, 'type', type,
      'address', coalesce(address, ''), 'method', auth_method) ORDER BY line_number), '[]')
    FROM pg_hba_file_rules WHERE type IN ('host', 'hostnossl') AND auth_method <> 'reject' AND error IS NULL
    AND coalesce(address, '') NOT LIKE '127.%' AND coalesce(address, '') NOT IN ('::1', 'localhost', 'samehost')
    AND ('all' = ANY (database) OR {database} = ANY (database)
      OR 'sameuser' = ANY (database) AND {database} = ANY ({roles}))
    AND (NOT {ours_only} OR 'all' = ANY (user_name) OR user_name && {roles}))
);
"""


def script(database: str, roles: Iterable[str], ours_only: bool = False) -> str:
    """ours_only: of a server of somebody else, only rules that name the cluster's roles, or all."""
    return _SCRIPT.format(
        database=literal(database), roles=array(roles), ours_only="true" if ours_only else "false"
    ).strip()


def parse(lines: Sequence[str]) -> dict[str, Any]:
    """What the script printed."""
    told = json.loads(lines[-1])
    return {
        "limit": int(told["limit"]),
        "reserved": int(told["reserved"]),
        "used": int(told["used"]),
        "ssl": bool(told["ssl"]),
        "roles": {str(role): int(count) for role, count in told["roles"].items()},
        "clients": [[str(address), int(count)] for address, count in told["clients"]],
        "plaintext": int(told["plaintext"]),
        "open_rules": list(told["open_rules"]),
    }

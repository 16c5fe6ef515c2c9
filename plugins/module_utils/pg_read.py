# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scripts that read a server: one for everything, one for the access rules alone."""

from __future__ import annotations

from .pg_sql import array, literal
from .pg_wanted import Wanted

OLDEST = 130000

# Whether there is anything more to ask. Every server since 9.6 and every role can answer.
_FIRST = """
SELECT current_setting('is_superuser'), current_setting('server_version_num'), pg_is_in_recovery();
SELECT current_setting('is_superuser') = 'on' AND current_setting('server_version_num')::int >= {oldest}
  AND NOT pg_is_in_recovery() AS usable \\gset
\\if :usable
"""

# The view hides the order; its function tells it. A rule with an error has no number on 16 and later.
_HBA = """jsonb_build_object(
    'file', current_setting('hba_file'),
    'text', encode(pg_read_binary_file(current_setting('hba_file')), 'base64'),
    'rules', (SELECT jsonb_agg(to_jsonb(rule) ORDER BY ordinality) FROM pg_hba_file_rules() WITH ORDINALITY AS rule),
    'loaded', extract(epoch FROM pg_conf_load_time()))"""

_SERVER = """
WITH role AS (
  SELECT *, shobj_description(oid, 'pg_authid') AS comment FROM pg_authid
), ours AS (
  SELECT (SELECT oid FROM role WHERE rolname = {user}) AS "user"
)
SELECT jsonb_build_object(
  'settings', (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name IN
    ('max_connections', 'superuser_reserved_connections', 'reserved_connections', 'ssl', 'ssl_ca_file')),
  'system', (SELECT system_identifier::text FROM pg_control_system()),
  'hba', {hba},
  'authorities', CASE WHEN {certificate} AND current_setting('ssl_ca_file') <> '' THEN
    encode(pg_read_binary_file(current_setting('ssl_ca_file'), 0, 16777216, true), 'base64') END,
  'roles', (SELECT jsonb_agg(jsonb_build_object(
      'name', rolname, 'comment', comment, 'limit', rolconnlimit,
      'superuser', rolsuper, 'createdb', rolcreatedb, 'createrole', rolcreaterole, 'replication', rolreplication,
      'bypassrls', rolbypassrls, 'login', rolcanlogin, 'expired', coalesce(rolvaliduntil <= now(), false),
      'password', rolpassword,
      'becomes_superuser', EXISTS (SELECT FROM pg_roles AS top WHERE top.rolsuper AND NOT role.rolsuper
        AND pg_has_role(role.oid, top.oid, 'MEMBER')),
      'groups', (SELECT jsonb_agg(rolname) FROM pg_roles AS member_of WHERE member_of.oid <> role.oid
        AND pg_has_role(role.oid, member_of.oid, 'MEMBER')),
      'memberships', (SELECT jsonb_agg(jsonb_build_array(pg_get_userbyid(roleid), pg_get_userbyid(grantor))
        ORDER BY pg_get_userbyid(roleid), pg_get_userbyid(grantor)) FROM pg_auth_members WHERE member = role.oid)))
    FROM role WHERE rolname = ANY ({roles})),
  'marked', (SELECT jsonb_agg(rolname ORDER BY rolname) FROM role WHERE comment = {mark}),
  'database', (SELECT jsonb_build_object(
      'oid', oid::text, 'owner', pg_get_userbyid(datdba), 'limit', datconnlimit, 'connectable', datallowconn,
      'comment', shobj_description(oid, 'pg_database'),
      'public', (SELECT jsonb_agg(privilege_type ORDER BY privilege_type)
        FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0),
      'user', (SELECT jsonb_agg(privilege_type ORDER BY privilege_type)
        FROM aclexplode(datacl), ours WHERE grantee = ours."user"),
      'user_connects', (SELECT coalesce(has_database_privilege(ours."user", pg_database.oid, 'CONNECT'), false)
        OR EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))
          WHERE grantee = 0 AND privilege_type = 'CONNECT') FROM ours))
    FROM pg_database WHERE datname = {database}),
  'others', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
    AND pid <> pg_backend_pid() AND usename <> ALL ({roles}))
);
{sessions}
SELECT EXISTS (SELECT FROM pg_database WHERE datname = {database} AND datallowconn) AS there \\gset
\\if :there
\\c -reuse-previous=on :target
{inside}
\\endif
\\endif
"""

# Sessions over the network; those over the socket have no address.
_SESSIONS = """
SELECT coalesce(jsonb_agg(jsonb_build_object('pid', pid, 'started', backend_start::text, 'role', usename,
    'address', host(client_addr), 'ssl', coalesce(ssl, false)) ORDER BY pid), '[]')
  FROM pg_stat_activity LEFT JOIN pg_stat_ssl USING (pid)
  WHERE backend_type = 'client backend' AND client_addr IS NOT NULL AND datname = {database}
    AND usename = ANY ({roles});
"""

_IDENTIFIER = "SELECT oid FROM pg_database WHERE datname = {database};"

# Of roles of ours only grants to themselves and to PUBLIC count: what they may for another reason (as superusers, by a
# membership) is about to be taken from them. Of other roles it counts whatever the reason.
_INSIDE = """
WITH ours AS (
  SELECT (SELECT oid FROM pg_authid WHERE rolname = {owner}) AS "owner",
    (SELECT oid FROM pg_authid WHERE rolname = {user}) AS "user",
    EXISTS (SELECT FROM pg_authid WHERE rolname = {owner} AND shobj_description(oid, 'pg_authid') = {mark})
      AS owner_is_ours,
    EXISTS (SELECT FROM pg_authid WHERE rolname = {user} AND shobj_description(oid, 'pg_authid') = {mark})
      AS user_is_ours
), schema AS (
  SELECT oid, nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner)) AS acl
    FROM pg_namespace WHERE nspname = ANY ({schemas})
), needed (kinds, kind, privilege) AS (VALUES
  ('{{r,p,v,m,f}}'::"char"[], 'r'::"char", 'SELECT'), ('{{r,p,v,m,f}}', 'r', 'INSERT'),
  ('{{r,p,v,m,f}}', 'r', 'UPDATE'), ('{{r,p,v,m,f}}', 'r', 'DELETE'), ('{{S}}', 'S', 'USAGE'), ('{{S}}', 'S', 'SELECT')
)
SELECT jsonb_build_object(
  'schemas', (SELECT jsonb_agg(jsonb_build_object(
      'name', nspname, 'owner', pg_get_userbyid(nspowner),
      'owner_creates', coalesce(CASE WHEN owner_is_ours AND nspowner <> ours."owner"
          AND pg_get_userbyid(nspowner) <> 'pg_database_owner'
        THEN (SELECT count(DISTINCT privilege_type) = 2 FROM aclexplode(acl)
          WHERE grantee IN (0, ours."owner") AND privilege_type IN ('CREATE', 'USAGE'))
        ELSE has_schema_privilege(ours."owner", schema.oid, 'CREATE')
          AND has_schema_privilege(ours."owner", schema.oid, 'USAGE') END, false),
      'user_uses', EXISTS (SELECT FROM aclexplode(acl) WHERE grantee IN (0, ours."user") AND privilege_type = 'USAGE')
        OR NOT user_is_ours AND coalesce(has_schema_privilege(ours."user", schema.oid, 'USAGE'), false),
      'public_creates', EXISTS (SELECT FROM aclexplode(acl) WHERE grantee = 0 AND privilege_type = 'CREATE'),
      'user_creates', EXISTS (SELECT FROM aclexplode(acl) WHERE grantee = ours."user" AND privilege_type = 'CREATE')
    ) ORDER BY nspname) FROM schema, ours),
  'things', (SELECT jsonb_agg(jsonb_build_array(kind, nspname, relname, missing) ORDER BY kind, nspname, relname)
    FROM (SELECT kind, nspname, relname, jsonb_agg(privilege ORDER BY privilege) AS missing
      FROM ours, schema JOIN pg_class ON relnamespace = schema.oid JOIN needed ON relkind = ANY (kinds)
      WHERE relowner = ours."owner" AND nspname = ANY ({asked}) AND NOT EXISTS (
          SELECT FROM aclexplode(relacl) WHERE grantee IN (0, ours."user") AND privilege_type = privilege)
        AND (user_is_ours OR NOT coalesce(CASE kind
          WHEN 'S' THEN has_sequence_privilege(ours."user", pg_class.oid, privilege)
          ELSE has_table_privilege(ours."user", pg_class.oid, privilege) END, false))
      GROUP BY kind, nspname, relname) AS found),
  'defaults', (SELECT jsonb_agg(jsonb_build_array(kind, nspname, missing) ORDER BY kind, nspname)
    FROM (SELECT kind, nspname, jsonb_agg(privilege ORDER BY privilege) AS missing
      FROM ours, schema, needed
      WHERE nspname = ANY ({asked}) AND NOT EXISTS (
        SELECT FROM pg_default_acl, aclexplode(defaclacl) WHERE defaclrole = ours."owner"
          AND defaclnamespace IN (0, schema.oid) AND defaclobjtype = kind AND grantee IN (0, ours."user")
          AND privilege_type = privilege)
      GROUP BY kind, nspname) AS found)
);
"""


def everything(wanted: Wanted) -> str:
    """What prints the first line, the server, the sessions, and the inside of the database when it is there."""
    roles, database = array(wanted.roles), literal(wanted.database)
    inside = _INSIDE.format(
        owner=literal(wanted.owner),
        user=literal(wanted.user),
        mark=literal(wanted.mark),
        schemas=array({*wanted.schemas, "public"}),
        asked=array(wanted.schemas),
    )
    script = _FIRST.format(oldest=OLDEST) + _SERVER.format(
        user=literal(wanted.user),
        roles=roles,
        mark=literal(wanted.mark),
        database=database,
        hba=_HBA,
        certificate="true" if wanted.certificate else "false",
        sessions=sessions(wanted),
        inside=inside,
    )
    return f"\\set target {_psql_text(_psql_name(connection(wanted.database)))}\n{script}"


def access_rules() -> str:
    return f"SELECT {_HBA};"


def sessions(wanted: Wanted) -> str:
    return _SESSIONS.format(database=literal(wanted.database), roles=array(wanted.roles))


def identifier_of(database: str) -> str:
    return _IDENTIFIER.format(database=literal(database))


def connection(database: str) -> str:
    """A connection string that names only the database; by itself, a name may look like one."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def _psql_text(text: str) -> str:
    """A quoted argument of psql's own commands."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _psql_name(text: str) -> str:
    """What \\connect takes off again, after it has put the variable in."""
    return '"' + text.replace('"', '""') + '"'

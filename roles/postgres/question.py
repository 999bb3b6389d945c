"""The SQL that reads everything about a server: a line of JSON for each thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from roles.postgres.sql import ident, literal, literals

CLUSTER = "the cluster"
"""The part of the answer that is about all of the server; the others are `within DATABASE`."""

PENDING = "pending_restart AND source <> 'command line'"
"""Settings that only a restart brings into force. What an argument of the server says wins over the files after a restart, too."""
# Columns and functions that a server may not have yet are reached by way of JSON, or asked for by its version.
_FACTS = """
SELECT current_setting('server_version_num')::int >= 150000 AS from_15, current_setting('server_version_num')::int >= 160000 AS from_16 \\gset
SELECT json_build_object('server', json_build_object(
  'files', (SELECT coalesce(json_agg(json_build_object('name', coalesce(name, ''), 'value', setting, 'file', sourcefile,
    'line', sourceline, 'error', coalesce(error, '')) ORDER BY seqno), '[]') FROM pg_file_settings),
  'in force', (SELECT coalesce(json_agg(json_build_object('name', name, 'value', current_setting(name), 'file', coalesce(sourcefile, ''),
    'restart', context = 'postmaster') ORDER BY name), '[]') FROM pg_settings WHERE source = 'configuration file'),
  'pending', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE %PENDING%),
  'of all roles', (SELECT coalesce(json_agg(s ORDER BY s), '[]') FROM pg_db_role_setting, unnest(setconfig) s WHERE setdatabase = 0 AND setrole = 0),
  'checksums', current_setting('data_checksums'), 'ssl', current_setting('ssl'),
  'slots', (SELECT coalesce(json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_replication_slots),
  'prepared', (SELECT count(*) FROM pg_prepared_xacts),
  'tablespaces', (SELECT coalesce(json_agg(spcname ORDER BY spcname), '[]') FROM pg_tablespace WHERE spcname !~ '^pg_')));""".replace(
    "%PENDING%", PENDING
)
# From 15 on a role may be allowed to set what only a superuser could.
_PARAMETERS = """\\if :from_15
SELECT json_build_object('parameter', parname, 'role', CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END)
FROM pg_parameter_acl, aclexplode(paracl) WHERE grantee <> 10 ORDER BY parname;
SELECT json_build_object('sorted', datname, 'by', datcollversion, 'offered', pg_database_collation_actual_version(oid))
FROM pg_database WHERE datallowconn AND datcollversion IS NOT NULL AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) ORDER BY datname;
\\endif"""
_USERS = """SELECT json_build_object('user', rolname, 'stored', coalesce(rolpassword, ''), 'member of', (
  SELECT coalesce(json_agg(json_build_object('of', g.rolname, 'by', pg_get_userbyid(grantor), 'admin', admin_option,
    'inherit', coalesce((to_jsonb(m)->>'inherit_option')::bool, r.rolinherit), 'set', coalesce((to_jsonb(m)->>'set_option')::bool, true))
    ORDER BY g.rolname), '[]') FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid
), 'uses', (SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid = r.oid),
'expires', rolvaliduntil IS NOT NULL AND rolvaliduntil <> 'infinity', 'inherit', rolinherit, 'limit', rolconnlimit,
'settings', (SELECT coalesce(json_agg(json_build_object('in', datname, 'is', s) ORDER BY datname, s), '[]')
  FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) s WHERE setrole = r.oid),
'attributes', concat_ws(' ',
  CASE WHEN rolcanlogin THEN 'login' END, CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolcreatedb THEN 'createdb' END,
  CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolreplication THEN 'replication' END, CASE WHEN rolbypassrls THEN 'bypassrls' END))
FROM pg_authid r WHERE rolname = ANY ({users});"""
# Roles that may do what only a superuser should, or all that a user of ours may. A superuser is a member of everything.
_POWERS = """SELECT json_build_object('power', rolname, 'login', rolcanlogin, 'has', to_json(array_remove(ARRAY[CASE WHEN rolsuper THEN 'superuser' END,
  CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolreplication THEN 'replication' END, CASE WHEN rolbypassrls THEN 'bypassrls' END], NULL)),
'of', (SELECT coalesce(json_agg(g.rolname ORDER BY g.rolname), '[]') FROM pg_roles g WHERE NOT r.rolsuper AND g.oid <> r.oid AND pg_has_role(r.oid, g.oid, 'MEMBER')))
FROM pg_roles r WHERE rolname !~ '^pg_' ORDER BY rolname;"""
_DATABASES = """SELECT json_build_object('database', datname, 'owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
  'locale', datcollate, 'allows', datallowconn, 'limit', datconnlimit, 'template', datistemplate,
  'public', (SELECT coalesce(json_agg(privilege_type ORDER BY privilege_type), '[]') FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0),
  'its owner', (SELECT count(*) FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = datdba),
  'others', (SELECT coalesce(json_agg(DISTINCT pg_get_userbyid(grantee)), '[]') FROM aclexplode(datacl) WHERE grantee NOT IN (0, datdba)),
  'settings', (SELECT coalesce(json_agg(s ORDER BY s), '[]') FROM pg_db_role_setting, unnest(setconfig) s WHERE setdatabase = d.oid AND setrole = 0))
FROM pg_database d ORDER BY datname;"""
_WITHIN = """SELECT json_build_object('extension', extname, 'in', current_database(), 'version', extversion, 'offered', coalesce(default_version, ''))
FROM pg_extension LEFT JOIN pg_available_extensions ON name = extname;
SELECT json_build_object('inside', current_database(),
  'public may create', coalesce((SELECT has_schema_privilege('public', oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'), false),
  'event triggers', (SELECT coalesce(json_agg(evtname ORDER BY evtname), '[]') FROM pg_event_trigger e
    WHERE NOT EXISTS (SELECT FROM pg_depend p WHERE p.classid = 'pg_event_trigger'::regclass AND p.objid = e.oid AND p.deptype = 'e')),
  'default rights', (SELECT count(*) FROM pg_default_acl),
  'publications', (SELECT coalesce(json_agg(pubname ORDER BY pubname), '[]') FROM pg_publication),
  'subscriptions', (SELECT coalesce(json_agg(subname ORDER BY subname), '[]') FROM pg_subscription s JOIN pg_database b ON b.oid = subdbid WHERE datname = current_database()),
  'sorted', (SELECT coalesce(json_agg(c.oid::regcollation::text ORDER BY collname), '[]') FROM pg_collation c WHERE collversion <> pg_collation_actual_version(c.oid)
    AND (c.oid >= 16384 OR c.oid IN (SELECT unnest(indcollation) FROM pg_index WHERE indrelid >= 16384))));"""


def questions(users: Sequence[str], within: Sequence[str]) -> Iterator[str]:
    """The statements: the cluster first, then each database that is there and lets us in."""
    yield from (_FACTS, _PARAMETERS, _USERS.replace("{users}", literals(list(users))), _POWERS, _DATABASES)
    yield f"SELECT json_build_object('read', {literal(CLUSTER)});"
    for name in dict.fromkeys(within):
        read = f"SELECT json_build_object('read', {literal('within ' + name)});"
        yield f"""SELECT EXISTS (SELECT FROM pg_database WHERE datname = {literal(name)}) AS there,
  EXISTS (SELECT FROM pg_database WHERE datname = {literal(name)} AND datallowconn AND datconnlimit <> -2) AS open \\gset
\\if :open
\\connect {ident(name)}
{_WITHIN}
{read}
\\elif :there
SELECT json_build_object('shut', {literal(name)});
\\else
{read}
\\endif"""

"""Roles of a set: missing ones are made with all their properties; existing ones stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from worker.postgres import Connection, Row
from worker.properties import keep

QUERY = """
SELECT rolname AS name, rolpassword AS password, format('ALTER ROLE %I WITH %s %s %s %s %s %s %s CONNECTION LIMIT %s%s', rolname,
    CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END, CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
    CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
    CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
    CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, rolconnlimit,
    coalesce(' VALID UNTIL ' || quote_literal(rolvaliduntil), '')) AS attributes,
  ARRAY(SELECT jsonb_build_object('grant', format('GRANT %I TO %I', g.rolname, w.rolname) || CASE
      WHEN to_jsonb(m) ? 'set_option' THEN format(' WITH ADMIN %s, INHERIT %s, SET %s', admin_option::text,
        to_jsonb(m)->>'inherit_option', to_jsonb(m)->>'set_option')
      WHEN admin_option THEN ' WITH ADMIN OPTION' ELSE '' END,
      -- The role that initdb makes may grant everything, and may be called otherwise elsewhere.
      'by', CASE WHEN m.grantor <> 10 THEN (SELECT rolname FROM pg_authid WHERE oid = m.grantor) END)
    FROM pg_auth_members m JOIN pg_authid g ON g.oid = m.roleid JOIN pg_authid w ON w.oid = m.member
    WHERE r.oid IN (m.member, m.roleid) ORDER BY 1) AS memberships,
  shobj_description(r.oid, 'pg_authid') AS comment,
  (SELECT setconfig FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0) AS settings
FROM pg_authid r WHERE rolname !~ '^pg_' ORDER BY rolname
"""
COMPARED = ("attributes", "memberships", "comment", "settings")
"""Without passwords: the salt makes each verifier of the same password different."""


def missing(session: Connection, roles: Sequence[Row]) -> list[str]:
    """The roles that `merge` will make."""
    have = {row["name"] for row in session.execute(QUERY).fetchall()}
    return [role["name"] for role in roles if role["name"] not in have]


def differences(session: Connection, roles: Sequence[Row]) -> dict[str, list[str]]:
    """The existing roles that differ from the set, and in what; a restore leaves them as they are."""
    here = {row["name"]: row for row in session.execute(QUERY).fetchall()}
    differing = {
        role["name"]: [what for what in COMPARED if role.get(what) != here[role["name"]][what]]
        for role in roles
        if role["name"] in here
    }
    return {name: what for name, what in differing.items() if what}


def merge(session: Connection, roles: Sequence[Row]) -> list[str]:
    """Makes the missing roles with their passwords; gives what could not be set."""
    names, lacking = missing(session, roles), list[str]()
    new = [role for role in roles if role["name"] in names]
    with session.transaction():
        for role in new:
            session.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role["name"])))
            session.execute(role["attributes"])
            if role["password"]:
                statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
                session.execute(statement.format(sql.Identifier(role["name"]), sql.Literal(role["password"])))
        # A setting may name another role.
        for role in new:
            lacking += keep(session, role["settings"], sql.SQL("ALTER ROLE {}").format(sql.Identifier(role["name"])))
            if role.get("comment"):
                statement = sql.SQL("COMMENT ON ROLE {} IS {}")
                session.execute(statement.format(sql.Identifier(role["name"]), sql.Literal(role["comment"])))
        # In both directions: the groups of a new role, and its members.
        return lacking + _granted(session, [line for role in new for line in role["memberships"]])


def _granted(session: Connection, memberships: Sequence[Row]) -> list[str]:
    """Grants each membership as its former grantor, once that role may grant it; else as the superuser, which is reported."""
    pending = sorted({(membership["by"] or "", membership["grant"]) for membership in memberships})
    while pending:
        late = [line for line in pending if not _grant(session, line[1], line[0])]
        if len(late) == len(pending):
            break
        pending = late
    for _, grant in pending:
        session.execute(grant)
    return [f"{grant}: now by {session.info.user}, as {by} may not grant it here" for by, grant in pending]


def _grant(session: Connection, grant: str, by: str) -> bool:
    statement = sql.SQL(grant)
    try:
        with session.transaction():
            session.execute(sql.SQL("{} GRANTED BY {}").format(statement, sql.Identifier(by)) if by else statement)
    except psycopg.Error:
        return False
    return True

"""Roles of a set: those that are missing are made with all that belongs to them; those that are there stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from worker.postgres import Connection, Row
from worker.properties import keep

FOUND = """
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
"""Not passwords: a verifier has a salt of its own, so the same password is another one elsewhere."""


def missing(session: Connection, roles: Sequence[Row]) -> list[str]:
    """Those that `merge` will make."""
    have = {one["name"] for one in session.execute(FOUND).fetchall()}
    return [one["name"] for one in roles if one["name"] not in have]


def differences(session: Connection, roles: Sequence[Row]) -> dict[str, list[str]]:
    """The roles that are here and not as in the set, and in what; a restore leaves them as they are."""
    here = {one["name"]: one for one in session.execute(FOUND).fetchall()}
    found = {
        one["name"]: [what for what in COMPARED if one.get(what) != here[one["name"]][what]]
        for one in roles
        if one["name"] in here
    }
    return {name: what for name, what in found.items() if what}


def merge(session: Connection, roles: Sequence[Row]) -> list[str]:
    """Makes the roles that are missing, their passwords too; gives what of them could not be brought back."""
    names, said = missing(session, roles), list[str]()
    new = [one for one in roles if one["name"] in names]
    with session.transaction():
        for one in new:
            session.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(one["name"])))
            session.execute(one["attributes"])
            if one["password"]:
                words = sql.SQL("ALTER ROLE {} PASSWORD {}")
                session.execute(words.format(sql.Identifier(one["name"]), sql.Literal(one["password"])))
        # A setting may name another role.
        for one in new:
            said += keep(session, one["settings"], sql.SQL("ALTER ROLE {}").format(sql.Identifier(one["name"])))
            if one.get("comment"):
                words = sql.SQL("COMMENT ON ROLE {} IS {}")
                session.execute(words.format(sql.Identifier(one["name"]), sql.Literal(one["comment"])))
        # Those of which a new role is a member, and its own members.
        return said + _granted(session, [line for one in new for line in one["memberships"]])


def _granted(session: Connection, memberships: Sequence[Row]) -> list[str]:
    """Each by the role that had granted it, once that role may do so; else by the superuser, and that is told."""
    pending = sorted({(one["by"] or "", one["grant"]) for one in memberships})
    while pending:
        late = [one for one in pending if not _grant(session, one[1], one[0])]
        if len(late) == len(pending):
            break
        pending = late
    for _, grant in pending:
        session.execute(grant)
    return [f"{grant}: now by {session.info.user}, as {by} may not grant it here" for by, grant in pending]


def _grant(session: Connection, grant: str, by: str) -> bool:
    words = sql.SQL(grant)
    try:
        with session.transaction():
            session.execute(sql.SQL("{} GRANTED BY {}").format(words, sql.Identifier(by)) if by else words)
    except psycopg.Error:
        return False
    return True

"""Properties of a database that no dump holds: locale, owner, limit, rights, settings, comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from worker.postgres import Connection, Row

OUR_OWN = ("role", "session_authorization")
"""Settings that would change the role of the session."""


def create(session: Connection, name: str, like: Mapping[str, Any]) -> list[str]:
    """Makes an empty database with the encoding, locale, tablespace and owner of `like`; gives what could not be set."""
    clauses = [sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))]
    options = {"ENCODING": like["encoding"], "LC_COLLATE": like["collate"], "LC_CTYPE": like["ctype"]}
    if like["provider"] in ("i", "b"):
        options["LOCALE_PROVIDER"] = {"i": "icu", "b": "builtin"}[like["provider"]]
        options["ICU_LOCALE" if like["provider"] == "i" else "BUILTIN_LOCALE"] = like["locale"]
        options["ICU_RULES"] = like.get("rules")
    clauses += [sql.SQL("{} {}").format(sql.SQL(key), sql.Literal(value)) for key, value in options.items() if value]
    clauses.append(sql.SQL("OWNER {}").format(sql.Identifier(like["owner"])))
    place = like.get("tablespace") or "pg_default"
    is_here = bool(session.execute("SELECT FROM pg_tablespace WHERE spcname = %s", (place,)).fetchall())
    if is_here:
        clauses.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(place)))
    session.execute(sql.SQL(" ").join(clauses))
    return [] if is_here else [f"{name}: its tablespace {place} is not here, so it is in pg_default"]


def dress(session: Connection, name: str, like: Mapping[str, Any]) -> list[str]:
    """Sets the other properties of `like`; gives what could not be set."""
    database = sql.Identifier(name)
    with session.transaction():
        limit, template = sql.Literal(like["connections"]), sql.Literal(bool(like["template"]))
        session.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {} IS_TEMPLATE {}").format(database, limit, template)
        )
        session.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(like["comment"])))
        lacking = _rights(session, database, like) if like["has_rights"] else []
        # An extension such as postgis_topology may have set some during the load.
        session.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(database))
        for row in like["settings"]:
            begin = sql.SQL("ALTER DATABASE {}").format(database)
            if row["role"]:
                begin = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(row["role"]), database)
            lacking += keep(session, row["settings"], begin)
    return lacking


def _rights(session: Connection, database: sql.Identifier, like: Mapping[str, Any]) -> list[str]:
    """Grants each right as its former grantor, once that role may grant it: the owner's first."""
    for who in (sql.SQL("PUBLIC"), sql.Identifier(like["owner"])):
        session.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(database, who))
    pending = sorted(like["rights"], key=lambda grant: grant["by"] != like["owner"])
    while pending:
        late = [grant for grant in pending if not _right(session, database, grant)]
        if len(late) == len(pending):
            break
        pending = late
    return [
        f"{grant['right']} on {database.as_string(None)} to {grant['to']}: {grant['by']} may not grant it"
        for grant in pending
    ]


def _right(session: Connection, database: sql.Identifier, grant: Row) -> bool:
    to = sql.SQL("PUBLIC") if grant["to"] is None else sql.Identifier(grant["to"])
    option = sql.SQL(" WITH GRANT OPTION" if grant["grantable"] else "")
    right = sql.SQL(grant["right"])
    try:
        with session.transaction():
            session.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(grant["by"])))
            session.execute(sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(right, database, to, option))
            session.execute("SET LOCAL ROLE NONE")
    except psycopg.Error:
        return False
    return True


def keep(session: Connection, settings: Sequence[str] | None, begin: sql.Composed) -> list[str]:
    """Keeps settings in the server's own spelling: set in this session, saved from it, and reset.

    A setting that this server refuses does not stop the others.
    """
    lacking = []
    for name, _, value in (setting.partition("=") for setting in settings or ()):
        try:
            with session.transaction():
                _keep(session, name, value, begin)
        except psycopg.Error as error:
            lacking.append(f"{begin.as_string(None)} SET {name} is not taken here: {str(error).splitlines()[0]}")
    return lacking


def _keep(session: Connection, name: str, value: str, begin: sql.Composed) -> None:
    if name in OUR_OWN:
        session.execute(sql.SQL("{} SET {} TO {}").format(begin, sql.SQL(name), sql.Literal(value)))
        return
    session.execute("SELECT set_config(%s, %s, false)", (name, value))
    identifier = sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
    session.execute(sql.SQL("{} SET {} FROM CURRENT").format(begin, identifier))
    session.execute(sql.SQL("RESET {}").format(identifier))

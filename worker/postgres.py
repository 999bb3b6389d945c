"""PostgreSQL for backups: sessions, properties that a dump lacks, and the swap of names.

A rename is transactional, so several databases change their names together or not at all (measured: 7 ms; after a kill the
server has the old names). A dump without `-C` has no settings, rights and comments of the database.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from worker import obstacles
from worker.contract import REFUSED, RESTORE_FAILED, RESTORE_REFUSED
from worker.errors import Failed
from worker.quoting import on_host
from worker.secret_file import secret_in

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

DATABASES = """
SELECT d.oid::bigint AS oid, datname AS name, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding,
  datcollate AS collate, datctype AS ctype, to_jsonb(d)->>'datlocprovider' AS provider,
  coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale') AS locale, to_jsonb(d)->>'daticurules' AS rules,
  datconnlimit AS connections, (SELECT spcname FROM pg_tablespace t WHERE t.oid = dattablespace) AS tablespace,
  datistemplate AS template, datallowconn AS open, pg_database_size(d.oid) AS bytes, shobj_description(d.oid, 'pg_database') AS comment,
  datacl IS NOT NULL AS has_rights,
  coalesce((SELECT jsonb_agg(jsonb_build_object('to', CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
      'right', a.privilege_type, 'grantable', a.is_grantable, 'by', pg_get_userbyid(a.grantor)) ORDER BY a.ordinality)
    FROM aclexplode(datacl) WITH ORDINALITY a), '[]') AS rights,
  coalesce((SELECT jsonb_agg(jsonb_build_object('role', CASE WHEN setrole = 0 THEN NULL ELSE pg_get_userbyid(setrole) END,
      'settings', to_jsonb(setconfig)) ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid), '[]') AS settings
FROM pg_database d WHERE datname <> 'template0' ORDER BY datname
"""
# Sessions that keep a database from being renamed, dropped or closed. Without their queries, which may hold secrets.
HOLDERS = """
SELECT 'session ' || a.pid || ' of ' || a.usename || coalesce(' (' || nullif(a.application_name, '') || ')', '') || ', ' || a.state
    || ' since ' || to_char(coalesce(a.xact_start, a.backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC' AS who,
  a.pid AS pid, d.datname AS name
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_database d ON d.oid = l.objid
WHERE l.classid = 'pg_database'::regclass AND l.granted AND d.datname = ANY(%s) AND a.pid <> pg_backend_pid() ORDER BY 1
"""
LONGEST_NAME = 63
PATIENCE = 60
"""Seconds to wait for another session's lock."""
SWAP_PATIENCE = 20
"""The same within a swap, while clients cannot connect."""
WORKER = "stowage-backup"
# They override settings of the database and the role; and keep password verifiers out of the server's log.
OPTIONS = (
    "statement_timeout=0",
    "lock_timeout=0",
    "idle_in_transaction_session_timeout=0",
    "default_transaction_read_only=off",
    # Otherwise the session could have another role, or find other tables and functions.
    "role=none",
    "search_path=",
    "session_replication_role=origin",
    "log_statement=none",
    "log_min_duration_statement=-1",
    "log_min_error_statement=panic",
    # Its messages are parsed.
    "lc_messages=C",
)
SINCE = {17: ("event_triggers=off",)}
"""Settings that older servers lack. They keep event triggers from acting on the worker's sessions."""
# Servers without one of them need no setting.
NO_LIMIT = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('idle_session_timeout', 'transaction_timeout')"
)


def options(major: int) -> str:
    """The settings of the worker's own sessions, as libpq takes them."""
    newer = [option for version, added in SINCE.items() if major >= version for option in added]
    return " ".join(f"-c {option}" for option in (*OPTIONS, *newer))


@dataclass(frozen=True)
class Server:
    """The address of PostgreSQL on the stack's network, and the login of its superuser."""

    address: str
    port: int
    user: str
    password_file: str
    major: int

    def connect(self, database: str = "postgres", autocommit: bool = True) -> Connection:
        try:
            session = psycopg.connect(
                host=self.address,
                port=self.port,
                user=self.user,
                password=secret_in(self.password_file),
                dbname=database,
                autocommit=True,
                connect_timeout=10,
                application_name=WORKER,
                client_encoding="utf8",
                options=options(self.major),
                row_factory=dict_row,
            )
            session.execute(NO_LIMIT)
            if session.info.parameter_status("server_encoding") == "SQL_ASCII":
                # Names may be bytes of any encoding: read as Latin-1, so that they are written back unchanged.
                session.execute("SET client_encoding TO LATIN1")
            session.autocommit = autocommit
        except psycopg.OperationalError as error:
            raise Failed(REFUSED, "PostgreSQL does not let the worker in", str(error).strip(), "inv status") from None
        return session


def codec(encoding: str) -> str:
    """Python's name for the encoding of a database, in which PostgreSQL's tools print its names."""
    named = {"SQL_ASCII": "latin-1", "LATIN9": "iso8859-15", "LATIN10": "iso8859-16", "MULE_INTERNAL": "latin-1"}
    named |= {"KOI8R": "koi8-r", "KOI8U": "koi8-u"}
    try:
        return codecs.lookup(named.get(encoding, encoding.replace("WIN", "cp"))).name
    except LookupError:
        return "latin-1"


def databases(session: Connection) -> list[Row]:
    """All databases except template0, with the properties that no dump holds."""
    return session.execute(DATABASES).fetchall()


def drop(session: Connection, name: str) -> None:
    with limited(session, [name], PATIENCE):
        # PostgreSQL does not drop templates.
        if session.execute("SELECT FROM pg_database WHERE datname = %s AND datistemplate", (name,)).fetchall():
            session.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
        try:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        except psycopg.errors.ObjectInUse as error:
            raise obstacles.holding(session, name, error) from None


@contextmanager
def limited(session: Connection, names: Sequence[str], seconds: int) -> Iterator[None]:
    """Limits the wait for locks to so many seconds; the failure names the holder."""
    session.execute(f"SET lock_timeout = '{seconds}s'")
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        holders = session.execute(HOLDERS, (list(names),)).fetchall()
        raise Failed(
            RESTORE_FAILED,
            f"somebody holds a lock on {', '.join(holder['name'] for holder in holders) or names[0]}, for more than {seconds} s",
            "\n".join(holder["who"] for holder in holders) or "it is free again",
            "\n".join(_ended(session.info.user, holder["pid"]) for holder in holders) or "the same again",
        ) from None
    finally:
        with suppress(psycopg.Error):  # a broken connection has no settings
            session.execute("SET lock_timeout = 0")


def _ended(user: str, pid: int) -> str:
    """The command that ends a session."""
    return "on the host: " + on_host(user, f"SELECT pg_terminate_backend({pid})")


def oids(session: Connection) -> dict[str, int]:
    """The oids of databases by name; a name may change, an oid does not."""
    return {
        row["name"]: row["oid"]
        for row in session.execute("SELECT oid::bigint AS oid, datname AS name FROM pg_database").fetchall()
    }


def sessions(session: Connection, names: Sequence[str]) -> int:
    row = session.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = ANY(%s)", (list(names),)
    ).fetchone()
    return int(row["n"]) if row else 0


@contextmanager
def closed(session: Connection, names: Sequence[str]) -> Iterator[None]:
    """Closes these databases and ends their sessions; opens them again on failure."""
    try:
        empty(session, names)
        yield
    except BaseException:
        for name in names:
            open_for_all(session, name, True)
        raise


def empty(session: Connection, names: Sequence[str]) -> None:
    """Closes these databases and ends their sessions."""
    for name in names:
        open_for_all(session, name, False)
    session.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> pg_backend_pid()",
        (list(names),),
    )


def open_for_all(session: Connection, name: str, allowed: bool) -> None:
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with limited(session, [name], SWAP_PATIENCE):
        session.execute(statement.format(sql.Identifier(name), sql.Literal(allowed)))


def rename(session: Connection, pairs: Mapping[str, str]) -> None:
    """All renames in one transaction, in the order given."""
    with limited(session, list(pairs), SWAP_PATIENCE), session.transaction():
        for before, after in pairs.items():
            statement = sql.SQL("ALTER DATABASE {} RENAME TO {}")
            session.execute(statement.format(sql.Identifier(before), sql.Identifier(after)))


def beside(name: str, what: str, number: str) -> str:
    """The name of a database beside another. PostgreSQL cuts longer ones silently, and then two may collide."""
    full = f"{name}__{what}_{number}"
    if len(full.encode()) > LONGEST_NAME:
        raise Failed(
            RESTORE_REFUSED,
            f"the name {name} is too long to restore beside it",
            f"{full} has {len(full.encode())} bytes, PostgreSQL takes {LONGEST_NAME}",
            "restore it under another name: --database NAME --as SHORTER",
        )
    return full

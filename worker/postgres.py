"""PostgreSQL as a backup sees it: snapshots, what a dump does not hold, exact counts, and the swap of names.

Facts: a snapshot can be imported within its own database only, so there is one session for each; a rename is
transactional, so several databases change their names in one moment or not at all (measured: 7 ms, and a killed server
leaves the old names); settings, rights and comments of a database belong to it and are in no dump without `-C`.
"""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from worker import obstacles
from worker.contract import FAILED, REFUSED, RESTORE_FAILED, RESTORE_REFUSED
from worker.errors import Failed
from worker.quoting import on_host

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
# What a dump holds of a table: of one that belongs to an extension, the rows that the extension says. A materialised view is
# made anew by a restore, and may well have other rows than it had. Partitions are counted as the table that they belong to:
# the hash of an enum's value, or the order of a text, may be another in a restored database, and rows are in another partition.
TABLES = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, coalesce(x.condition, '') AS condition,
  s.nspname || '.' || r.relname AS counted
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class r ON r.oid = coalesce(pg_partition_root(c.oid), c.oid) JOIN pg_namespace s ON s.oid = r.relnamespace
  LEFT JOIN (SELECT unnest(extconfig) AS oid, unnest(extcondition) AS condition FROM pg_extension) x ON x.oid = c.oid
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (x.oid IS NOT NULL OR NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')) ORDER BY 1, 2
"""
# Partitions by a hash, or by a text whose order the system's locale decides.
MOVING = """
SELECT EXISTS (SELECT FROM pg_partitioned_table p WHERE partstrat = 'h'
  OR partstrat = 'r' AND EXISTS (SELECT FROM unnest(partcollation) c JOIN pg_collation l ON l.oid = c WHERE l.collname NOT IN ('C', 'POSIX'))
  OR EXISTS (SELECT FROM unnest(partcollation) c JOIN pg_collation l ON l.oid = c WHERE NOT l.collisdeterministic)) AS moving
"""
SEQUENCES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_sequence_last_value(c.oid) AS last_value
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
  AND (c.oid IN (SELECT unnest(extconfig) FROM pg_extension) OR NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')) ORDER BY 1
"""
# A table that is truncated or written anew gets another file at once, whatever a snapshot sees.
FILES = """
SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name, pg_relation_filenode(c.oid)::bigint AS file
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
LOCKED = """
SELECT count(DISTINCT relation) AS n FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.granted AND l.mode = 'AccessShareLock' AND l.relation::bigint = ANY(%s) AND a.datname = current_database()
  AND a.application_name = %s AND a.pid <> pg_backend_pid()
"""
# As pg_restore writes them: the name is an identifier within a string.
PLACES = re.compile(r"^SELECT pg_catalog\.setval\((E?)'((?:[^'\\]|''|\\.)*)', (-?\d+), (true|false)\);$", re.M | re.S)
# Who keeps a database from being renamed, dropped or closed. No text of a query: it may hold a secret.
HOLDERS = """
SELECT 'session ' || a.pid || ' of ' || a.usename || coalesce(' (' || nullif(a.application_name, '') || ')', '') || ', ' || a.state
    || ' since ' || to_char(coalesce(a.xact_start, a.backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC' AS who,
  a.pid AS pid, d.datname AS name
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_database d ON d.oid = l.objid
WHERE l.classid = 'pg_database'::regclass AND l.granted AND d.datname = ANY(%s) AND a.pid <> pg_backend_pid() ORDER BY 1
"""
LONGEST_NAME = 63
PATIENCE = 60
"""Seconds to wait for somebody's lock."""
SWAP_PATIENCE = 20
"""The same within a swap, while nobody can work."""
WORKER = "stowage-backup"
# Of more weight than what a database or a role is set to; and verifiers of passwords are not for the server's log.
OPTIONS = (
    "statement_timeout=0",
    "lock_timeout=0",
    "idle_in_transaction_session_timeout=0",
    "default_transaction_read_only=off",
    # Else the session would be somebody else's, or find other tables and functions.
    "role=none",
    "search_path=",
    "session_replication_role=origin",
    "log_statement=none",
    "log_min_duration_statement=-1",
    "log_min_error_statement=panic",
    # Its messages are read.
    "lc_messages=C",
)
SINCE = {17: ("event_triggers=off",)}
"""Settings that older servers do not know. A login or a table that the worker makes is nothing to be logged in a table."""
# Servers that do not know one of them have nothing to set.
NO_LIMIT = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('idle_session_timeout', 'transaction_timeout')"
)


def options(major: int) -> str:
    """The settings of the worker's own sessions, as libpq takes them."""
    newer = [one for version, some in SINCE.items() if major >= version for one in some]
    return " ".join(f"-c {one}" for one in (*OPTIONS, *newer))


@dataclass(frozen=True)
class Server:
    """Where PostgreSQL is on the stack's network, and how its superuser gets in."""

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
                password=Path(self.password_file).read_text().strip(),
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
                # Its names are bytes of any encoding: read so that each is a letter, and comes back as it was.
                session.execute("SET client_encoding TO LATIN1")
            session.autocommit = autocommit
        except psycopg.OperationalError as error:
            raise Failed(REFUSED, "PostgreSQL does not let the worker in", str(error).strip(), "inv status") from None
        return session


@dataclass
class Snapshot:
    """A database as it was at one moment, for as long as the session lives."""

    session: Connection
    name: str
    position: str
    files: Mapping[int, int]

    def contents(self, dumping: Callable[[], bool]) -> Row:
        """Locks are taken once pg_dump has its own: one who wants a table for himself must not come to stand between the two."""
        tables = self.session.execute(TABLES).fetchall()
        oids, pause = [one["oid"] for one in tables], 0.05
        until = time.monotonic() + PATIENCE + 15  # pg_dump gives up before
        while dumping() and time.monotonic() < until:
            held = self.session.execute(LOCKED, (oids, WORKER)).fetchone()
            if held and held["n"] >= len(oids):
                break
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        if not dumping():  # it has waited already, or is done
            self.session.execute("SET LOCAL lock_timeout = '5s'")
        names = sql.SQL(", ").join(sql.Identifier(one["schema"], one["name"]) for one in tables)
        try:
            if tables:
                self.session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
            return contents(self.session)
        except psycopg.errors.LockNotAvailable as error:
            raise Failed(FAILED, f"a table of {self.session.info.dbname} is locked", str(error), "inv backup") from None

    def moving(self) -> bool:
        """Whether rows may belong to another partition in a restored database: then each goes in by the partitioned table."""
        row = self.session.execute(MOVING).fetchone()
        return bool(row and row["moving"])

    def rewritten(self) -> list[str]:
        """The tables that were truncated or written anew since: a dump of this snapshot finds them empty, and says nothing."""
        now = self.session.execute(FILES).fetchall()
        return [one["name"] for one in now if one["file"] not in (None, self.files.get(one["oid"], one["file"]))]

    def close(self) -> None:
        self.session.close()


def codec(encoding: str) -> str:
    """Python's name for an encoding of a database, in which PostgreSQL's tools write its names."""
    named = {"SQL_ASCII": "latin-1", "LATIN9": "iso8859-15", "LATIN10": "iso8859-16", "MULE_INTERNAL": "latin-1"}
    named |= {"KOI8R": "koi8-r", "KOI8U": "koi8-u"}
    try:
        return codecs.lookup(named.get(encoding, encoding.replace("WIN", "cp"))).name
    except LookupError:
        return "latin-1"


def databases(session: Connection) -> list[Row]:
    """All databases but template0, with what belongs to them and stands in no dump."""
    return session.execute(DATABASES).fetchall()


def snapshot(server: Server, database: str) -> Snapshot:
    """Opens the session that keeps a snapshot; its name is for `pg_dump --snapshot`."""
    session = server.connect(database)
    files = {one["oid"]: one["file"] for one in session.execute(FILES).fetchall()}
    session.autocommit = False
    session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    session.execute(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
    told = session.execute("SELECT pg_export_snapshot() AS name, pg_current_wal_lsn()::text AS position").fetchone()
    assert told
    return Snapshot(session, told["name"], told["position"], files)


def contents(session: Connection) -> Row:
    """Exact counts of all rows, the sequences, the large objects and the extensions of a session's database."""
    with session.cursor() as cursor:
        # Row security would hide rows from all but superusers; a backup that sees less must fail instead.
        cursor.execute("SET row_security = off")
        tables = cursor.execute(TABLES).fetchall()
        counts: dict[str, int] = {}
        for one in tables:
            name = sql.Identifier(one["schema"], one["name"])
            condition = sql.SQL(one["condition"])
            row = cursor.execute(sql.SQL("SELECT count(*) AS n FROM ONLY {} {}").format(name, condition)).fetchone()
            counts[one["counted"]] = counts.get(one["counted"], 0) + (row["n"] if row else 0)
        large = cursor.execute("SELECT count(*) AS n FROM pg_largeobject_metadata").fetchone()
        extensions = cursor.execute(
            "SELECT extname AS name, extversion AS version FROM pg_extension ORDER BY 1"
        ).fetchall()
    return {
        "rows": counts,
        "sequences": sequences(session),
        "large_objects": large["n"] if large else 0,
        "extensions": {one["name"]: one["version"] for one in extensions},
    }


def sequences(session: Connection) -> dict[str, int | None]:
    """Where each sequence is; nothing for one that was never called."""
    return {one["name"]: one["last_value"] for one in session.execute(SEQUENCES).fetchall()}


def places(said: str) -> dict[str, int | None]:
    """Where a dump puts its sequences, of what `pg_restore` wrote of it. No snapshot holds them, so only the dump can tell."""
    found: dict[str, int | None] = {}
    for escaped, name, value, called in PLACES.findall(said):
        name = name.replace("''", "'")
        found[name.replace("\\\\", "\\") if escaped else name] = int(value) if called == "true" else None
    return found


def drop(session: Connection, name: str) -> None:
    with limited(session, [name], PATIENCE):
        # PostgreSQL drops no template.
        if session.execute("SELECT FROM pg_database WHERE datname = %s AND datistemplate", (name,)).fetchall():
            session.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
        try:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        except psycopg.errors.ObjectInUse as error:
            raise obstacles.holding(session, name, error) from None


@contextmanager
def limited(session: Connection, names: Sequence[str], seconds: int) -> Iterator[None]:
    """Nothing in here waits longer than that for a lock; the failure names who holds it."""
    session.execute(f"SET lock_timeout = '{seconds}s'")
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        holders = session.execute(HOLDERS, (list(names),)).fetchall()
        raise Failed(
            RESTORE_FAILED,
            f"somebody holds a lock on {', '.join(one['name'] for one in holders) or names[0]}, for more than {seconds} s",
            "\n".join(one["who"] for one in holders) or "it is free again",
            "\n".join(_ended(session.info.user, one["pid"]) for one in holders) or "the same again",
        ) from None
    finally:
        with suppress(psycopg.Error):  # one that is broken has no more settings
            session.execute("SET lock_timeout = 0")


def _ended(user: str, pid: int) -> str:
    """The command that ends a session."""
    return "on the host: " + on_host(user, f"SELECT pg_terminate_backend({pid})")


def oids(session: Connection) -> dict[str, int]:
    """The databases by name; a name may move, an oid stays."""
    return {
        one["name"]: one["oid"]
        for one in session.execute("SELECT oid::bigint AS oid, datname AS name FROM pg_database").fetchall()
    }


def sessions(session: Connection, names: Sequence[str]) -> int:
    row = session.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = ANY(%s)", (list(names),)
    ).fetchone()
    return int(row["n"]) if row else 0


@contextmanager
def closed(session: Connection, names: Sequence[str]) -> Iterator[None]:
    """Nobody gets into these databases meanwhile, whoever was in them is out; on failure they are opened again."""
    try:
        empty(session, names)
        yield
    except BaseException:
        for name in names:
            open_for_all(session, name, True)
        raise


def empty(session: Connection, names: Sequence[str]) -> None:
    """Nobody gets into these databases any more, and whoever was in them is out."""
    for name in names:
        open_for_all(session, name, False)
    session.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> pg_backend_pid()",
        (list(names),),
    )


def open_for_all(session: Connection, name: str, allowed: bool) -> None:
    words = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with limited(session, [name], SWAP_PATIENCE):
        session.execute(words.format(sql.Identifier(name), sql.Literal(allowed)))


def rename(session: Connection, pairs: Mapping[str, str]) -> None:
    """All renames in one transaction, in the order given."""
    with limited(session, list(pairs), SWAP_PATIENCE), session.transaction():
        for before, after in pairs.items():
            words = sql.SQL("ALTER DATABASE {} RENAME TO {}")
            session.execute(words.format(sql.Identifier(before), sql.Identifier(after)))


def beside(name: str, what: str, number: str) -> str:
    """The name of a database beside another. PostgreSQL cuts longer ones silently, and then two may collide."""
    found = f"{name}__{what}_{number}"
    if len(found.encode()) > LONGEST_NAME:
        raise Failed(
            RESTORE_REFUSED,
            f"the name {name} is too long to restore beside it",
            f"{found} has {len(found.encode())} bytes, PostgreSQL takes {LONGEST_NAME}",
            "restore it under another name: --database NAME --as SHORTER",
        )
    return found

"""Snapshots of databases, and exact counts of what a dump of them holds.

A snapshot can only be imported within its own database, so each has a session.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from worker.contract import FAILED
from worker.errors import Failed
from worker.postgres import PATIENCE, WORKER, Connection, Row, Server

# The rows in a dump: of a table of an extension, those that the extension selects. Materialised views are not counted: a restore
# refreshes them, which may change their rows. Partitions are counted as their partitioned table: the hash of an enum's value, or
# the order of a text, may differ in a restored database, and put rows into another partition.
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
# Tables partitioned by hash, or by a text whose order depends on the system's locale.
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
# A table that is truncated or rewritten gets a new file at once, whatever a snapshot sees.
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
# The form of pg_restore's output: the name is an identifier within a string.
PLACES = re.compile(r"^SELECT pg_catalog\.setval\((E?)'((?:[^'\\]|''|\\.)*)', (-?\d+), (true|false)\);$", re.M | re.S)


@dataclass
class Snapshot:
    """A database at one moment, as long as the session lives."""

    session: Connection
    name: str
    position: str
    files: Mapping[int, int]

    def contents(self, dumping: Callable[[], bool]) -> Row:
        """Counts, with locks taken only after pg_dump has its own: a request for an exclusive lock must not get between the two."""
        tables = self.session.execute(TABLES).fetchall()
        oids, pause = [table["oid"] for table in tables], 0.05
        until = time.monotonic() + PATIENCE + 15  # pg_dump gives up before
        while dumping() and time.monotonic() < until:
            held = self.session.execute(LOCKED, (oids, WORKER)).fetchone()
            if held and held["n"] >= len(oids):
                break
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        if not dumping():  # pg_dump has its locks, or is done
            self.session.execute("SET LOCAL lock_timeout = '5s'")
        names = sql.SQL(", ").join(sql.Identifier(table["schema"], table["name"]) for table in tables)
        try:
            if tables:
                self.session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
            return contents(self.session)
        except psycopg.errors.LockNotAvailable as error:
            raise Failed(FAILED, f"a table of {self.session.info.dbname} is locked", str(error), "inv backup") from None

    def moving(self) -> bool:
        """Whether rows may belong to another partition after a restore: then they are loaded through the partitioned table."""
        row = self.session.execute(MOVING).fetchone()
        return bool(row and row["moving"])

    def rewritten(self) -> list[str]:
        """The tables that were truncated or rewritten since: a dump of this snapshot finds them empty, without an error."""
        now = self.session.execute(FILES).fetchall()
        return [
            table["name"] for table in now if table["file"] not in (None, self.files.get(table["oid"], table["file"]))
        ]

    def close(self) -> None:
        self.session.close()


def snapshot(server: Server, database: str) -> Snapshot:
    """Opens the session that keeps a snapshot; its name is for `pg_dump --snapshot`."""
    session = server.connect(database)
    files = {row["oid"]: row["file"] for row in session.execute(FILES).fetchall()}
    session.autocommit = False
    session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    session.execute(f"SET LOCAL lock_timeout = '{PATIENCE}s'")
    row = session.execute("SELECT pg_export_snapshot() AS name, pg_current_wal_lsn()::text AS position").fetchone()
    assert row
    return Snapshot(session, row["name"], row["position"], files)


def contents(session: Connection) -> Row:
    """Exact counts of all rows, the sequences, the large objects and the extensions of a session's database."""
    with session.cursor() as cursor:
        # Row security would hide rows from all but superusers; the backup must fail instead.
        cursor.execute("SET row_security = off")
        tables = cursor.execute(TABLES).fetchall()
        counts: dict[str, int] = {}
        for table in tables:
            name = sql.Identifier(table["schema"], table["name"])
            condition = sql.SQL(table["condition"])
            row = cursor.execute(sql.SQL("SELECT count(*) AS n FROM ONLY {} {}").format(name, condition)).fetchone()
            counts[table["counted"]] = counts.get(table["counted"], 0) + (row["n"] if row else 0)
        large = cursor.execute("SELECT count(*) AS n FROM pg_largeobject_metadata").fetchone()
        extensions = cursor.execute(
            "SELECT extname AS name, extversion AS version FROM pg_extension ORDER BY 1"
        ).fetchall()
    return {
        "rows": counts,
        "sequences": sequences(session),
        "large_objects": large["n"] if large else 0,
        "extensions": {extension["name"]: extension["version"] for extension in extensions},
    }


def sequences(session: Connection) -> dict[str, int | None]:
    """The value of each sequence; None for one that was never called."""
    return {row["name"]: row["last_value"] for row in session.execute(SEQUENCES).fetchall()}


def places(output: str) -> dict[str, int | None]:
    """The values of sequences in a dump, from the output of `pg_restore`. Snapshots do not include sequences."""
    positions: dict[str, int | None] = {}
    for escaped, name, value, called in PLACES.findall(output):
        name = name.replace("''", "'")
        positions[name.replace("\\\\", "\\") if escaped else name] = int(value) if called == "true" else None
    return positions

"""Sessions with an exclusive lock on a table, which blocks a dump."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from worker.contract import FAILED
from worker.errors import Failed
from worker.postgres import Row, Server
from worker.quoting import on_host

# No text of a query: it may hold a secret.
HOLDERS = """
SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name, a.pid AS pid,
  'session ' || a.pid || ' of ' || a.usename || coalesce(' (' || nullif(a.application_name, '') || ')', '') || ', ' || a.state
    || ' since ' || to_char(coalesce(a.xact_start, a.backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC' AS who
FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
  JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p', 'm', 'v', 'S') AND n.nspname !~ '^pg_toast'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND a.pid <> pg_backend_pid()
ORDER BY a.pid, 1 LIMIT 5
"""
TIMEOUT = "due to lock timeout"
"""PostgreSQL's error when a lock was not granted in time."""
SOON = 5.0
"""Seconds after which the journal says what a dump waits for."""


def holders(server: Server, database: str) -> list[Row]:
    """The tables of a database with an exclusive lock, and its holders; empty if the server cannot be asked."""
    with suppress(Failed, psycopg.Error), server.connect(database) as session:
        return session.execute(HOLDERS).fetchall()
    return []


def locked(server: Server, database: str) -> Failed:
    """The error of a dump without its lock: the table, the session that holds it, and the command that ends it."""
    held = holders(server, database)
    names = ", ".join(dict.fromkeys(row["name"] for row in held)) or "a table"
    why = "\n".join(dict.fromkeys(row["who"] for row in held)) or "it is free again"
    ends = [
        on_host(server.user, f"SELECT pg_terminate_backend({pid})") for pid in dict.fromkeys(row["pid"] for row in held)
    ]
    hint = "\n".join([f"on the host: {command}" for command in ends] + ["then inv backup" if ends else "inv backup"])
    return Failed(FAILED, f"{names} is locked for more than a minute", why, hint)


def saying(server: Server, database: str, say: Callable[[str], None]) -> Callable[[], None]:
    """A function to call while a dump waits: it reports the holders once, after some seconds."""
    begun, announced = time.monotonic(), [False]

    def tell() -> None:
        if not announced[0] and time.monotonic() - begun > SOON:
            announced[0] = True
            for row in holders(server, database):
                say(f"{database}: waiting for {row['name']}, which {row['who']} has locked")

    return tell

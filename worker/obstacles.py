"""What keeps PostgreSQL from renaming or dropping a database, and the commands that end it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import psycopg

from worker.contract import RESTORE_FAILED
from worker.errors import Failed
from worker.quoting import ident, literal, on_host

if TYPE_CHECKING:
    from worker.postgres import Connection, Row

QUERY = """
SELECT 'prepared transaction' AS what, gid AS name, database FROM pg_prepared_xacts UNION ALL
SELECT 'replication slot', slot_name, database FROM pg_replication_slots WHERE database IS NOT NULL UNION ALL
SELECT 'subscription', subname, datname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
"""
ENDS = {
    "prepared transaction": {
        "to keep what it did": ["COMMIT PREPARED {literal}"],
        "or to give it up": ["ROLLBACK PREPARED {literal}"],
    },
    "replication slot": {"nobody reads it any more": ["SELECT pg_drop_replication_slot({literal})"]},
    # Without its slot, for a server that is away, or that never knew it, would keep it from being dropped.
    "subscription": {
        "its slot stays at the publisher": [
            "ALTER SUBSCRIPTION {ident} DISABLE",
            "ALTER SUBSCRIPTION {ident} SET (slot_name = NONE)",
            "DROP SUBSCRIPTION {ident}",
        ]
    },
}
"""Statements that remove an obstacle, run in its database, by their effect."""


def find(session: Connection, names: Sequence[str]) -> list[Row]:
    """The obstacles to rename or drop these databases; without this they would only show at the swap."""
    return [row for row in session.execute(QUERY).fetchall() if row["database"] in names]


def describe(rows: Sequence[Row]) -> list[str]:
    return [f"{row['database']} has a {row['what']} {row['name']}" for row in rows]


def ways(rows: Sequence[Row], user: str) -> list[str]:
    """The commands that remove the obstacles, a line each."""
    lines = []
    for row in rows:
        quoted = {"ident": ident(row["name"]), "literal": literal(row["name"])}
        for meaning, statements in ENDS[row["what"]].items():
            command = on_host(user, *(each.format(**quoted) for each in statements), database=row["database"])
            lines.append(f"on the host, {meaning}: {command}")
    return lines


def holding(session: Connection, name: str, error: psycopg.Error) -> Failed:
    """The error for a database that PostgreSQL does not drop."""
    rows = find(session, [name])
    why = "; ".join(describe(rows)) or str(error).strip()
    return Failed(RESTORE_FAILED, f"{name} cannot be dropped", why, "\n".join(ways(rows, session.info.user)))

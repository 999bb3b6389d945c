"""A dump that somebody made by hand: what is in it, and which rows of the live database it would replace with none."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from worker import postgres, snapshots
from worker.contract import RESTORE_REFUSED
from worker.errors import Failed
from worker.job import Job

TABLE = re.compile(r"^\d+; \d+ \d+ (?:TABLE|FOREIGN TABLE|EXTENSION) (?!DATA |ATTACH )", re.M)
LOCK = "5s"


def listing(job: Job, encoding: str) -> str:
    """What `pg_restore -l` says of it: a line for each thing that it holds. Refused when its list cannot be read."""
    path, image = Path(job.request.local), job.postgres["image"]
    command = ["docker", "run", "--rm", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    command += ["--user", "0:0", "--pull", "never", "-v", f"{path}:/dump:ro", "--entrypoint", "pg_restore", image]
    done = subprocess.run([*command, "-l", "/dump"], capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()[-500:]
        raise Failed(RESTORE_REFUSED, "the dump cannot be read", why, "pg_dump -Fc -f app.dump app, and send that")
    return done.stdout.decode(postgres.codec(encoding), errors="replace")


def must_have_tables(contents: str) -> None:
    """Rows alone would be loaded into nothing."""
    if " TABLE DATA " in contents and not TABLE.search(contents):
        raise Failed(
            RESTORE_REFUSED,
            "the dump has rows, and no tables to load them into",
            "it was made with --data-only, and a restore loads into an empty database",
            "pg_dump -Fc -f app.dump app, without --data-only",
        )


def lost(job: Job, database: str, contents: str) -> list[str]:
    """The tables of a live database that have rows, of which the dump has none."""
    tables = []
    with job.server.connect(database) as inside:
        inside.execute("SET row_security = off")
        inside.execute(f"SET lock_timeout = '{LOCK}'")
        for table in inside.execute(snapshots.TABLES).fetchall():
            if _line(table["schema"], table["name"]) not in contents and _has_rows(inside, table):
                tables.append(f"{table['schema']}.{table['name']}")
        large = inside.execute("SELECT EXISTS (SELECT FROM pg_largeobject_metadata) AS some").fetchone()
        if large and large["some"] and " BLOB" not in contents:
            tables.append("large objects")
    return tables


def _line(schema: str, name: str) -> str:
    """A table's rows in a listing, in which a name has no line breaks."""
    return re.sub(r"[\r\n]", " ", f" TABLE DATA {schema} {name} ")


def _has_rows(inside: postgres.Connection, table: postgres.Row) -> bool:
    """A table that somebody holds locked may have some."""
    question = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {} {}) AS some")
    statement = question.format(sql.Identifier(table["schema"], table["name"]), sql.SQL(table["condition"]))
    try:
        row = inside.execute(statement).fetchone()
    except psycopg.errors.LockNotAvailable:
        return True
    return bool(row and row["some"])

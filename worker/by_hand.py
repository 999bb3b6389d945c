"""A dump made by hand: its contents, and the live tables with rows that it would replace with empty ones."""

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
    """The output of `pg_restore -l`: a line for each entry of the dump. Refused when it cannot be read."""
    path, image = Path(job.request.local), job.postgres["image"]
    command = ["docker", "run", "--rm", "--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    command += ["--user", "0:0", "--pull", "never", "-v", f"{path}:/dump:ro", "--entrypoint", "pg_restore", image]
    done = subprocess.run([*command, "-l", "/dump"], capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()[-500:]
        raise Failed(RESTORE_REFUSED, "the dump cannot be read", why, "pg_dump -Fc -f app.dump app, and send that")
    return done.stdout.decode(postgres.codec(encoding), errors="replace")


def must_have_tables(contents: str) -> None:
    """Refuses a dump of rows alone: it has no tables to load them into."""
    if " TABLE DATA " in contents and not TABLE.search(contents):
        raise Failed(
            RESTORE_REFUSED,
            "the dump has rows, and no tables to load them into",
            "it was made with --data-only, and a restore loads into an empty database",
            "pg_dump -Fc -f app.dump app, without --data-only",
        )


def lost(job: Job, database: str, contents: str) -> list[str]:
    """The tables of a live database with rows, for which the dump has no data."""
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
    """The line of a table's data in the listing, which has names without line breaks."""
    return re.sub(r"[\r\n]", " ", f" TABLE DATA {schema} {name} ")


def _has_rows(inside: postgres.Connection, table: postgres.Row) -> bool:
    """Whether a table has rows; assumed of one that somebody has locked."""
    question = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {} {}) AS some")
    statement = question.format(sql.Identifier(table["schema"], table["name"]), sql.SQL(table["condition"]))
    try:
        row = inside.execute(statement).fetchone()
    except psycopg.errors.LockNotAvailable:
        return True
    return bool(row and row["some"])

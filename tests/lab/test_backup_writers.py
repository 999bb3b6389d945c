"""Backups while programs write: changes outside of snapshots must not make an incomplete set, or one that cannot be restored."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.backup_host import STATE, begin, journal, over, paused, ran, sql
from tests.lab.conftest import Clone

BUSY = """
CREATE TABLE etl (x int); INSERT INTO etl SELECT generate_series(1, 1000);
CREATE MATERIALIZED VIEW stale AS SELECT * FROM etl; INSERT INTO etl SELECT generate_series(1, 50);
CREATE SEQUENCE ticket; CREATE SEQUENCE "It's (1, true);"; CREATE SEQUENCE "back\\slash"; SELECT nextval('"back\\slash"');
CREATE EXTENSION postgis;
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (990001, 'own', 1, 'x', 'y');
ALTER DATABASE busy SET statement_timeout = '20ms'; ALTER DATABASE busy SET default_transaction_read_only = on;
"""
MINE = "SET default_transaction_read_only = off; SET statement_timeout = 0;"
TICKETS = f"{MINE} DO $$ BEGIN LOOP PERFORM nextval('ticket'); PERFORM pg_sleep(0.002); COMMIT; END LOOP; END $$"


@pytest.fixture
def busy(spare: Clone) -> Iterator[Clone]:
    """A database with settings that disturb a backup, and roles that grant each other."""
    sql(spare, "CREATE ROLE zoe; CREATE ROLE abe LOGIN; GRANT zoe TO abe; ALTER ROLE abe SET role = 'zoe'")
    sql(spare, "CREATE DATABASE busy")
    sql(spare, BUSY, "busy")
    sql(spare, "CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    yield spare
    for name in ("busy", "bytes", "beside"):
        sql(spare, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    sql(spare, "DROP ROLE abe; DROP ROLE zoe")


def rows_of(there: Clone, run: str, table: str) -> int:
    there.inv("restore", run, "--database", "busy", "--as", "beside", "--yes")
    count = int(sql(there, f"SELECT count(*) FROM {table}", "beside"))
    sql(there, "DROP DATABASE beside")
    return count


def test_sequences_that_move_and_stale_views_make_a_set_that_a_drill_takes(busy: Clone) -> None:
    ssh = subprocess.Popen(
        [*busy.ssh(), "docker exec -i postgres psql -qU postgres busy"], stdin=subprocess.PIPE, text=True
    )
    assert ssh.stdin
    ssh.stdin.write(TICKETS)
    ssh.stdin.close()
    busy.inv("backup")
    sql(
        busy,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%ticket%' AND pid <> pg_backend_pid()",
    )
    ssh.wait(30)
    screen = busy.inv("backup.verify", "latest", "--drill")
    assert "busy: every row is there" in screen


def test_a_table_that_is_emptied_before_its_dump_is_not_empty_in_the_set(busy: Clone) -> None:
    run = begin(busy, do="backup", only=["postgres"], pause="dump")
    paused(busy, run)
    sql(busy, f"{MINE} BEGIN; TRUNCATE etl; INSERT INTO etl SELECT generate_series(1, 5000); COMMIT", "busy")
    busy.on_host(f"touch {STATE}/runs/{run}/go")
    assert over(busy, run)["code"] == 0
    texts = [event.get("text", "") for event in journal(busy, run)]
    assert any("public.etl was emptied or written anew during its dump: dumped again" in text for text in texts)
    assert rows_of(busy, run, "etl") == 5000


def test_a_table_that_somebody_keeps_locked_ends_the_run_with_its_reason(busy: Clone) -> None:
    lock = f"{MINE} BEGIN; LOCK TABLE etl; SELECT pg_sleep(100)"
    ssh = subprocess.Popen(
        [*busy.ssh(), "docker exec -i postgres psql -qU postgres busy"], stdin=subprocess.PIPE, text=True
    )
    assert ssh.stdin
    ssh.stdin.write(lock)
    ssh.stdin.close()
    end = ran(busy, do="backup", only=["postgres"])
    assert (end["code"], end["what"]) == (23, "the set was published without busy")
    assert "busy: it could not be dumped: public.etl is locked" in end["why"]
    sql(
        busy,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()",
    )
    ssh.wait(30)
    assert busy.on_host(f"cat {STATE}/runs/*/journal.jsonl | tail -n 1")

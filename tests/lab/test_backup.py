"""Restores, and leftovers of interrupted runs, checked by dumps as text. The tests depend on their order."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.lab import odd_databases
from tests.lab.backup_host import (
    DATABASES,
    ODD,
    STATE,
    TARGETS,
    begin,
    changed,
    configured,
    journal,
    killed,
    left,
    look,
    mlflow_client,
    names,
    newest,
    over,
    paused,
    ran,
    sets,
    sql,
    texts,
    until,
)
from tests.lab.conftest import Clone
from tests.lab.shares import todays
from worker import catalogues
from worker.contract import STEPS

DESTRUCTION = {
    "geo": """DROP SCHEMA "odd, it's" CASCADE; DELETE FROM places WHERE id > 100; ALTER TABLE places ADD more text;
      SELECT lo_unlink(70003); DROP SEQUENCE ticket; ALTER DATABASE geo SET work_mem = '1MB';
      ALTER DATABASE geo RESET search_path; COMMENT ON DATABASE geo IS NULL; REVOKE CREATE ON DATABASE geo FROM reader;
      DROP POLICY own ON places; DROP OWNED BY lost; DROP OWNED BY reader""",
    "mlflow": """TRUNCATE pgbench_history; DROP TABLE pgbench_accounts; UPDATE pgbench_tellers SET tbalance = 7;
      DROP TABLE params, alembic_version; DELETE FROM registered_model_aliases; UPDATE metrics SET value = 0""",
    ODD: """DROP TABLE "Käfer 'x'"; DROP OWNED BY team; CREATE TABLE born_after_the_set (id int)""",
    "postgres": "DROP ROLE lost; DROP ROLE team; DROP ROLE reader",
}


def destroy(there: Clone) -> None:
    for database, text in DESTRUCTION.items():
        sql(there, text, database)


def test_every_column_of_the_catalogues_has_a_decision(kept: Clone) -> None:
    """A new version may add a column: worker/catalogues.py must then decide on it."""
    rows = json.loads(sql(kept, f"SELECT json_agg(c) FROM ({catalogues.QUERY}) c"))
    server: Any = SimpleNamespace(execute=lambda _: SimpleNamespace(fetchall=lambda: rows))
    assert len(rows) > 60
    assert catalogues.undecided(server) == []


LEFT_OUT = "comments on predefined roles: pg_monitor", "replication origins: far away"


def test_a_set_is_on_every_target_and_nothing_is_left_of_its_making(kept: Clone) -> None:
    """What it leaves out is named."""
    sql(kept, "COMMENT ON ROLE pg_monitor IS 'sees all'; SELECT pg_replication_origin_create('far away')")
    texts(kept, "whole")
    screen = kept.inv("backup")
    assert "lab: done" in screen
    assert sets(kept)[newest(kept)] == dict.fromkeys(TARGETS, "whole")
    shown = kept.inv("backup.show", "latest")
    assert all(f"database   {name}" in shown for name in DATABASES)
    assert all(f"not in it  {line}" in shown and f"leaves out {line}" in screen for line in LEFT_OUT)
    assert left(kept) == ""
    texts(kept, "after")
    assert changed(kept, "whole", "after") == ""


def test_a_set_is_pinned_and_unpinned_on_every_target(kept: Clone) -> None:
    newest_set = newest(kept)
    kept.inv("backup.pin", "latest", "--why", "before the move")
    assert {set_["id"]: set_["pinned"] for set_ in look(kept, ask="list")["sets"]}[newest_set]
    assert ", ".join(TARGETS) in kept.inv("backup.unpin", newest_set)
    assert not any(set_["pinned"] for set_ in look(kept, ask="list")["sets"])
    assert "was not pinned" in kept.inv("backup.unpin", newest_set)


def test_what_was_destroyed_comes_back_to_the_letter(kept: Clone) -> None:
    destroy(kept)
    texts(kept, "destroyed")
    assert changed(kept, "whole", "destroyed").count("differ\n") == len(DATABASES) + 1
    sql(kept, "SELECT pg_replication_origin_drop('far away')")
    screen = kept.inv("restore", "latest", "--yes")
    assert "restore.undo" in screen
    assert [f"leaves out {line}" in screen for line in LEFT_OUT] == [False, True], "what is here is not left out"
    assert "pg_replication_origin_create('far away');" in kept.on_host(f"cat {STATE}/configuration/*/left_out.sql")
    assert "the last restore took" in kept.inv("status", code=None)
    texts(kept, "after")
    assert changed(kept, "whole", "after") == ""
    assert left(kept) == ""


def test_undo_brings_back_exactly_what_the_restore_replaced(kept: Clone) -> None:
    """For databases; roles that the restore made stay, as the kept databases may belong to them."""
    kept.inv("restore.undo", "--yes")
    texts(kept, "after")
    assert changed(kept, "destroyed", "after", "globals") == ""
    assert "no restore to undo" in kept.inv("restore.undo", "--yes", code=3)


def test_cleanup_drops_what_was_kept_and_nothing_else(kept: Clone, tmp_path: Path) -> None:
    """Also: a fetched set can be restored like one on a target."""
    before = names(kept)
    sql(kept, "CREATE DATABASE geo__old_mine TEMPLATE template0")
    screen = kept.inv("restore.cleanup", "--yes")
    assert names(kept) == {"postgres", "template0", "template1", "geo__old_mine", *DATABASES}
    assert all(name in screen for name in before - {"postgres", "template0", "template1", *DATABASES})
    assert "nothing is kept" in kept.inv("restore.cleanup", "--yes")
    kept.inv("backup.fetch", "latest", str(tmp_path))
    (fetched,) = tmp_path.glob("*.tar")
    assert "read from file" in kept.inv("restore", str(fetched), "--yes")
    assert left(kept) == ""
    kept.inv("restore.cleanup", "--yes")
    texts(kept, "after")
    assert changed(kept, "whole", "after") == ""
    sql(kept, "DROP DATABASE geo__old_mine")


def test_configuration_is_compared_and_laid_beside_and_never_installed(kept: Clone) -> None:
    kept.inv("backup", "--only", "config")
    alone = newest(kept)
    assert f"all {len(look(kept, ask='show', set=alone)['files'])} files are the same" in kept.inv("backup.diff", alone)
    kept.on_host("echo '# by hand' >>/etc/fstab")
    try:
        with configured(kept, "d['note'] = 'for root alone'"):
            screen = kept.inv("backup.diff", alone)
        assert "~ /etc/fstab" in screen
        assert "+# by hand" in screen
        assert "worker.json  its content changed; it is not shown" in screen
        assert "for root alone" not in screen
        assert "none is installed; 1 differ here" in kept.inv("restore", alone, "--yes")
        place = f"{STATE}/configuration/{alone}"
        assert kept.on_host(f"diff {place}/etc/fstab /etc/fstab", check=False).strip().endswith("# by hand")
        assert kept.on_host(f"stat -c '%a %U' {place}/..").strip() == "700 root"
        assert f"- {place}" in kept.inv("restore.cleanup", "--yes")
        assert kept.on_host(f"ls {STATE}/configuration", check=False) == ""
    finally:
        kept.on_host("sed -i '/^# by hand$/d' /etc/fstab")


def test_a_set_is_compared_with_what_the_databases_hold_now(kept: Clone) -> None:
    sql(kept, """DELETE FROM "Käfer 'x'" WHERE id <= 7""", ODD)
    screen = kept.inv("backup.diff", "latest")
    assert "rows of public.Käfer 'x': 2000 in the set, 1993 here" in screen
    assert "database geo: the same counts" in screen
    kept.inv("restore", "latest", "--database", ODD, "--yes")
    assert f"database {ODD}: the same counts" in kept.inv("backup.diff", "latest")
    kept.inv("restore.cleanup", "--yes")


def test_one_database_comes_back_beside_itself_under_another_name(kept: Clone) -> None:
    kept.inv("restore", "latest", "--database", "mlflow", "--as", "mlflow beside", "--yes")
    count = "SELECT count(*), sum(abalance) FROM pgbench_accounts"
    assert sql(kept, count, "mlflow beside") == sql(kept, count, "mlflow")
    sql(kept, 'DROP DATABASE "mlflow beside"')


def test_databases_that_no_parallel_load_brings_back_come_back(kept: Clone) -> None:
    """Also a database whose rows violate its CHECK, when the difference is accepted."""
    sql(kept, odd_databases.MADE)
    for name, text in (("hard", odd_databases.HARD), ("latin", odd_databases.LATIN), ("liar", odd_databases.LIAR)):
        sql(kept, text, name)
    kept.inv("backup", "--only", "postgres")
    for name in odd_databases.NAMES:
        sql(kept, f"DROP DATABASE {name}")
    odd = newest(kept)
    screen = kept.inv("restore", odd, "--database", "hard,latin", "--yes")
    assert "hard: the parallel load failed, loading again, table after table" in screen
    assert sql(kept, "SELECT count(*) FROM a_words", "hard") == "100"
    assert sql(kept, "SELECT count(*), max(n) FROM things", "hard") == "3000|3000"
    arguments = ("restore", odd, "--database", "liar,latin", "--yes")
    assert "there is nothing to accept" in kept.inv(*arguments, "--accept-differences", code=3)
    screen = kept.inv(*arguments, code=41)
    assert "rows of public.facts: 10 in the set, 0 here" in screen
    assert f"{odd} --database latin, for what did not fail" in screen
    assert "ACCEPTED  liar: rows of public.facts" in kept.inv(*arguments, "--accept-differences")
    assert "  accepted  " in kept.inv("history")
    kept.inv("restore.cleanup", "--yes")
    for name in odd_databases.NAMES:
        sql(kept, f"DROP DATABASE {name}")


def test_a_set_made_beside_writers_is_of_one_moment(kept: Clone) -> None:
    """It has no half transaction, and everything that was acknowledged before its begin."""
    bench = "docker exec postgres pgbench -n -U postgres -c 4 -R 100 -T 3600 mlflow"
    ssh = subprocess.Popen([*kept.ssh(), bench], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with mlflow_client(kept, "beside") as client:
        assert client.stdout
        before = [client.stdout.readline().strip() for _ in range(3)]
        until(lambda: int(sql(kept, "SELECT count(*) FROM pgbench_history", "mlflow")) > 100, 300, "pgbench")
        kept.inv("backup")
        after, _ = client.communicate("that is enough", timeout=300)
        assert after.split()
    kept.on_host("pkill -x pgbench || :")
    ssh.wait(30)
    kept.inv("restore", "latest", "--database", "mlflow", "--as", "beside", "--yes")
    sums = "SELECT sum(abalance) FROM pgbench_accounts", "SELECT sum(tbalance) FROM pgbench_tellers"
    sums += "SELECT sum(bbalance) FROM pgbench_branches", "SELECT sum(delta) FROM pgbench_history"
    assert len({sql(kept, query, "beside") for query in sums}) == 1
    finished = "SELECT r.run_uuid FROM runs r JOIN metrics m USING (run_uuid) WHERE status = 'FINISHED' GROUP BY 1 HAVING count(*) = 20"
    runs = set(sql(kept, finished, "beside").split())
    assert {*before} <= runs
    assert sql(kept, "SELECT count(*) FROM runs WHERE status = 'FINISHED'", "beside") == str(len(runs))
    history = "SELECT count(*) FROM pgbench_history"
    assert 100 < int(sql(kept, history, "beside")) < int(sql(kept, history, "mlflow")), "it was written to meanwhile"
    sql(kept, "DROP DATABASE beside")
    texts(kept, "whole")


KILLED: set[str] = set()
OURS = {"postgres", "template0", "template1", *DATABASES}
OF_OBJECTS = {"insert", "current", "lock", "accounts"}
"""Steps of a restore with buckets: test_buckets.py kills runs there."""
# undo and cleanup are separate runs
RESTORE_STEPS = tuple(step for step in STEPS["restore"] if step not in ("undo", "cleanup", *OF_OBJECTS))
BEFORE_THE_SWAP = RESTORE_STEPS[: RESTORE_STEPS.index("swap") + 1]


def stopped_at(there: Clone, run: str, step: str) -> None:
    paused(there, run)
    assert journal(there, run)[-1]["step"] == step
    KILLED.add(step)


@pytest.mark.parametrize("step", todays(STEPS["backup"], 2))
def test_a_backup_that_is_killed_at_any_step_harms_nothing_and_the_next_one_works(kept: Clone, step: str) -> None:
    run = begin(kept, do="backup", pause=step)
    stopped_at(kept, run, step)
    before = complete_sets(kept)
    killed(kept, run)
    # A set with a manifest is published, whatever happened afterwards.
    assert (run in before) is (step == "retention")
    assert ("failed" in look(kept, ask="plan", set=run)) is (step != "retention")
    again = begin(kept, do="backup")
    assert over(kept, again)["code"] == 0
    assert complete_sets(kept) == {*before, again}
    assert left(kept) == ""


def complete_sets(there: Clone) -> set[str]:
    everywhere = dict.fromkeys(TARGETS, "whole")
    return {set_["id"] for set_ in look(there, ask="list")["sets"] if set_["targets"] == everywhere}


def test_after_all_that_the_databases_are_as_they_were(kept: Clone) -> None:
    texts(kept, "after")
    assert changed(kept, "whole", "after") == ""


def live(there: Clone) -> tuple[str, str]:
    """The live database of the kill tests: its oid and its content."""
    oid = sql(there, f"SELECT oid FROM pg_database WHERE datname = {quoted(ODD)} AND datallowconn")
    return oid, sql(there, """SELECT count(*) FROM "Käfer 'x'" """, ODD) if oid else ""


@pytest.mark.parametrize("step", todays(RESTORE_STEPS, 3))
def test_a_restore_that_is_killed_at_any_step_is_none_or_is_whole(kept: Clone, step: str) -> None:
    sql(kept, """DELETE FROM "Käfer 'x'" WHERE id % 2 = 0""", ODD)
    texts(kept, "harmed", ODD)
    before = live(kept)
    run = begin(kept, do="restore", set="latest", databases=[ODD], pause=step)
    stopped_at(kept, run, step)
    killed(kept, run)
    if step in BEFORE_THE_SWAP:
        assert live(kept) == before
        texts(kept, "after", ODD)
        assert changed(kept, "harmed", "after") == ""
    else:
        assert live(kept)[1] == "2000"
    again = restored(kept)
    assert f"the restore {run} had been cut" in journal_text(kept, again) or step in ("preflight", "fetch")
    assert live(kept)[1] == "2000"
    assert left(kept) == ""
    cleaned(kept)


def restored(there: Clone) -> str:
    """Restores the live database from the set; gives the id of the run."""
    run = begin(there, do="restore", set="latest", databases=[ODD])
    assert over(there, run)["code"] == 0
    return run


def journal_text(there: Clone, run: str) -> str:
    return "\n".join(event.get("text", "") for event in journal(there, run))


def cleaned(there: Clone) -> None:
    assert ran(there, do="cleanup")["code"] == 0
    assert names(there) == OURS


@pytest.mark.parametrize("step", ["undo", "cleanup"])
def test_an_undo_or_a_cleanup_that_is_killed_is_done_by_the_next(kept: Clone, step: str) -> None:
    sql(kept, """DELETE FROM "Käfer 'x'" WHERE id % 2 = 0""", ODD)
    restored(kept)
    run = begin(kept, do=step, pause=step)
    stopped_at(kept, run, step)
    killed(kept, run)
    assert live(kept)[1] == "2000"
    kept.inv(f"restore.{step}", "--yes")
    assert live(kept)[1] == ("1000" if step == "undo" else "2000")
    assert left(kept) == ""
    cleaned(kept)


def test_every_step_of_the_worker_was_killed() -> None:
    """Of today's share."""
    assert {*todays(STEPS["backup"], 2), *todays(RESTORE_STEPS, 3), "undo", "cleanup"} == KILLED


def test_kills_at_random_moments_harm_nothing(kept: Clone) -> None:
    """Backups and restores in turns; each run settles what the previous one left. script/soak: KILLS=100."""
    half = """DELETE FROM "Käfer 'x'" WHERE id % 2 = 0"""
    took = {}
    for do in ("backup", "restore"):
        begun = time.monotonic()
        assert ran(kept, do=do, set="latest", databases=[ODD])["code"] == 0
        took[do] = time.monotonic() - begun
    cleaned(kept)
    wanted = newest(kept)
    sql(kept, half, ODD)
    rows, seed = "1000", random.randrange(1 << 32)
    drawn = random.Random(seed)
    print("seed", seed)
    for number in range(int(os.environ.get("KILLS", "8"))):
        do = ("backup", "restore")[number % 2]
        run = begin(kept, do=do, set=wanted, databases=[ODD])
        time.sleep(drawn.uniform(0, took[do]))
        killed(kept, run)
        now = live(kept)[1] or rows
        assert now in ({rows} if do == "backup" else {rows, "2000"}), f"{do} {number}, seed {seed}"
        if now == "2000":
            sql(kept, half, ODD)
    assert ran(kept, do="backup")["code"] == 0
    assert live(kept)[1] == rows
    assert left(kept) == ""
    states = [set_["targets"] for set_ in look(kept, ask="list")["sets"]]
    assert {state for targets in states for state in targets.values()} <= {"whole", "unfinished"}
    assert ran(kept, do="restore", set=wanted, databases=[ODD])["code"] == 0
    assert live(kept)[1] == "2000"
    assert ran(kept, do="backup")["code"] == 0
    cleaned(kept)


@pytest.mark.parametrize("moment", ["closed", "renaming"])
@pytest.mark.parametrize("do", ["restore", "undo"])
def test_a_kill_within_the_swap_leaves_the_database_as_it_was_and_open(kept: Clone, do: str, moment: str) -> None:
    """A lock prolongs the swap, which takes milliseconds."""
    sql(kept, """DELETE FROM "Käfer 'x'" WHERE id % 2 = 0""", ODD)
    if do == "undo":
        restored(kept)
    before = live(kept)
    waits = {
        "closed": f"SELECT 1 FROM pg_database WHERE datname = {quoted(ODD)} AND NOT datallowconn",
        "renaming": "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER DATABASE%RENAME%'",
    }
    with held(kept, f"BEGIN; COMMENT ON DATABASE {named(ODD)} IS 'being written'"):
        run = begin(kept, do=do, set="latest", databases=[ODD])
        until(lambda: sql(kept, waits[moment]), 300, f"{moment}, {journal(kept, run)}")
        killed(kept, run)
    again = begin(kept, do="backup", only=["config"])
    assert over(kept, again)["code"] == 0
    assert "had been cut" in journal_text(kept, again)
    assert live(kept) == before
    assert left(kept) == ""
    if do == "undo":
        assert ran(kept, do="undo")["code"] == 0
        assert live(kept)[1] == "1000"
    cleaned(kept)


@contextmanager
def held(there: Clone, text: str) -> Iterator[None]:
    """A session that stays open after its statements."""
    psql = subprocess.Popen([*there.ssh(), "docker exec -i postgres psql -qX -U postgres"], stdin=subprocess.PIPE)
    assert psql.stdin
    psql.stdin.write(f"{text};\n".encode())
    psql.stdin.flush()
    until(lambda: sql(there, "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction'"), 120, text)
    try:
        yield
    finally:
        psql.stdin.close()
        psql.wait(30)


def quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def named(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""Failures around the swap: dependents, a restart of the server, a stop, and the undo of the right restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.backup_host import (
    ODD,
    STATE,
    begin,
    configured,
    killed,
    left,
    over,
    paused,
    ran,
    sql,
    until,
)
from tests.lab.conftest import Clone
from tests.lab.test_backup import cleaned, held, journal_text, live, named

REFUSED, AFTER_THE_SWAP = 3, 42
IMAGE = (
    """$(python3 -c 'import json; print(json.load(open("/etc/stowage/backup/worker.json"))["postgres"]["image"])')"""
)


@contextmanager
def leaning(there: Clone, *names: str) -> Iterator[None]:
    """Containers that depend on the databases, as the inventory would say it; `gone` is no more when it was stopped."""
    for name in names:
        run = f"docker run -d {'--rm' if name == 'gone' else ''} --name {name} --network none --stop-signal KILL --entrypoint sleep {IMAGE} infinity"
        there.on_host(run)
    try:
        with configured(there, f"d['dependents'] = {list(names)}"):
            yield
    finally:
        there.on_host(f"docker rm -f {' '.join(names)}", check=False)


def runs(there: Clone, name: str) -> bool:
    return there.on_host(f"docker ps -q -f name=^{name}$") != ""


@pytest.fixture(scope="module")
def rows_saved(spare: Clone) -> str:
    """How many rows the newest set has; each test brings them back."""
    spare.inv("backup")
    return live(spare)[1]


@pytest.fixture
def halved(spare: Clone, rows_saved: str) -> Iterator[Clone]:
    """Deletes half of the rows; restores the host after the test."""
    half = f"""SELECT id FROM "Käfer 'x'" ORDER BY id LIMIT {int(rows_saved) // 2}"""
    sql(spare, f"""DELETE FROM "Käfer 'x'" WHERE id IN ({half})""", ODD)
    yield spare
    assert ran(spare, do="restore", set="latest", databases=[ODD])["code"] == 0
    assert live(spare)[1] == rows_saved
    assert left(spare) == ""
    cleaned(spare)


KEPT = "/srv/stowage/keeper"


def test_folders_of_a_service_are_swapped_whole_or_not_at_all(spare: Clone) -> None:
    """The service is stopped for its copy; a kill hits the swap between its two renames."""

    def content() -> str:
        return spare.on_host(f"cat {KEPT}/sub/one").strip()

    def lies_there() -> list[str]:
        return spare.on_host("ls -d /srv/stowage/keeper*").split()

    spare.on_host(
        f"cd {KEPT}; mkdir -p sub; echo first >sub/one; ln -f sub/one two; truncate -s 9M holes; touch 'odd name'"
    )
    with configured(spare, "d['services']['keeper']['stop'] = True"):
        run = begin(spare, do="backup", only=["services"])
        assert over(spare, run)["code"] == 0, journal_text(spare, run)
    assert "keeper is stopped" in journal_text(spare, run) and runs(spare, "keeper")
    spare.on_host(f"dd if=/dev/urandom of={KEPT}/long bs=1M count=200 status=none")
    with configured(spare, "d['services']['keeper']['stop'] = True"):
        cut = begin(spare, do="backup", only=["services"])
        until(lambda: not runs(spare, "keeper"), 60, "its stop")
        killed(spare, cut)
        assert runs(spare, "keeper"), "nobody has to come by and start it"
    spare.on_host(f"cd {KEPT}; rm long; echo second >sub/one; rm two")

    cut = begin(spare, do="restore", set=run, service="keeper", pause="swap")
    paused(spare, cut)
    killed(spare, cut)
    assert not runs(spare, "keeper")
    assert f"{cut} was cut off in its swap: {KEPT} may be away, and keeper stopped" in spare.inv("status", code=None)
    spare.on_host(f"mv {KEPT} {KEPT}.old-{cut[-6:]}")
    assert ran(spare, do="settle")["code"] == 0
    assert (content(), lies_there(), runs(spare, "keeper")) == ("second", [KEPT], True)

    shown = spare.inv("restore", run, "--service", "keeper", "--yes")
    assert "unchanged" in shown or "nothing to do" in shown, "a check follows"
    assert ":keeper" not in shown, "it runs, answers, and sees what lies there now"
    assert (content(), spare.on_host(f"stat -c %h {KEPT}/two").strip()) == ("first", "2")
    assert len(lies_there()) == 2
    spare.inv("restore.undo", "--yes")
    assert content() == "second"
    spare.inv("restore.cleanup", "--yes")
    assert (lies_there(), runs(spare, "keeper")) == ([KEPT], True)


def test_a_dependent_that_was_removed_meanwhile_is_named_and_holds_back_nothing(halved: Clone) -> None:
    with leaning(halved, "leaning", "gone"):
        run = begin(halved, do="restore", set="latest", databases=[ODD], pause="swap")
        paused(halved, run)
        killed(halved, run)
        again = begin(halved, do="backup", only=["config"])
        assert over(halved, again)["code"] == 0
        assert "gone was stopped and does not start" in journal_text(halved, again)
        assert runs(halved, "leaning")
        third = begin(halved, do="backup", only=["config"])
        assert over(halved, third)["code"] == 0
        assert "gone" not in journal_text(halved, third), "recovery is done once"


def test_after_the_swap_a_dependent_that_does_not_start_is_42_and_the_swap_stays(
    halved: Clone, rows_saved: str
) -> None:
    with leaning(halved, "leaning", "gone"):
        end = ran(halved, do="restore", set="latest", databases=[ODD])
        assert (end["code"], "docker start gone" in end["why"]) == (AFTER_THE_SWAP, True)
        assert live(halved)[1] == rows_saved
        assert runs(halved, "leaning")


@pytest.mark.parametrize("do", ["restore", "undo"])
def test_a_server_that_restarts_within_the_swap_is_waited_for(halved: Clone, do: str) -> None:
    if do == "undo":
        assert ran(halved, do="restore", set="latest", databases=[ODD])["code"] == 0
    before = live(halved)
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'ALTER DATABASE%RENAME%'"
    with leaning(halved, "leaning"):
        with held(halved, f"BEGIN; COMMENT ON DATABASE {named(ODD)} IS 'being written'"):
            run = begin(halved, do=do, set="latest", databases=[ODD])
            until(lambda: sql(halved, waits), 300, "renaming")
            halved.on_host("docker restart -t 5 postgres")
        end = over(halved, run)
        assert (end["code"], end["what"]) == (41, "PostgreSQL failed within the swap")
        assert live(halved) == before
        assert runs(halved, "leaning")
        assert left(halved) == ""


def test_a_stop_while_dependents_are_stopped_leaves_all_as_it_was(halved: Clone) -> None:
    """The container takes half a minute to stop; the run is stopped within it."""
    before = live(halved)
    with leaning(halved, "leaning"):
        halved.on_host(f"""docker rm -f leaning; docker run -d --name leaning --network none --stop-signal TERM --stop-timeout 30 \\
  --entrypoint sh {IMAGE} \\
  -c 'trap : TERM; while :; do sleep 1; done'""")
        run = begin(halved, do="restore", set="latest", databases=[ODD])
        until(lambda: '"stop"' in halved.on_host(f"cat {STATE}/runs/{run}/journal.jsonl", check=False), 300, "the stop")
        halved.on_host(f"systemctl stop stowage-backup@{run}.service")
        end = over(halved, run)
        assert end["code"] == 130, (end, journal_text(halved, run))
        assert runs(halved, "leaning")
    assert live(halved) == before
    assert left(halved) == ""


def test_a_restore_that_was_killed_in_its_swap_says_what_may_be_closed(halved: Clone) -> None:
    run = begin(halved, do="restore", set="latest", databases=[ODD], pause="swap")
    paused(halved, run)
    killed(halved, run)
    screen = halved.inv("backup.attach", code=AFTER_THE_SWAP)
    assert "databases may still be closed" in screen
    assert "nothing was published" not in screen


ODD_ONES = """
CREATE ROLE odd_reader; CREATE DATABASE odd_role; ALTER DATABASE odd_role SET role = odd_reader;
CREATE DATABASE odd_bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
CREATE DATABASE odd_latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
CREATE DATABASE odd_closed ALLOW_CONNECTIONS false;
CREATE DATABASE odd_broken; UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'odd_broken';"""


def test_a_database_that_cannot_be_saved_costs_only_itself(spare: Clone) -> None:
    odd = ("odd_role", "odd_bytes", "odd_latin", "odd_closed", "odd_broken")
    for line in ODD_ONES.strip().replace("; ", ";\n").splitlines():
        sql(spare, line)
    try:
        sql(spare, 'CREATE SEQUENCE "zähler"; SELECT nextval(\'"zähler"\')', "odd_latin")
        sql(
            spare,
            "SET client_encoding TO 'LATIN1'; CREATE SEQUENCE \"zähler\"; SELECT nextval('\"zähler\"')",
            "odd_bytes",
        )
        run = begin(spare, do="backup")
        end = over(spare, run)
        assert (end["code"], end["what"]) == (23, "the set was published without odd_broken")
        assert "invalid database" in end["why"]
        assert 'DROP DATABASE "odd_broken"' in end["hint"]
        assert "odd_closed is left out: it lets nobody in" in journal_text(spare, run)
        assert "INCOMPLETE, without odd_broken" in spare.inv("backup.list")
        assert "the set was published without odd_broken" in spare.inv("status", code=None)
        names = ["odd_role", "odd_bytes", "odd_latin"]
        assert ran(spare, do="restore", set="latest", databases=names)["code"] == 0
    finally:
        sql(spare, "UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'odd_broken'")
        assert ran(spare, do="cleanup")["code"] == 0
        for name in odd:
            sql(spare, f"DROP DATABASE {name}")
        sql(spare, "DROP ROLE odd_reader")
    assert ran(spare, do="backup")["code"] == 0


def test_a_swap_that_somebody_holds_up_ends_by_itself_and_names_who(halved: Clone) -> None:
    before = live(halved)
    with held(halved, f"BEGIN; COMMENT ON DATABASE {named(ODD)} IS 'being written'"):
        end = ran(halved, do="restore", set="latest", databases=[ODD])
    assert (end["code"], end["what"].startswith("somebody holds a lock on")) == (41, True)
    assert "of postgres (psql), " in end["why"]
    assert "pg_terminate_backend(" in end["hint"]
    assert live(halved) == before


def test_what_a_killed_swap_left_is_in_status_and_settle_puts_it_right(halved: Clone) -> None:
    before = live(halved)
    with leaning(halved, "leaning"):
        run = begin(halved, do="restore", set="latest", databases=[ODD], pause="swap")
        paused(halved, run)
        killed(halved, run)
        screen = halved.inv("status", code=None)
        assert f"{run} was cut off in its swap" in screen
        assert "leaning stopped" in screen
        assert "inv backup.settle --host" in screen
        halved.inv("backup.settle")
        assert runs(halved, "leaning")
    assert live(halved) == before
    assert "was cut off in its swap" not in halved.inv("status", code=None)


def test_a_restore_that_replaced_nothing_offers_no_undo_and_is_not_in_the_way_of_one(
    halved: Clone, rows_saved: str
) -> None:
    assert "restore.undo" in halved.inv("restore", "latest", "--database", ODD, "--yes")
    assert "restore.undo" not in halved.inv("restore", "latest", "--database", ODD, "--as", "beside", "--yes")
    try:
        assert live(halved)[1] == rows_saved
        assert ODD in halved.inv("restore.undo", "--yes")
        assert int(live(halved)[1]) < int(rows_saved)
        assert "was undone already" in halved.inv("restore.undo", "--yes", code=REFUSED)
    finally:
        sql(halved, "DROP DATABASE beside")


def test_a_name_that_an_undo_could_not_keep_is_refused_before_anything_is_loaded(halved: Clone) -> None:
    long_name = "g" * 50
    sql(halved, f"CREATE DATABASE {long_name}")
    try:
        arguments = ("restore", "latest", "--database", ODD, "--as", long_name, "--yes")
        assert "__undone_" in halved.inv(*arguments, code=REFUSED)
    finally:
        sql(halved, f"DROP DATABASE {long_name}")

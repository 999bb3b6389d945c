"""What may go wrong around the swap itself: dependents, a server that restarts, a stop, and the undo of the right restore."""

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
from tests.lab.test_backup import cleaned, held, live, named, said

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


@pytest.fixture
def whole(spare: Clone) -> str:
    """How many rows the newest set has."""
    spare.inv("backup")
    return live(spare)[1]


@pytest.fixture
def halved(spare: Clone, whole: str) -> Iterator[Clone]:
    """Half of them are gone; the host is as it was when the test is over."""
    half = f"""SELECT id FROM "Käfer 'x'" ORDER BY id LIMIT {int(whole) // 2}"""
    sql(spare, f"""DELETE FROM "Käfer 'x'" WHERE id IN ({half})""", ODD)
    yield spare
    assert ran(spare, do="restore", set="latest", databases=[ODD])["code"] == 0
    assert live(spare)[1] == whole
    assert left(spare) == ""
    cleaned(spare)


def test_a_dependent_that_was_removed_meanwhile_is_named_and_holds_back_nothing(halved: Clone) -> None:
    with leaning(halved, "leaning", "gone"):
        run = begin(halved, do="restore", set="latest", databases=[ODD], pause="swap")
        paused(halved, run)
        killed(halved, run)
        again = begin(halved, do="backup", only=["config"])
        assert over(halved, again)["code"] == 0
        assert "gone was stopped and does not start" in said(halved, again)
        assert runs(halved, "leaning")
        third = begin(halved, do="backup", only=["config"])
        assert over(halved, third)["code"] == 0
        assert "gone" not in said(halved, third), "recovery is done once"


def test_after_the_swap_a_dependent_that_does_not_start_is_42_and_the_swap_stays(halved: Clone, whole: str) -> None:
    with leaning(halved, "leaning", "gone"):
        told = ran(halved, do="restore", set="latest", databases=[ODD])
        assert (told["code"], "docker start gone" in told["why"]) == (AFTER_THE_SWAP, True)
        assert live(halved)[1] == whole
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
        told = over(halved, run)
        assert (told["code"], told["what"]) == (41, "PostgreSQL failed within the swap")
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
        told = over(halved, run)
        assert told["code"] == 130, (told, said(halved, run))
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


def test_a_restore_that_replaced_nothing_offers_no_undo_and_is_not_in_the_way_of_one(halved: Clone, whole: str) -> None:
    assert "restore.undo" in halved.inv("restore", "latest", "--database", ODD, "--yes")
    assert "restore.undo" not in halved.inv("restore", "latest", "--database", ODD, "--as", "beside", "--yes")
    try:
        assert live(halved)[1] == whole
        assert ODD in halved.inv("restore.undo", "--yes")
        assert int(live(halved)[1]) < int(whole)
        assert "was undone already" in halved.inv("restore.undo", "--yes", code=REFUSED)
    finally:
        sql(halved, "DROP DATABASE beside")


def test_a_name_that_an_undo_could_not_keep_is_refused_before_anything_is_loaded(halved: Clone) -> None:
    long = "g" * 50
    sql(halved, f"CREATE DATABASE {long}")
    try:
        words = ("restore", "latest", "--database", ODD, "--as", long, "--yes")
        assert "__undone_" in halved.inv(*words, code=REFUSED)
    finally:
        sql(halved, f"DROP DATABASE {long}")

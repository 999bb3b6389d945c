"""The swap of names and its failures, on a fake server and a `docker` script."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from worker import configuration, containers, leftovers, plan, records, settling, swap
from worker.contract import REFUSED, RESTORE_FAILED, RESTORE_REFUSED, STEPS, SWAP_FAILED, Request
from worker.errors import Failed
from worker.journal import Journal, read
from worker.records import Record

DOCKER = """#!/bin/sh
# A container runs when it has a file; one that is broken does not start.
cd "$(dirname "$0")/running"
case $1 in
  ps) case $4 in name=*) name=${4#name=^}; [ ! -e "${name%?}" ] || echo id ;; esac ;;
  stop) shift; while [ -e ../stopping ]; do sleep 0.1; done
    for one; do [ ! -e "../stuck-$one" ] || { echo "$one: stuck" >&2; exit 1; }; rm -f "$one"; done ;;
  start) shift; bad=0
    for one; do if [ -e "../broken-$one" ]; then echo "No such container: $one" >&2; bad=1; else : >"$one"; fi; done
    exit $bad ;;
  run) for one; do :; done  # a program on the host: the last word is the question, to whom
    [ ! -e "../mute-$one" ] || { echo "no answer to :5000/health after 60 s (000)"; exit 1; } ;;
esac
"""
NAME = r'"((?:[^"]|"")*)"'


class Fake:
    """A server of database names only: their oids, and whether they allow connections."""

    def __init__(self, **oids: int) -> None:
        self.oids, self.open = dict(oids), dict.fromkeys(oids.values(), True)
        self.away = 0
        self.dies_at, self.commits = "", False
        self.locked = self.held = ""

    def connect(self, name: str = "postgres") -> Session:
        if self.away:
            self.away -= 1
            raise Failed(REFUSED, "PostgreSQL does not let the worker in", "it restarts")
        return Session(self)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        if self.locked and self.locked in statement:
            raise psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
        if "pg_locks" in statement:
            return [
                {
                    "who": "session 4711 of app (psql), idle in transaction since 2026-11-26 09:00 UTC",
                    "pid": 4711,
                    "name": "geo",
                }
            ]
        if self.held and self.held in statement:
            raise psycopg.errors.ObjectInUse("database is being used by logical replication subscription")
        if "pg_subscription" in statement:
            return [{"what": "subscription", "name": "s1", "database": name} for name in self.oids if self.held]
        if self.dies_at and self.dies_at in statement:
            self.dies_at = ""
            raise psycopg.OperationalError("the server closed the connection")
        if match := re.match(f"ALTER DATABASE {NAME} RENAME TO {NAME}", statement):
            self.oids[match[2]] = self.oids.pop(match[1])
        elif match := re.match(f"ALTER DATABASE {NAME} ALLOW_CONNECTIONS (true|false)", statement):
            self.open[self.oids[match[1]]] = match[2] == "true"
        elif match := re.match(f"DROP DATABASE IF EXISTS {NAME}", statement):
            self.oids.pop(match[1], None)
        elif "datname AS name" in statement:
            return [{"name": name, "oid": oid, "bytes": 1} for name, oid in self.oids.items()]
        return []

    def closed(self) -> list[str]:
        return [name for name, oid in self.oids.items() if not self.open[oid]]


class Session:
    def __init__(self, server: Fake) -> None:
        self.server, self.dead = server, False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        self.dead = True

    @property
    def closed(self) -> bool:
        return self.dead

    broken = closed
    info = SimpleNamespace(user="postgres")

    def execute(self, statement: Any, *_: Any) -> Any:
        if self.dead:
            raise psycopg.OperationalError("the connection is closed")
        try:
            rows = self.server.rows(statement if isinstance(statement, str) else statement.as_string(None))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.ObjectInUse):
            raise
        except psycopg.OperationalError:
            self.dead = True
            raise
        return SimpleNamespace(fetchall=lambda: rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        before = dict(self.server.oids)
        try:
            yield
        except BaseException:
            self.server.oids = before
            raise
        if self.server.commits:
            self.dead = True
            raise psycopg.OperationalError("the answer to COMMIT was lost")


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the `docker` script; `running` has a file for each running container."""
    (tmp_path / "bin/running").mkdir(parents=True)
    (tmp_path / "bin/docker").write_text(DOCKER)
    (tmp_path / "bin/docker").chmod(0o755)
    for name in ("mlflow", "web"):
        (tmp_path / "bin/running" / name).touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "bin"


@pytest.fixture
def job(tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(records, "RECORDS", tmp_path / "restores")
    monkeypatch.setattr(settling, "PAUSE", 0)
    monkeypatch.setattr(configuration, "BESIDE", tmp_path / "configuration")
    journal = Journal(tmp_path / "journal.jsonl", STEPS["restore"])
    config = {"dependents": ["mlflow", "web", "away"]}
    server = Fake(geo=1, geo__r_a1b2c3=2, template1=3)
    return SimpleNamespace(
        config=config, journal=journal, server=server, has_postgres=True, request=Request(), sweep=lambda: None
    )


def begun(at: str = "2026-11-21T09:00:00+00:00", number: str = "a1b2c3") -> Record:
    record = Record(f"20261121T090000Z-{number}", "the set", at, {f"geo__r_{number}": "geo"}, phase="loaded")
    record.save()
    return record


def swapped(job: Any, record: Record | None = None) -> int:
    record = record or begun()
    number = record.run[-6:]
    return swap.swap(job, job.server.connect(), record, {"geo": f"geo__r_{number}"}, {"geo": f"geo__old_{number}"})


def running(docker: Path) -> list[str]:
    return sorted(path.name for path in (docker / "running").iterdir())


def journal_text(job: Any) -> str:
    return "\n".join(event.get("text", "") for event in read(job.journal.path))


def test_a_swap_changes_the_names_and_starts_what_ran(job: Any, docker: Path) -> None:
    assert swapped(job) == 0
    assert job.server.oids == {"geo": 2, "geo__old_a1b2c3": 1, "template1": 3}
    assert running(docker) == ["mlflow", "web"]
    assert [(record.phase, record.stopped) for record in Record.all()] == [("done", [])]


def test_what_restores_and_undos_keep_is_known_as_ours(job: Any, docker: Path) -> None:
    """A backup skips it without a warning, although it allows no connections, like a database that a person has closed."""
    swapped(job)
    assert leftovers.ours() == {"geo__r_a1b2c3", "geo__old_a1b2c3", "geo__undone_a1b2c3"}


def test_a_dependent_that_does_not_start_is_named_and_holds_back_no_later_run(job: Any, docker: Path) -> None:
    (docker / "broken-mlflow").touch()
    with pytest.raises(Failed, match="the swap is done") as caught:
        swapped(job)
    assert caught.value.code == SWAP_FAILED
    assert "docker start mlflow" in caught.value.why and "No such container" in caught.value.why
    assert running(docker) == ["web"], "each is started for itself"
    assert [(record.phase, record.stopped) for record in Record.all()] == [("done", [])]
    job.journal.say("the next run")
    settling.recover(job)
    assert journal_text(job).endswith("the next run")


def test_a_dependent_that_starts_and_does_not_answer_is_named_after_a_restore_and_after_its_undo(
    job: Any, docker: Path
) -> None:
    job.run, job.config["image"] = "r", "worker"
    job.config["answers"] = {"mlflow": "mlflow", "web": "web", "away": "away"}
    assert swapped(job) == 0
    assert "waiting until mlflow, web answer" in journal_text(job)
    (docker / "mute-mlflow").touch()
    with pytest.raises(Failed, match="the undo is done, but something is wrong after it") as caught:
        swap.undo(job)
    assert caught.value.code == SWAP_FAILED
    assert caught.value.why == ("mlflow was started and does not answer: no answer to :5000/health after 60 s (000)")
    assert [(record.phase, record.stopped) for record in Record.all()] == [("undone", [])]
    assert running(docker) == ["mlflow", "web"]


def test_a_swap_that_somebody_holds_up_ends_by_itself_and_names_who(job: Any, docker: Path) -> None:
    job.server.locked = "RENAME TO"
    with pytest.raises(Failed) as caught:
        swapped(job)
    assert caught.value.code == RESTORE_FAILED
    assert "somebody holds a lock on geo" in caught.value.what
    assert "session 4711 of app (psql), idle in transaction" in caught.value.why
    assert "pg_terminate_backend(4711)" in caught.value.hint
    unharmed(job, docker)


def test_a_scratch_database_that_cannot_be_dropped_is_named_and_holds_back_nothing(job: Any, docker: Path) -> None:
    record = begun()
    record.live, record.stopped, record.phase = {"geo": 1}, ["mlflow"], "swapping"
    record.save()
    (docker / "running/mlflow").unlink()
    job.server.open[1] = False
    job.server.held = "DROP DATABASE"
    settling.recover(job)
    assert job.server.closed() == [], "what is live was opened first"
    assert running(docker) == ["mlflow", "web"]
    assert (
        "geo__r_a1b2c3, which a failed restore had loaded, could not be dropped: geo__r_a1b2c3 has a subscription s1"
        in journal_text(job)
    )
    assert "PostgreSQL does not answer" not in journal_text(job)
    job.journal.say("the next run")
    settling.recover(job)
    assert journal_text(job).endswith("the next run"), "it is told once"
    assert [row["name"] for row in leftovers.find(job)] == ["geo__r_a1b2c3"], "and restore.cleanup drops it"
    assert leftovers.scratch() == {"geo__r_a1b2c3"}, "and no backup has it"


def stuck(job: Any) -> Record:
    record = begun()
    record.live, record.phase = {"geo": 1}, "swapping"
    record.save()
    job.server.held = "DROP DATABASE"
    settling.recover(job)
    return record


def test_what_cannot_be_dropped_stays_a_finding_until_it_is(job: Any, docker: Path) -> None:
    stuck(job)
    assert [record.left for record in Record.all()] == [["geo__r_a1b2c3"]]
    with pytest.raises(
        Failed, match="geo__r_a1b2c3, which a failed restore had loaded, could not be dropped"
    ) as caught:
        settling.must_be_settled(job)
    assert "-d geo__r_a1b2c3 -c 'ALTER SUBSCRIPTION \"s1\" DISABLE'" in caught.value.hint
    job.server.held = ""
    settling.recover(job)
    assert settling.must_be_settled(job) == 0
    assert [record.left for record in Record.all()] == [[]]
    assert "geo__r_a1b2c3" not in job.server.oids


def test_a_kept_database_that_cannot_be_dropped_keeps_no_other(job: Any, docker: Path) -> None:
    swapped(job)
    job.server.oids["geo__r_b2c3d4"], job.server.open[9] = 9, True
    swapped(job, begun("2026-11-22T09:00:00+00:00", "b2c3d4"))
    job.server.held = 'DROP DATABASE IF EXISTS "geo__old_a1b2c3"'
    with pytest.raises(Failed, match="geo__old_a1b2c3 could not be dropped") as caught:
        leftovers.cleanup(job)
    assert "geo__old_b2c3d4" not in job.server.oids and "geo__old_a1b2c3" in job.server.oids
    assert caught.value.hint.endswith("then inv restore.cleanup")


def test_the_way_back_of_a_bucket_that_cannot_be_dropped_is_found_by_the_next_cleanup(job: Any, monkeypatch) -> None:
    record = Record("20261121T090000Z-a1b2c3", "set", "2026-11-21T09:00:00+00:00", phase="done")
    record.buckets = {"b": {"made": False, "held": {}, "kept": "stowage-kept-a1b2c3", "waiting": {"lifecycle": "<L/>"}}}
    record.save()

    def refused(*_: Any) -> None:
        raise Failed(41, "the lifecycle of the bucket b cannot be set", "AccessDenied")

    monkeypatch.setattr(leftovers.takeback, "connect", lambda config: None)
    monkeypatch.setattr(leftovers.takeback.listing, "names", lambda client: [])
    monkeypatch.setattr(leftovers.takeback, "forget", refused)
    for _ in range(2):
        with pytest.raises(Failed, match="the way back of the bucket b could not be dropped"):
            leftovers.cleanup(job)
    monkeypatch.setattr(leftovers.takeback, "forget", lambda *_: None)
    leftovers.cleanup(job)
    assert [record.phase for record in Record.all()] == ["cleaned"]


def test_a_stop_that_outlives_its_run_is_over_before_what_it_stops_is_started(job: Any, docker: Path) -> None:
    record = begun()
    record.live, record.stopped, record.phase = {"geo": 1}, ["mlflow", "web"], "swapping"
    record.save()
    (docker / "running/web").unlink()  # this one was quick
    (docker / "stopping").touch()
    of_docker = threading.Timer(0.5, lambda: [(docker / name).unlink() for name in ("running/mlflow", "stopping")])
    of_docker.start()
    settling.recover(job)
    of_docker.join()
    assert running(docker) == ["mlflow", "web"]
    assert "mlflow: a stop of a run that was cut may not be over" in journal_text(job)


def test_a_container_that_cannot_be_stopped_is_no_reason_to_leave_the_others_stopped(job: Any, docker: Path) -> None:
    record = begun()
    record.live, record.stopped, record.phase = {"geo": 1}, ["mlflow", "web"], "undoing"
    record.save()
    (docker / "running/web").unlink()
    (docker / "stuck-mlflow").touch()
    settling.recover(job)
    assert running(docker) == ["mlflow", "web"]


def test_recovery_is_done_once_although_a_dependent_is_gone(job: Any, docker: Path) -> None:
    record = begun()
    record.live, record.stopped, record.phase = {"geo": 1}, ["mlflow"], "swapping"
    record.save()
    (docker / "broken-mlflow").touch()
    job.server.open[1] = False
    settling.recover(job)
    assert "mlflow was stopped and does not start" in journal_text(job)
    assert [(kept.phase, kept.stopped) for kept in Record.all()] == [("failed", [])]
    assert job.server.closed() == []


@pytest.mark.parametrize("error", [psycopg.OperationalError("gone"), OSError("no file"), Failed(REFUSED, "not let in")])
def test_after_the_commit_no_error_says_that_nothing_was_swapped(
    job: Any, docker: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(name: str = "postgres") -> Session:
        raise error

    record, session = begun(), job.server.connect()
    monkeypatch.setattr(job.server, "connect", connect)
    with pytest.raises(Failed, match="the swap is done") as caught:
        swap.swap(job, session, record, {"geo": "geo__r_a1b2c3"}, {"geo": "geo__old_a1b2c3"})
    assert caught.value.code == SWAP_FAILED
    assert (record.phase, running(docker)) == ("done", ["mlflow", "web"])


def unharmed(job: Any, docker: Path) -> None:
    assert job.server.oids == {"geo": 1, "template1": 3}
    assert job.server.closed() == []
    assert running(docker) == ["mlflow", "web"]
    assert [(record.phase, record.stopped) for record in Record.all()] == [("failed", [])]


def test_a_dependent_that_cannot_be_stopped_leaves_all_as_it_was(job: Any, docker: Path) -> None:
    (docker / "stuck-web").touch()
    with pytest.raises(Failed, match="mlflow, web cannot be stopped") as caught:
        swapped(job)
    assert (caught.value.code, "web: stuck" in caught.value.why) == (RESTORE_FAILED, True)
    unharmed(job, docker)


def test_a_run_that_is_stopped_while_it_stops_dependents_starts_them_again(
    job: Any, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = containers.stop

    def interrupted(names: list[str]) -> None:
        stop(names)
        raise KeyboardInterrupt

    monkeypatch.setattr(containers, "stop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swapped(job)
    unharmed(job, docker)


def test_a_server_that_restarts_within_the_swap_is_waited_for(job: Any, docker: Path) -> None:
    record, session = begun(), job.server.connect()
    job.server.dies_at, job.server.away = "RENAME", 3
    with pytest.raises(Failed, match="failed within the swap") as caught:
        swap.swap(job, session, record, {"geo": "geo__r_a1b2c3"}, {"geo": "geo__old_a1b2c3"})
    assert caught.value.code == RESTORE_FAILED and "the server closed the connection" in caught.value.why
    unharmed(job, docker)
    assert "PostgreSQL does not answer" in journal_text(job)


def test_what_cannot_be_taken_back_is_never_told_as_untouched(
    job: Any, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 0)
    record, session = begun(), job.server.connect()
    job.server.dies_at, job.server.away = "RENAME", 1
    with pytest.raises(Failed, match="may still be closed") as caught:
        swap.swap(job, session, record, {"geo": "geo__r_a1b2c3"}, {"geo": "geo__old_a1b2c3"})
    assert caught.value.code == SWAP_FAILED and "inv backup" in caught.value.hint
    settling.recover(job)
    unharmed(job, docker)


def test_a_commit_whose_answer_was_lost_is_a_swap(job: Any, docker: Path) -> None:
    job.server.commits = True
    with pytest.raises(Failed, match="the names were changed") as caught:
        swapped(job)
    assert caught.value.code == SWAP_FAILED
    assert (Record.all()[0].phase, running(docker)) == ("done", ["mlflow", "web"])


def test_who_is_cut_while_taking_back_is_not_taken_for_a_swap(job: Any) -> None:
    """The scratch database is already dropped, and the live one still closed."""
    record = begun()
    record.live, record.phase = {"geo": 1}, "swapping"
    record.save()
    del job.server.oids["geo__r_a1b2c3"]
    job.server.open[1] = False
    settling.recover(job)
    assert (Record.all()[0].phase, job.server.closed()) == ("failed", [])


def test_an_undo_brings_back_what_was_and_starts_what_ran(job: Any, docker: Path) -> None:
    swapped(job)
    assert swap.undo(job) == 0
    assert job.server.oids == {"geo": 1, "geo__undone_a1b2c3": 2, "template1": 3}
    assert (running(docker), Record.all()[0].phase) == (["mlflow", "web"], "undone")
    assert job.server.open[1]


def test_an_undo_that_is_cut_leaves_the_restore_done(job: Any, docker: Path) -> None:
    swapped(job)
    job.server.dies_at, job.server.away = "RENAME", 0
    with pytest.raises(Failed, match="failed within the swap"):
        swap.undo(job)
    assert job.server.oids == {"geo": 2, "geo__old_a1b2c3": 1, "template1": 3}
    assert (running(docker), Record.all()[0].phase, job.server.open[2]) == (["mlflow", "web"], "done", True)


def test_an_undo_that_is_stopped_before_it_began_changes_nothing(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    swapped(job)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(swap, "stop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swap.undo(job)
    assert Record.all()[0].phase == "done"


def test_an_undo_whose_dependent_does_not_start_is_done_and_says_so(job: Any, docker: Path) -> None:
    swapped(job)
    (docker / "broken-web").touch()
    with pytest.raises(Failed, match="the undo is done") as caught:
        swap.undo(job)
    assert caught.value.code == SWAP_FAILED and "docker start web" in caught.value.why
    assert Record.all()[0].phase == "undone"


def test_an_undo_is_of_the_newest_restore_by_the_clock_of_the_host(job: Any) -> None:
    """Operators' clocks differ: the run with the later name was the earlier one."""
    swapped(job, begun("2026-11-21T09:00:00+00:00", "a1b2c3"))
    job.server.oids["geo__r_000000"], job.server.open[7] = 7, True
    swapped(job, begun("2026-11-21T09:30:00+00:00", "000000"))
    assert swap.undoable(job)["databases"] == [{"name": "geo", "kept": "geo__old_000000", "away": "geo__undone_000000"}]
    swap.undo(job)
    assert job.server.oids["geo"] == 2


def copied(job: Any) -> None:
    """A restore that replaces nothing."""
    record = Record("20261121T100000Z-0000ff", "a set", "2026-11-21T10:00:00+00:00", {"copy__r_0000ff": "copy"})
    job.server.oids["copy__r_0000ff"], job.server.open[8] = 8, True
    swap.swap(job, job.server.connect(), record, {"copy": "copy__r_0000ff"}, {"copy": "copy__old_0000ff"})


@pytest.mark.parametrize(
    ("then", "why"),
    [
        (swap.undo, "of the set, begun 2026-11-21 09:00 UTC, was undone already"),
        (leftovers.cleanup, "of the set, begun 2026-11-21 09:00 UTC, was cleaned up"),
    ],
    ids=["undone", "cleaned"],
)
def test_an_undo_never_reaches_for_an_older_restore(job: Any, then: Any, why: str) -> None:
    swapped(job)
    older = Record("20261120T090000Z-111111", "old", "2026-11-20T09:00:00+00:00", live={"app": 3}, phase="done")
    older.kept = {"app__old_111111": "app"}
    older.save()
    then(job)
    before = dict(job.server.oids)
    for act in (swap.undoable, swap.undo):
        with pytest.raises(Failed, match="no restore to undo") as caught:
            act(job)
        assert caught.value.code == RESTORE_REFUSED and why in caught.value.why
    assert job.server.oids == before


def test_a_restore_that_replaced_nothing_is_not_in_the_way_of_an_undo(job: Any) -> None:
    swapped(job)
    copied(job)
    assert [database["name"] for database in swap.undoable(job)["databases"]] == ["geo"]
    assert swap.undo(job) == 0


def test_an_undo_of_another_restore_than_was_shown_is_refused(job: Any) -> None:
    swapped(job)
    job.request.of = "20261120T090000Z-111111"
    with pytest.raises(Failed, match="the newest restore is that of the set") as caught:
        swap.undo(job)
    assert caught.value.code == RESTORE_REFUSED
    job.request.of = "20261121T090000Z-a1b2c3"
    assert swap.undo(job) == 0


@pytest.mark.parametrize(("bytes", "fits"), [(48, True), (49, False), (51, False)])
def test_a_name_that_an_undo_could_not_keep_is_refused_before_anything_starts(bytes: int, fits: bool) -> None:
    names = {"geo": "g" * bytes}
    assert plan.beside(names, {"other"}, "NUMBER")[1], "what replaces nothing is never undone"
    if fits:
        plan.beside(names, {"g" * bytes}, "NUMBER")
        return
    with pytest.raises(Failed, match="too long to restore beside it") as caught:
        plan.beside(names, {"g" * bytes}, "NUMBER")
    assert "__undone_" in caught.value.why


def test_a_name_that_is_too_long_for_an_undo_can_be_cleaned_up(job: Any) -> None:
    name = "g" * 50
    kept = f"{name}__old_a1b2c3"
    record = Record("20261121T090000Z-a1b2c3", "set", "2026-11-21T09:00:00+00:00", kept={kept: name}, phase="done")
    record.save()
    job.server.oids[kept] = 9
    assert [row["name"] for row in leftovers.find(job)] == [kept]
    leftovers.cleanup(job)
    assert kept not in job.server.oids


def test_an_end_that_cannot_be_told_is_not_decided_twice(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost journal is no reason to take back a finished restore."""
    record = begun()
    record.live, record.kept, record.phase = {"geo": 1}, {"geo__old_a1b2c3": "geo"}, "swapping"
    job.server.oids = {"geo": 2, "geo__old_a1b2c3": 1}
    record.stopped, job.server.away = ["mlflow"], 0
    record.save()
    monkeypatch.setattr(settling, "end", lambda *_: (_ for _ in ()).throw(Failed(REFUSED, "the journal is lost")))
    decided: list[str] = []
    take_back = settling.take_back
    monkeypatch.setattr(settling, "take_back", lambda *of: decided.append(take_back(*of)) or decided[-1])
    with pytest.raises(Failed, match="the journal is lost"):
        settling.recover(job)
    assert decided == ["done"]

"""The worker's errors for full disks, locked tables, and targets that are given up."""

from __future__ import annotations

import shlex
import socketserver
import subprocess
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote_plus

import pytest

from worker import containers, copies, databases, locks, obstacles, preflight, retention, sets
from worker.buckets import blobs
from worker.containers import Tools
from worker.contract import COPY_FAILED, FAILED, REFUSED
from worker.errors import Failed
from worker.keys import Keys
from worker.parts import Part, PartWriter
from worker.targets import PathTarget, base
from worker.targets.base import Room
from worker.toolbox import Toolbox

RUN = "20261121T020000Z-a1b2c3"
Usage = namedtuple("Usage", "free")


def tools(folder: Path) -> Tools:
    return Tools(RUN, "image", "postgres", "0:0", folder / RUN, folder / "word", "postgres", FAILED, Toolbox())


@pytest.mark.parametrize(
    ("free", "hint", "why"),
    [(4096, "set backup.staging", "4.0 KiB are free in"), (1 << 40, "PostgreSQL's data is full", "")],
)
def test_a_tool_that_found_no_space_says_which_disk_is_full(tmp_path: Path, monkeypatch, free, hint, why) -> None:
    monkeypatch.setattr(containers.shutil, "disk_usage", lambda path: Usage(free))
    failed = tools(tmp_path)._failure("dump-00000019-00000018-1", 1, "pg_dump: error: x: No space left on device")
    assert failed.what == "pg_dump failed with status 1"
    assert hint in failed.hint
    assert why in failed.why


def test_only_what_docker_lists_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, removed = list[str](), list[tuple[str, ...]]()

    class Docker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(unquote_plus(self.path))
            body = b'[{"Id": "abc"}]' if self.path.startswith("/containers") else b"[]"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    monkeypatch.setattr(containers, "SOCKET", str(tmp_path / "docker.sock"))
    monkeypatch.setattr(containers, "docker", lambda *words: removed.append(words) or "")
    containers.remove(RUN)
    assert removed == [], "without an answer nothing is removed"
    with socketserver.UnixStreamServer(containers.SOCKET, Docker) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        containers.remove(RUN)
        server.shutdown()
    assert removed == [("rm", "-f", "abc")]
    label = '{"label": ["org.stowage.backup=' + RUN + '"]}'
    assert asked == [f"/containers/json?all=true&filters={label}", f"/networks?all=true&filters={label}"]


def test_a_failure_names_its_database_and_what_mends_it() -> None:
    saved, writer = databases.Databases(), SimpleNamespace(alive=[1])
    with databases.by_itself("geo", writer, saved):  # type: ignore[arg-type]
        raise Failed(FAILED, "pg_dump failed with status 1", "No space left on device", "set backup.staging to another")
    failed = databases.incomplete(saved.failed)
    assert (failed.what, failed.hint) == ("the set was published without geo", "set backup.staging to another")
    assert failed.why.startswith("geo: it could not be dumped: pg_dump failed")


def test_a_reason_that_many_share_is_said_once() -> None:
    away = Failed(FAILED, "MinIO does not answer", "no read quorum")
    failed = databases.incomplete(
        {"geo": Failed(FAILED, "it is gone", "why"), "the bucket a": away, "the bucket b": away}
    )
    assert failed.why.splitlines()[1:] == ["the bucket a, the bucket b: MinIO does not answer: no read quorum"]


def test_a_command_that_mends_a_database_can_be_pasted_whatever_it_is_called() -> None:
    saved, writer = databases.Databases(), SimpleNamespace(alive=[1])
    for name in ("geo", """My "Db" it's"""):
        with databases.by_itself(name, writer, saved, "the super"):  # type: ignore[arg-type]
            raise Failed(FAILED, "x", f'FATAL:  cannot connect to invalid database "{name}"')
    commands = [error.hint.rpartition("on the host: ")[2] for error in saved.failed.values()]
    assert [shlex.split(command)[4:] for command in commands] == [
        ["-U", "the super", "-d", "postgres", "-c", 'DROP DATABASE "geo"'],
        ["-U", "the super", "-d", "postgres", "-c", """DROP DATABASE "My ""Db"" it's\""""],
    ]


ROWS = [
    {"what": "subscription", "name": "My Sub", "database": "a=b"},
    {"what": "prepared transaction", "name": "it's", "database": "geo"},
    {"what": "replication slot", "name": "s1", "database": "geo"},
]


def test_what_hangs_on_a_database_is_named_with_the_commands_that_end_it() -> None:
    assert obstacles.describe(ROWS)[0] == "a=b has a subscription My Sub"
    lines = obstacles.ways(ROWS, "postgres")
    statements = [
        [word for word in shlex.split(line)[8:] if word != "-c"] for line in (way.partition(": ")[2] for way in lines)
    ]
    assert statements == [
        [
            'ALTER SUBSCRIPTION "My Sub" DISABLE',
            'ALTER SUBSCRIPTION "My Sub" SET (slot_name = NONE)',
            'DROP SUBSCRIPTION "My Sub"',
        ],
        ["COMMIT PREPARED 'it''s'"],
        ["ROLLBACK PREPARED 'it''s'"],
        ["SELECT pg_drop_replication_slot('s1')"],
    ]
    assert shlex.split(lines[0].partition(": ")[2])[7] == "dbname='a=b'"


def server(rows: list[dict[str, Any]]) -> Any:
    class Session:
        def __enter__(self) -> Session:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def execute(self, query: str) -> Any:
            return SimpleNamespace(fetchall=lambda: rows)

    return SimpleNamespace(user="postgres", connect=lambda database: Session())


def test_a_locked_table_is_named_with_who_holds_it_and_what_ends_that() -> None:
    rows = [
        {"name": f"public.{letter}", "pid": 7, "who": "session 7 of geo (psql), idle in transaction"} for letter in "ab"
    ]
    failed = locks.locked(server(rows), "geo")
    assert failed.what == "public.a, public.b is locked for more than a minute"
    assert failed.why == "session 7 of geo (psql), idle in transaction"
    assert failed.hint.splitlines() == [
        "on the host: docker exec postgres psql -U postgres -d postgres -c 'SELECT pg_terminate_backend(7)'",
        "then inv backup",
    ]
    assert locks.locked(server([]), "geo").why == "it is free again"


def test_a_dump_that_waits_says_once_for_whom(monkeypatch) -> None:
    now, messages = [0.0], list[str]()
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    tell = locks.saying(server([{"name": "public.a", "pid": 7, "who": "session 7"}]), "geo", messages.append)
    for now[0] in (1.0, 4.0, 6.0, 9.0):
        tell()
    assert messages == ["geo: waiting for public.a, which session 7 has locked"]


@pytest.mark.parametrize(("free", "most", "refused"), [(99, 1000, True), (100, 1000, False), (99, 50, False)])
def test_a_target_with_less_room_than_the_last_set_took_is_given_up_before_it_is_filled(free, most, refused) -> None:
    target = SimpleNamespace(name="usb", room=lambda: Room(free, "/mnt/usb", "df -h /mnt/usb"))
    previous = SimpleNamespace(parts=[Part("a", 60, 1, "", ""), Part("b", 40, 1, "", "")])
    if not refused:
        preflight.must_have_room(target, previous, most)  # type: ignore[arg-type]
        return
    with pytest.raises(Failed, match="usb: it has no room for a set") as caught:
        preflight.must_have_room(target, previous, most)  # type: ignore[arg-type]
    assert caught.value.why == "the last one took 100 B, 99 B are free in /mnt/usb"
    assert (caught.value.code, caught.value.hint) == (REFUSED, "df -h /mnt/usb")


def test_a_set_from_the_future_is_named_with_both_ways_out() -> None:
    now = datetime(2026, 11, 28, 9, 0, 0, tzinfo=UTC)
    late = [SimpleNamespace(id=RUN, valid=True, created=now + timedelta(days=400))]
    with pytest.raises(Failed, match="the clock is behind the newest set") as caught:
        preflight.must_not_be_ahead("prod", late, now)  # type: ignore[arg-type]
    assert caught.value.why.endswith("2028-01-02 09:00:00 UTC, and here it is 2026-11-28 09:00:00")
    assert f"move prod/sets/{RUN}/manifest.json away on every target" in caught.value.hint
    late[0].created = now + timedelta(seconds=30)
    preflight.must_not_be_ahead("prod", late, now)  # type: ignore[arg-type]


def test_the_first_set_and_a_target_that_tells_no_room_are_tried() -> None:
    target = SimpleNamespace(name="usb", room=lambda: None)
    preflight.must_have_room(target, None, 5)  # type: ignore[arg-type]
    preflight.must_have_room(target, SimpleNamespace(parts=[Part("a", 60, 1, "", "")]), 99)  # type: ignore[arg-type]


def test_a_set_that_lacks_a_copy_says_where_it_is_and_what_mends_each_target() -> None:
    alive = [SimpleNamespace(name="own")]
    job = SimpleNamespace(alive=alive, dead={"usb": "full", "far": "away"}, ways={"usb": "df -h /mnt/usb"})
    failed = copies.lacks_copies(job)  # type: ignore[arg-type]
    assert (failed.code, failed.what) == (COPY_FAILED, "the set is on own, and not on usb, far")
    assert failed.hint.splitlines()[0] == "usb: df -h /mnt/usb"


def test_a_target_that_ran_full_is_freed_of_this_run_and_one_that_went_away_is_not_waited_for(tmp_path: Path) -> None:
    keys = Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)
    usb = PathTarget("usb", str(tmp_path), device=lambda path: hash(path))
    asked, lines = list[str](), list[str]()

    def pruner(name: str) -> PathTarget:
        asked.append(name)
        return usb

    journal = SimpleNamespace(say=lines.append)
    job: Any = SimpleNamespace(run=RUN, stack="prod", keys=keys, pruner=pruner, journal=journal, dead={}, ways={})
    job.silent, job.targets, job.alive = set(), {"usb": usb, "far": None}, []
    usb.put(f"{sets.folder('prod', RUN)}/buckets/b.index.00000", b"x")
    usb.put(blobs.key("prod", "aa1"), b"x")
    away, full = Failed(FAILED, "far: it does not answer"), base.full("usb", 9, None)
    writer = PartWriter([usb], keys, "x")
    writer.drop(usb, full)
    writer.dropped["far"] = away
    with pytest.raises(Failed, match="no target is left"), copies.writing(job, writer):
        raise Failed(FAILED, "no target is left")
    assert (asked, list(usb.list(""))) == (["usb"], [])
    assert lines == ["usb: 1 parts and 1 contents that no set needs were taken away"]
    copies.died(job, "far", away)
    copies.died(job, "usb", full)
    assert job.silent == {"far"}
    job.config, job.request = {"retention": {"days": 30}}, SimpleNamespace(allow_many=False)
    assert not retention.apply(job)
    assert asked == ["usb", "usb"]


def test_what_had_arrived_of_a_set_is_taken_away_unless_it_has_its_manifest(tmp_path: Path) -> None:
    target = PathTarget("usb", str(tmp_path), device=lambda path: hash(path))
    place, other = sets.folder("prod", RUN), sets.folder("prod", RUN.replace("a1", "b1"))
    for key in (f"{place}/pg/app.tar.00000", f"{other}/pg/app.tar.00000"):
        target.put(key, b"x")
    assert retention.take_away(target, "prod", RUN) == 1
    assert [entry.key for entry in target.list("")] == [f"{other}/pg/app.tar.00000"]
    target.put(f"{other}/{sets.MANIFEST}", b"{}")
    assert retention.take_away(target, "prod", RUN.replace("a1", "b1")) == 0
    assert len(list(target.list(""))) == 2

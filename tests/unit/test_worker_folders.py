"""Folders of services: packed while programs write, unpacked beside the live ones, swapped, undone, recovered after a kill."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from worker import (
    containers,
    folder_restore,
    folder_swap,
    folders,
    host,
    listing,
    packing,
    records,
    sets,
    settling,
    swap,
    tar,
)
from worker.contract import OK, RESTORE_FAILED, RESTORE_REFUSED, STEPS, SWAP_FAILED, Request
from worker.databases import Streams
from worker.errors import Failed
from worker.job import Job
from worker.journal import Journal, read
from worker.keys import Keys
from worker.manifest import Manifest
from worker.packing import Packing
from worker.records import Record
from worker.targets import PathTarget

RUN, SET = "20261127T020000Z-a1b2c3", "20261126T020000Z-d4e5f6"
NOW = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
ODD = "odd\nname \\ :é"


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)


@pytest.fixture
def job(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job of a host with one service of two folders; commands for the host run here."""
    data, docker = tmp_path / "data", tmp_path / "bin"
    for path in (data / "app", data / "logs", docker, tmp_path / "staging", tmp_path / "target"):
        path.mkdir(parents=True)
    (data / "app/one").write_text("one")
    (data / "logs/log").write_text("a line\n")
    (docker / "running").touch()
    (docker / "docker").write_text(
        f"""#!/bin/sh
cd {docker}
case $1 in ps) [ ! -e running ] || echo id ;; stop) rm -f running ;; start) [ ! -e broken ] || exit 1; : >running ;; esac
"""
    )
    (docker / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker}:{os.environ['PATH']}")
    monkeypatch.setattr(records, "RECORDS", tmp_path / "restores")
    monkeypatch.setattr(host, "command_line", lambda job, *argv: ["env", "LC_ALL=C", *argv])
    page = {"folders": {"/app": f"{data}/app", "/logs": f"{data}/logs"}, "stop": False, "waits": ""}
    config = {"stack": "lab", "staging": str(tmp_path / "staging"), "services": {"app": page}, "dependents": []}
    request = Request(do="restore", set=SET, service="app")
    made = Job(RUN, config, request, Journal(tmp_path / "journal.jsonl", STEPS["restore"]))
    (tmp_path / "staging" / RUN).mkdir()
    made.__dict__ |= {
        "targets": {"here": PathTarget("here", str(tmp_path / "target"), device=hash)},
        "keys": keys,
        "staging": tmp_path / "staging" / RUN,
    }
    return made


def journal_text(job: Job) -> str:
    return "\n".join(event["text"] for event in read(job.journal.path) if event["event"] == "say")


def saved(job: Job, **more: Any) -> folders.Folders:
    """A set of the folders, published."""
    streams: Streams = {}
    with sets.PartWriter(job.alive, job.keys, sets.folder("lab", SET)) as writer:
        outcome = folders.save(job, writer, streams, None)
    failed = {name: str(error) for name, error in outcome.failed.items()}
    contents = {"components": {"services": streams}, "folders": outcome.saved, "failed_folders": failed}
    manifest = Manifest(SET, "lab", "prod", NOW, NOW, **contents, **more)
    sets.publish(job.targets["here"], manifest.signed(job.keys))
    return outcome


def folder(job: Job, name: str = "app") -> Path:
    return Path(job.config["services"]["app"]["folders"][f"/{name}"])


def beside(job: Job) -> set[str]:
    return {path.name for path in folder(job).parent.iterdir()}


def packed(job: Job) -> Packing:
    packer = Packing(job, folders.of(job.config)[0])
    for _ in packer.chunks():
        pass
    return packer


def test_everything_that_a_file_has_comes_back(job: Job, tmp_path: Path) -> None:
    live = folder(job)
    (live / "sub").mkdir(mode=0o750)
    os.link(live / "one", live / "sub/hard")
    (live / "link").symlink_to("nowhere")
    (live / ODD).write_text("x")
    (live / "tool").write_text("#!")
    (live / "tool").chmod(0o4711)
    os.mkfifo(live / "pipe")
    with (live / "holes").open("wb") as file:
        file.truncate(50 << 20)
    saved(job)
    (live / ODD).write_text("changed")
    (live / "one").unlink()
    (live / "new").touch()
    assert folder_restore.run(job) == OK
    assert (live / ODD).read_text() == "x"
    assert (live / "one").samefile(live / "sub/hard")
    assert os.readlink(live / "link") == "nowhere"
    assert oct((live / "tool").stat().st_mode) == "0o104711"
    assert (live / "holes").stat().st_size == 50 << 20 and (live / "holes").stat().st_blocks < 100
    assert not (live / "new").exists()
    assert (Path(f"{live}.old-a1b2c3") / "new").exists(), "what was live is kept"


def test_a_socket_is_skipped_and_named(job: Job) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder(job) / "s"))
        assert "./s" not in packed(job).listing.rows
    assert "./s: neither file nor folder, left out" in journal_text(job)


def meanwhile(monkeypatch: pytest.MonkeyPatch, *complaints: tuple[str, ...]) -> None:
    """The real tar with more complaints, a list for each round."""
    rounds, pack = iter(complaints), tar.pack

    def complaining(*arguments: Any, complaints: list[str], **more: Any) -> Iterator[bytes]:
        yield from pack(*arguments, complaints=complaints, **more)
        complaints += next(rounds, ())

    monkeypatch.setattr(tar, "pack", complaining)


def test_a_file_that_changed_while_it_was_read_is_read_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, ("tar: ./one: file changed as we read it", "tar: .: file changed as we read it"))
    assert saved(job).failed == {}
    assert folder_restore.run(job) == OK
    assert (folder(job) / "one").read_text() == "one"


def test_a_file_that_never_stands_still_costs_its_own_folder_only(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, *[("tar: ./one: File shrank by 9 bytes; padding with zeros",)] * packing.ROUNDS)
    outcome = saved(job)
    assert (list(outcome.failed), list(outcome.saved)) == (["app:/app"], ["app:/logs"])
    assert "one changed each of 3 times" in outcome.failed["app:/app"].what
    assert "stop: true" in outcome.failed["app:/app"].hint


def test_a_name_with_a_colon_is_found_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder(job) / "a:b").touch()
    meanwhile(monkeypatch, ("tar: ./a\\:b: file changed as we read it",))
    assert packed(job).unsteady == []


def test_what_vanished_is_named_and_no_failure(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ("tar: ./gone: file changed as we read it", "tar: ./two: File removed before we read it")
    meanwhile(monkeypatch, gone)
    assert saved(job).failed == {}
    assert "./gone, ./two: vanished while it was read" in journal_text(job)


def test_a_folder_that_is_not_there_costs_only_itself(job: Job) -> None:
    folder(job).rename(f"{folder(job)}-away")
    outcome = saved(job)
    assert list(outcome.saved) == ["app:/logs"]
    assert "inv deploy --role app" in outcome.failed["app:/app"].hint


def test_a_set_that_lacks_a_folder_is_not_complete_and_says_which() -> None:
    lacking = Manifest(SET, "lab", "prod", NOW, NOW, failed_folders={"app:/app": "it is not there"})
    assert not lacking.complete and lacking.lacks("services") and not lacking.lacks("postgres")
    assert lacking.left_out == {"app:/app": "it is not there"}


@pytest.mark.parametrize("broken", [False, True])
def test_a_service_that_is_to_stand_still_runs_again_after_it(job: Job, tmp_path: Path, broken: bool) -> None:
    job.config["services"]["app"]["stop"] = True
    (tmp_path / "bin/broken").touch() if broken else None
    outcome = saved(job)
    assert list(outcome.saved) == ["app:/app", "app:/logs"]
    assert (tmp_path / "bin/running").exists() is not broken
    assert list(outcome.silent) == (["app"] if broken else [])
    assert Record.all() == [], "a backup leaves no record"


def test_a_backup_that_was_killed_starts_what_it_had_stopped(job: Job, tmp_path: Path) -> None:
    (tmp_path / "bin/running").unlink()
    record = Record(RUN, RUN, NOW.isoformat(), stopped=["app"], phase="packing")
    record.save()
    assert settling.settle(job, record) == []
    assert (tmp_path / "bin/running").exists() and Record.all() == []


def test_undo_brings_back_what_was_there_and_cleanup_removes_what_was_kept(job: Job) -> None:
    saved(job)
    (folder(job) / "one").write_text("since")
    assert folder_restore.run(job) == OK
    (row, _) = swap.undoable(job)["databases"]
    assert row == {
        "name": str(folder(job)),
        "kept": f"{folder(job)}.old-a1b2c3",
        "away": f"{folder(job)}.undone-a1b2c3",
    }
    job.request = Request(do="undo", of=RUN)
    assert swap.undo(job) == OK
    assert (folder(job) / "one").read_text() == "since"
    assert beside(job) == {"app", "logs", "app.undone-a1b2c3", "logs.undone-a1b2c3"}
    with pytest.raises(Failed, match="no restore to undo"):
        swap.undo(job)


def test_one_folder_of_a_service_comes_back_alone(job: Job) -> None:
    saved(job)
    (folder(job, "logs") / "log").write_text("since")
    job.request.inside = "/app"
    assert folder_restore.run(job) == OK
    assert (folder(job, "logs") / "log").read_text() == "since"


@pytest.mark.parametrize("undoing", [False, True])
@pytest.mark.parametrize("renames", range(5))
def test_a_swap_that_was_cut_after_any_rename_is_whole_or_none(
    job: Job, renames: int, undoing: bool, tmp_path: Path
) -> None:
    """Two folders are four renames; the swap only stays after all of them."""
    record = Record(RUN, SET, NOW.isoformat(), service="app", folders=[str(folder(job)), str(folder(job, "logs"))])
    rows = folder_swap.swaps(record, undoing)
    for row in rows:
        Path(row.incoming).mkdir()
        Path(row.incoming, "incoming").touch()
    steps = [step for row in rows for step in ((row.live, row.aside), (row.incoming, row.live))]
    for before, after in steps[:renames]:
        os.rename(before, after)
    (tmp_path / "bin/running").unlink()
    record.phase, record.stopped = "undoing" if undoing else "swapping", ["app"]
    record.save()
    assert settling.settle(job, record) == []
    swapped = renames == len(steps)
    assert (
        record.phase
        == {(True, True): "undone", (True, False): "done", (False, True): "done", (False, False): "failed"}[
            swapped, undoing
        ]
    )
    assert [(Path(row.live) / "incoming").exists() for row in rows] == [swapped] * 2
    assert all(Path(row.incoming).exists() is (undoing and not swapped) for row in rows)
    assert (tmp_path / "bin/running").exists()


@pytest.mark.parametrize("stream", ["tar", "list"])
def test_a_damaged_part_leaves_all_as_it_was(job: Job, tmp_path: Path, stream: str) -> None:
    saved(job)
    (part,) = (tmp_path / "target").rglob(f"*app.{stream}.00000")
    data = part.read_bytes()
    part.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Failed) as caught:
        folder_restore.run(job)
    assert (caught.value.code, "is damaged" in caught.value.what) == (RESTORE_REFUSED, True)
    assert beside(job) == {"app", "logs"} and Record.all()[0].phase == "failed"


def test_what_does_not_lie_there_as_the_list_says_is_not_swapped_in(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(job)
    monkeypatch.setattr(folders, "unpack", lambda *arguments: None)
    with pytest.raises(Failed, match="would not be what the set says") as caught:
        folder_restore.run(job)
    assert caught.value.code == RESTORE_FAILED and "one: -rw" in caught.value.why
    assert beside(job) == {"app", "logs"}


def test_a_service_that_does_not_answer_after_the_swap_is_said_and_the_swap_stays(job: Job, tmp_path: Path) -> None:
    saved(job)
    (folder(job) / "one").write_text("since")
    job.config["services"]["app"]["waits"] = "echo no answer; exit 1"
    with pytest.raises(Failed, match="the swap is done") as caught:
        folder_restore.run(job)
    assert (caught.value.code, "no answer" in caught.value.why) == (SWAP_FAILED, True)
    assert (folder(job) / "one").read_text() == "one" and Record.all()[0].phase == "done"


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"service": "ap"}, "no backup of a service ap"),
        ({"inside": "/other"}, "app has no folder /other"),
        ({"inside": "/app"}, "the set does not have app:/app"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_anything_is_touched(
    job: Job, asked: dict[str, str], what: str
) -> None:
    folder(job).rename(f"{folder(job)}-away")
    saved(job)
    job.request = replace(job.request, **asked)
    with pytest.raises(Failed, match=what) as caught:
        folder_restore.run(job)
    assert caught.value.code == RESTORE_REFUSED and caught.value.hint
    assert Record.all() == []


def test_a_folder_that_is_a_filesystem_is_refused_in_the_plan_of_the_run(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(job)
    run = host.run
    monkeypatch.setattr(host, "run", lambda job, *argv: (0, "", "") if argv[0] == "mountpoint" else run(job, *argv))
    with pytest.raises(Failed, match="is a filesystem of its own"):
        folder_restore.run(job)
    assert beside(job) == {"app", "logs"}


def test_names_that_tar_has_escaped_are_the_bytes_again() -> None:
    assert listing.raw("./odd\\nname \\\\ \\:\\303\\251") == b"./odd\nname \\ :\xc3\xa9"


def test_when_a_folder_was_changed_is_no_difference(job: Job) -> None:
    was = listing.of_folder(folder(job))
    (folder(job) / "new").touch()
    (folder(job) / "new").unlink()
    assert listing.differences(was, listing.of_folder(folder(job))) == []


def test_a_time_is_the_same_in_every_time_zone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time zone of the worker's container is not that of the host."""
    saved(job)
    monkeypatch.setattr(host, "command_line", lambda job, *argv: ["env", "LC_ALL=C", "TZ=Asia/Tokyo", *argv])
    assert folder_restore.run(job) == OK


def test_a_run_after_one_that_was_killed_says_what_it_has_started(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    Record(RUN, RUN, NOW.isoformat(), stopped=["app"], phase="packing").save()
    monkeypatch.setattr(containers, "remove", lambda run="": None)
    settling.recover(job)
    assert f"the backup {RUN} had been cut: what it had stopped is started" in journal_text(job)

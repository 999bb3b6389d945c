"""The journal of a run: its content after any crash, and limits of repeated events."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from worker import journal
from worker.contract import FAILED, USAGE
from worker.errors import Failed
from worker.journal import Journal, read

STEPS = ("lock", "dump", "publish")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def events(path: Path) -> list[str]:
    return [event["event"] for event in read(path)]


def test_a_step_is_written_when_it_begins_and_when_it_ends(path: Path) -> None:
    with Journal(path, STEPS) as log:
        with log.step("lock"):
            log.say("held by us")
        with pytest.raises(Failed), log.step("dump"):
            raise Failed(FAILED, "the disk is full")
    lines = list(read(path))
    assert [(event["event"], event.get("step")) for event in lines] == [
        ("begin", "lock"),
        ("say", None),
        ("end", "lock"),
        ("begin", "dump"),
        ("end", "dump"),
    ]
    assert "failed" not in lines[2] and lines[4]["failed"] == "the disk is full"
    assert all(event["at"].endswith("Z") for event in lines)


def test_an_unknown_step_or_pause_is_refused(path: Path) -> None:
    with Journal(path, STEPS) as log, pytest.raises(Failed, match="no step of this run"), log.step("dance"):
        pass
    with pytest.raises(Failed, match="no step called dance") as caught:
        Journal(path, STEPS, pause="dance")
    assert caught.value.code == USAGE


def test_every_step_can_be_paused_and_killed(path: Path) -> None:
    code = (
        "import sys; from worker.journal import Journal\n"
        "log = Journal(sys.argv[1], sys.argv[3:], pause=sys.argv[2])\n"
        "for one in sys.argv[3:]:\n"
        "    with log.step(one): pass\n"
    )
    for step in STEPS:
        path.unlink(missing_ok=True)
        child = subprocess.Popen([sys.executable, "-c", code, path, step, *STEPS])
        try:
            give_up = time.monotonic() + 20
            while (not path.exists() or "paused" not in events(path)) and time.monotonic() < give_up:
                time.sleep(0.01)
            assert child.poll() is None
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert [event.get("step") for event in read(path)][-2:] == [step, step]
        assert events(path)[-2:] == ["begin", "paused"]


def test_of_a_step_that_stands_still_at_a_piece_nothing_more_is_done_by_any_thread(path: Path) -> None:
    log, done = Journal(path, STEPS, pause=f"{STEPS[1]}+3"), list[int]()

    def work(number: int) -> None:
        log.piece()
        done.append(number)

    with ThreadPoolExecutor(4) as pool:
        with log.step(STEPS[0]):
            list(pool.map(work, range(4)))
        with log.step(STEPS[1]):
            squares = pool.map(work, range(10, 20))
            give_up = time.monotonic() + 20
            while "paused" not in events(path) and time.monotonic() < give_up:
                time.sleep(0.01)
            time.sleep(0.05)
            assert len(done) == 4 + 2
            path.with_name("go").touch()
            list(squares)
    assert len(done) == 14


def test_a_torn_last_line_is_left_out_and_does_not_spoil_the_next(path: Path) -> None:
    with Journal(path, STEPS) as log:
        log.say("first")
    complete = path.read_bytes()
    for length in range(1, len(complete)):
        path.write_bytes(complete + complete[:length])
        assert len(list(read(path))) in (1, 2)
        with Journal(path, STEPS) as log:
            log.say("after")
        assert list(read(path))[-1]["text"] == "after"


def test_progress_is_told_at_most_once_a_second_with_what_remains(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    with Journal(path, STEPS) as log, log.step("dump"):
        for done in range(0, 1000, 10):
            now[0] += 0.1
            log.progress(done, 1000)
    progress = [event for event in read(path) if event["event"] == "progress"]
    assert len(progress) == 10
    assert progress[5]["rate"] == pytest.approx(100, rel=0.05)
    assert progress[5]["remaining"] == pytest.approx((1000 - progress[5]["done"]) / 100, abs=1)


def test_what_passed_in_no_time_says_nothing_of_the_rest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    with Journal(path, STEPS) as log, log.step("dump"):
        now[0] += 2
        log.progress(7_000, pieces="objects looked at")
        now[0] += 1
        log.progress(1_000_000, 2_000_000)
        for _ in range(40):
            now[0] += 1
            done = 1_000_000 + round(now[0] - 103) * 1_000
            log.progress(done, 2_000_000)
    looked, *_, last = (event for event in read(path) if event["event"] == "progress")
    assert (looked["total"], looked["remaining"], looked["rate"]) == (None, None, 3500)
    assert last["rate"] == 1_000 and last["remaining"] == 960


def test_progress_that_has_not_moved_says_no_remaining_time(path: Path) -> None:
    with Journal(path, STEPS) as log:
        log.progress(0, 1000)
    assert next(read(path))["remaining"] is None


def test_what_is_said_stands_on_disk_at_once_for_its_owner_only(path: Path) -> None:
    log = Journal(path, STEPS)
    log.say("größe \ud800")
    assert next(read(path))["text"] == "größe ?"
    assert path.stat().st_mode & 0o777 == 0o600
    log.close()


def test_a_journal_that_cannot_be_written_is_one_clear_error(path: Path) -> None:
    with pytest.raises(Failed, match="cannot be written"):
        Journal(path / "beneath" / "nothing", STEPS)
    if os.path.exists("/dev/full"):
        with Journal("/dev/full", STEPS) as log, pytest.raises(Failed, match="No space left") as caught:
            log.say("hello")
        assert caught.value.code == FAILED

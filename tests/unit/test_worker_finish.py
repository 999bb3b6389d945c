"""Reports at the end of a run: the ping, Prometheus' textfile, and the file that `inv status` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from worker import finish
from worker.contract import COPY_FAILED, FAILED, INCOMPLETE, OK, VERIFY_FAILED, Request
from worker.errors import Failed
from worker.job import Job
from worker.journal import Journal

SAMPLE = re.compile(r'[a-z_]+\{[a-z]+="[^"\n]*"(,[a-z]+="[^"\n]*")*\} \d+')


@pytest.fixture
def called() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine, and the requested paths."""
    paths: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/key", paths
    server.shutdown()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(finish, "STATE", tmp_path)
    config = {
        "stack": "lab",
        "components": ["postgres", "config"],
        "targets": [{"name": "own"}, {"name": "away"}],
        "textfile": str(tmp_path),
        "ping": None,
    }
    return Job("run1", config, Request(do="backup"), Journal(tmp_path / "journal.jsonl", ()))


def metrics(folder: Path) -> dict[str, str]:
    """The samples of the textfile, checked to be in Prometheus' format."""
    lines = (folder / "stowage_backup.prom").read_text().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    return {name: value for name, _, value in (line.rpartition(" ") for line in samples)}


def test_a_service_hears_of_the_end_and_of_a_failure(job: Job, called: tuple[str, list[str]]) -> None:
    job.config["ping"], paths = called
    finish.ping(job, "/start")
    finish.write_result(job, OK, None)
    finish.write_result(job, FAILED, Failed(FAILED, "pg_dump failed"))
    assert paths == ["/key/start", "/key", "/key/fail"]


def test_a_service_that_is_away_is_no_reason_to_fail(job: Job) -> None:
    job.config["ping"] = "http://127.0.0.1:1/key"
    finish.write_result(job, OK, None)
    assert finish.last()["last"]["code"] == OK


def test_prometheus_hears_of_each_component_and_target(job: Job, tmp_path: Path) -> None:
    job.dead["away"] = "no answer"
    finish.write_result(job, COPY_FAILED, None)
    values = metrics(tmp_path)
    assert values['stowage_backup_last_exit_code{stack="lab"}'] == str(COPY_FAILED)
    assert values['stowage_backup_target_up{stack="lab",target="own"}'] == "1"
    assert values['stowage_backup_target_up{stack="lab",target="away"}'] == "0"
    at = values['stowage_backup_last_success_timestamp_seconds{stack="lab",component="postgres"}']
    assert abs(float(at) - job.begun) < 60
    assert (tmp_path / "stowage_backup.prom").stat().st_mode & 0o777 == 0o644, "the node exporter is another user"


def test_a_failure_keeps_the_time_of_the_last_success(job: Job, tmp_path: Path) -> None:
    finish.write_result(job, OK, None)
    before = metrics(tmp_path)
    finish.write_result(job, FAILED, Failed(FAILED, "pg_dump failed"))
    after = metrics(tmp_path)
    success = [name for name in before if "last_success" in name]
    assert success and all(before[name] == after[name] for name in success)
    assert after['stowage_backup_last_exit_code{stack="lab"}'] == str(FAILED)


def test_how_long_a_restore_took_is_kept_for_the_screen(job: Job, tmp_path: Path) -> None:
    finish.write_result(job, OK, None)
    job.request.do, job.begun = "restore", job.begun - 90
    finish.write_result(job, OK, None)
    last = json.loads((tmp_path / "last.json").read_text())
    assert 90 <= last["restored"]["seconds"] < 150
    assert last["published_postgres"]["run"] == "run1", "the backup is still known"


def test_a_set_without_some_databases_is_no_fresh_one_of_postgres(job: Job, tmp_path: Path) -> None:
    job.lacking = {"postgres"}
    finish.write_result(job, INCOMPLETE, Failed(INCOMPLETE, "the set was published without geo"))
    last = finish.last()
    assert "published_postgres" not in last and "published_config" in last
    assert last["last"]["code"] == INCOMPLETE
    assert metrics(tmp_path)['stowage_backup_last_exit_code{stack="lab"}'] == str(INCOMPLETE)


def test_a_check_that_failed_is_kept_for_status_and_the_metric(job: Job, tmp_path: Path) -> None:
    finish.write_result(job, OK, None)
    job.request = Request(do="verify", set="latest", drill=True)
    finish.write_result(job, VERIFY_FAILED, Failed(VERIFY_FAILED, "a set is not what it should be"))
    assert finish.last()["checked"]["code"] == VERIFY_FAILED
    values = metrics(tmp_path)
    assert values['stowage_backup_last_check_exit_code{stack="lab"}'] == str(VERIFY_FAILED)
    assert values['stowage_backup_last_exit_code{stack="lab"}'] == "0"


def test_a_check_that_passes_does_not_take_back_that_a_drill_failed(job: Job, tmp_path: Path) -> None:
    finish.write_result(job, OK, None)
    job.request = Request(do="verify", set="a set", drill=True)
    finish.write_result(job, VERIFY_FAILED, Failed(VERIFY_FAILED, "a set is not what it should be", "a row is missing"))
    job.request = Request(do="verify", set="a set")
    finish.write_result(job, OK, None)
    values, last = metrics(tmp_path), finish.last()
    assert values['stowage_backup_last_check_exit_code{stack="lab"}'] == "0"
    assert values['stowage_backup_last_drill_exit_code{stack="lab"}'] == str(VERIFY_FAILED)
    assert (last["drilled"]["set"], last["drilled"]["what"]) == ("a set", "a set is not what it should be")
    assert not (tmp_path / finish.DRILLED).exists(), "the schedule tries again"
    job.request.drill, job.begun = True, job.begun - 90
    finish.write_result(job, OK, None)
    assert (tmp_path / finish.DRILLED).exists()
    assert 90 <= int(metrics(tmp_path)['stowage_backup_last_drill_duration_seconds{stack="lab"}']) < 150


def test_a_check_that_failed_raises_the_alarm(job: Job, called: tuple[str, list[str]]) -> None:
    job.config["ping"], paths = called
    job.request = Request(do="verify", set="latest")
    finish.write_result(job, VERIFY_FAILED, Failed(VERIFY_FAILED, "a set is not what it should be"))
    finish.write_result(job, OK, None)
    assert paths == ["/key/fail"]


def test_a_check_on_one_target_takes_nothing_back_of_another_nor_of_a_drill(job: Job, tmp_path: Path) -> None:
    def check(code: int, **targets: tuple[bool, bool]) -> dict[str, str]:
        job.request.do = "verify"
        job.request.set = "A"
        job.checks = {
            name: {"set": "A", "at": 1.0, "passed": passed, "drill": drill, "why": "" if passed else "a row is missing"}
            for name, (passed, drill) in targets.items()
        }
        finish.write_result(job, code, Failed(code, "no") if code else None)
        return {name: value for name, value in metrics(tmp_path).items() if "check_passed" in name}

    finish.write_result(job, OK, None)
    own, away = (f'stowage_backup_check_passed{{stack="lab",target="{name}"}}' for name in ("own", "away"))
    assert check(VERIFY_FAILED, own=(True, False), away=(False, False)) == {own: "1", away: "0"}
    assert check(OK, own=(True, False)) == {own: "1", away: "0"}
    assert check(VERIFY_FAILED, away=(False, True)) == {own: "1", away: "0"}
    assert check(OK, away=(True, False)) == {own: "1", away: "0"}
    assert check(OK, away=(True, True)) == {own: "1", away: "1"}

"""Backups on the operator's side: settings, names of sets, the screen, and the status. Pure parts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge import templates
from converge.errors import LOCKED, REFUSED, Trouble
from converge.inventory.secret import Secret
from roles.backup import age, configuration, following, role, runs, sheet
from roles.backup import commands as backup
from roles.backup import sets as backup_sets
from roles.backup import status as backup_status
from roles.backup.settings import Objects
from roles.minio.role import folders
from roles.settings.model import Settings
from tests.unit.conftest import ROOT
from worker import comparison, compiled, databases, dumps, postgres, snapshots
from worker.contract import STEPS, Request
from worker.errors import Failed
from worker.quoting import connection
from worker.records import Record

OWN = {"name": "own", "kind": "stack", "writer": {"file": "x"}, "pruner": {"file": "x"}}
ELSEWHERE = {"name": "usb", "kind": "path", "path": "/mnt/usb"}


def settings(*targets, **more):
    values = {
        "lab": True,
        "images": {name: {"reference": f"{name}:17"} for name in ("minio", "postgres", "worker")},
        "minio": {
            "nodes": [{"name": "minio1", "drive": "drive1", "address": "172.30.99.11"}],
            "root_user": {"file": "x"},
            "root_password": {"file": "x"},
        },
        "drives": [{"device": "/dev/sdb", "label": "drive1", "path": "/mnt/drive1"}],
        "postgres": {"address": "172.30.99.20", "superuser_password": {"file": "x"}, "major": 17},
        "backup": {"identity": {"file": "x"}, "targets": list(targets), **more},
    }
    return Settings.model_validate(values)


@pytest.mark.parametrize(
    ("targets", "more", "message"),
    [
        ([OWN], {}, "all copies are in the stack itself"),
        ([OWN, {**ELSEWHERE, "name": "own"}], {}, "stands twice"),
        ([OWN, {**OWN, "name": "other"}, ELSEWHERE], {}, "one target of its own already"),
        ([ELSEWHERE], {"image": "wrker"}, "images has no wrker; worker is near"),
        ([OWN, ELSEWHERE], {"buckets": {"names": ["backups-postgresql"]}}, "holds the sets themselves"),
        ([OWN, ELSEWHERE], {"buckets": {"prefixes": {"backups-postgresql": ["a"]}}}, "holds the sets themselves"),
        ([ELSEWHERE], {"buckets": {"names": ["models"], "prefixes": {"model": ["a"]}}}, "names has no model; models"),
    ],
)
def test_settings_that_would_lose_a_backup_are_refused(targets, more, message) -> None:
    with pytest.raises(Exception, match=message):
        settings(*targets, **more)


def test_a_single_copy_has_to_be_accepted() -> None:
    assert settings(OWN, accept_single_copy=True).backup
    assert settings(OWN, ELSEWHERE).backup


def test_a_stack_without_databases_has_sets_of_its_buckets_and_its_configuration(storage_host) -> None:
    roles = ["base", "drives", "docker", "images", "minio", "backup"]
    kept = {"identity": Secret("x"), "targets": [ELSEWHERE]}
    worker = {"reference": "worker:1"}
    host = storage_host(roles=roles, postgres=None, databases=[], database_users=[], backup=kept, images__worker=worker)
    assert configuration.components(host.settings) == ["config", "buckets"]
    content = json.loads(configuration.text(host, b""))
    assert "postgres" not in content and content["owner"] == "9000:9000"
    assert content["buckets"]["drives"] == dict(
        zip((node.name for node in host.settings.minio.nodes), folders(host), strict=True)
    )


def test_the_worker_knows_how_each_dependent_service_is_asked_whether_it_answers(storage_host) -> None:
    page = {"image": "worker", "command": ["web"]}
    services = {"web": {**page, "answers": {"http": ":5000/health", "within": 90}}, "silent": page}
    kept = {"identity": Secret("x"), "targets": [ELSEWHERE], "dependents": ["web", "silent", "somebodys-own"]}
    host = storage_host(services=services, backup=kept, images__worker={"reference": "worker:1"})
    answers = json.loads(configuration.text(host, b""))["answers"]
    assert list(answers) == ["web"] and "http://127.0.0.1:5000/health" in answers["web"] and "+ 90)" in answers["web"]


@given(st.binary(min_size=32, max_size=32))
def test_an_identity_is_one_that_age_takes(data: bytes) -> None:
    text = age.encoded(data)
    assert len(text) == 74
    assert text.startswith("AGE-SECRET-KEY-1")


def test_age_itself_takes_an_identity() -> None:
    done = subprocess.run(["age-keygen", "-y"], input=age.identity(), text=True, capture_output=True, check=True)
    assert done.stdout.startswith("age1")


@pytest.mark.parametrize(
    ("typed", "id"),
    [
        ("latest", "latest"),
        ("20261121T020000Z-a1b2c3", "20261121T020000Z-a1b2c3"),
        ("prod/sets/20261121T020000Z-a1b2c3/manifest.json", "20261121T020000Z-a1b2c3"),
        ("~/20261121T020000Z-a1b2c3.tar", "20261121T020000Z-a1b2c3"),
    ],
)
def test_a_set_is_known_by_its_id_wherever_it_stands(typed: str, id: str) -> None:
    assert backup.id_of(typed) == id


def test_what_names_no_set_is_told_what_does() -> None:
    with pytest.raises(Trouble, match="yesterday names no set") as caught:
        backup.id_of("yesterday")
    assert "inv backup.list" in caught.value.hint


EVENTS = [
    ({"event": "say", "text": "dumping app"}, "  dumping app\n"),
    ({"event": "end", "step": "dump", "seconds": 1.25}, "  dump       done  1.2 s\n"),
    ({"event": "end", "step": "dump", "seconds": 1.0, "failed": "no room"}, "  dump       failed: no room  1.0 s\n"),
    ({"event": "begin", "step": "dump"}, ""),
    ({"event": "progress", "done": 1, "total": 2, "rate": 1.0, "remaining": 1}, ""),
]


def test_progress_of_buckets_stays_on_one_line_of_a_terminal(capsys, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((60, 24)))
    event = {"event": "progress", "done": 3 << 20, "total": 9 << 20, "rate": 1 << 20, "remaining": 6}
    event |= {"bucket": "odd", "objects": 7, "of": 20, "bucket_done": 1 << 20, "bucket_total": 2 << 20}
    following.show_event(event, terminal=True)
    screen = capsys.readouterr().out
    assert screen.startswith("\r\033[K  3.0 MiB of 9.0 MiB, 1.0 MiB/s, 0 m 6 s left; odd: 7 ")
    assert len(screen.removeprefix("\r\033[K")) == 59
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((120, 24)))
    following.show_event(event | {"bucket_total": 9 << 20}, terminal=True)
    assert "3.0 MiB of 9.0 MiB, 1.0 MiB/s, 0 m 6 s left; odd: 7 of 20 objects" in capsys.readouterr().out


def test_progress_whose_end_is_not_known_says_neither_a_total_nor_a_time(capsys) -> None:
    event = {"event": "progress", "done": 7, "total": None, "rate": 3.0, "remaining": None}
    following.show_event(event | {"pieces": "objects looked at"}, terminal=True)
    following.show_event(event, terminal=True)
    of = {"bucket": "b", "objects": 2, "of": 2, "bucket_done": 7, "bucket_total": 7}
    following.show_event(event | of, terminal=True)
    assert capsys.readouterr().out.split("\r\033[K  ")[1:] == [
        *("7 objects looked at", "7 B, 3 B/s", "7 B, 3 B/s; b: 2 objects")
    ]


@pytest.mark.parametrize(("event", "screen"), EVENTS, ids=[str(event["event"]) for event, _ in EVENTS])
def test_a_journal_is_shown_a_line_an_event(event, screen, capsys) -> None:
    following.show_event(event, terminal=False)
    assert capsys.readouterr().out == screen


@pytest.mark.parametrize(("worker", "ours"), [(10, LOCKED), (11, REFUSED), (40, REFUSED)])
def test_the_end_of_a_run_is_an_error_in_our_own_codes(worker: int, ours: int) -> None:
    trouble = runs.ended(SimpleNamespace(name="prod"), {"code": worker, "what": "no", "hint": "inv backup.list"})
    assert trouble
    assert (trouble.code, trouble.hint) == (ours, "inv backup.list --host prod")
    assert runs.ended(SimpleNamespace(name="prod"), {"code": 0}) is None


@pytest.mark.parametrize(
    ("step", "untouched", "why"),
    [
        ("", "nothing was published", ""),
        ("dump", "nothing was published", ""),
        ("publish", "a target that has the set's manifest has it whole", ""),
        ("retention", "published, but old sets could not be removed", ""),
        ("load", "what is live is as it was", "goes with the next run"),
        ("stop", "what is live was touched", "may still be closed, and what depends on them stopped"),
        ("swap", "what is live was touched", "may still be closed, and what depends on them stopped"),
        ("undo", "what is live was touched", "may still be closed, and what depends on them stopped"),
    ],
)
def test_a_run_that_was_killed_says_what_of_it_may_be_there(step: str, untouched: str, why: str) -> None:
    trouble = runs.ended(SimpleNamespace(name="prod"), runs.cut(step))
    assert trouble
    assert untouched in trouble.untouched and why in trouble.why
    assert "inv backup" in trouble.hint and "--host prod" in trouble.hint


def test_every_step_after_which_something_has_changed_is_known_to_the_screen() -> None:
    assert set(runs.CUT) == {
        *STEPS["restore"],
        "folders",
        "publish",
        "retention",
    } - {"preflight", "cleanup"}


HOST = SimpleNamespace(
    name="prod",
    root=ROOT,
    settings=SimpleNamespace(
        roles=["postgres", "backup"],
        services={},
        postgres=settings(ELSEWHERE).postgres,
        backup=settings(ELSEWHERE).backup,
    ),
)
HOUR = 3600.0


RUN = "20261121T020000Z-a1b2c3"


def host_lines(
    code: int = 0, hours: float = 1, end: str | None = None, records: tuple[dict, ...] = (), **more
) -> list[str]:
    """The lines that a host prints about its backups: how the last one ended, or the last line of its journal."""
    now = 1_800_000_000
    at = {"at": now - hours * HOUR, "code": code}
    last = {"last": {"code": 0, "dead": {}}, "published_postgres": at, "published_config": at}
    last |= {key: more.pop(key) for key in ("checked", "drilled", "checks") if key in more}
    line = json.dumps({"event": "end", "code": code, "dead": {}, **more}) if end is None else end
    lines = [f"last {json.dumps(last)}", "next Sun 2026-11-22 02:00:00 UTC", f"now {now}", f"run {RUN} backup {line}"]
    return [*lines, "run 20261121T030000Z-a1b2c3 verify {}", *(f"record {json.dumps(record)}" for record in records)]


def drill(hours: float = 1, code: int = 0, **more: object) -> dict[str, object]:
    at = 1_800_000_000 - hours * HOUR
    return {"at": at, "code": code, "drill": True, "set": RUN, "run": "run7", "seconds": 90.0, **more}


@pytest.mark.parametrize(
    ("lines", "screen", "advice"),
    [
        (host_lines(), "postgres 1 h 0 m old, config 1 h 0 m old", ""),
        (
            host_lines(hours=50),
            "postgres 2 d 2 h old",
            "there is no fresh backup of postgres and config: inv backup --host prod",
        ),
        (
            ["last ", "next Sun", "now 1800000000"],
            "postgres NONE, config NONE",
            "there is no fresh backup of postgres and config",
        ),
        (
            host_lines(21, dead={"usb": "unmounted"}),
            "the target usb did not take the last set: unmounted",
            "ended with 21",
        ),
        (
            host_lines(closed={"a": "it lets nobody in", "b": "it lets nobody in"}),
            "in no set: a, b, it lets nobody in",
            "",
        ),
        (
            host_lines(23, what="the set was published without the bucket geo", why="the bucket geo: it is not whole"),
            "backup     not in the last set: the bucket geo: it is not whole",
            f"the last backup ended with 23, the set was published without the bucket geo: inv backup.attach --run {RUN}",
        ),
        (
            host_lines(notes=["the bucket geo is not there any more"]),
            "backup     the bucket geo is not there any more",
            "",
        ),
        (
            host_lines(20, what="no target is left"),
            "old",
            f"the last backup ended with 20, no target is left: inv backup.attach --run {RUN} --host prod",
        ),
        (
            host_lines(end='{"event": "end", "step": "dump", "seconds": 1.0}'),
            "old",
            "the last backup ended with 20, the run was killed, or the host went down",
        ),
        (
            host_lines(end='{"event": "end", "code": 21, "dead": {}, "cut": "publish"}'),
            "old",
            "the last backup ended with 21, the run was killed, or the host went down",
        ),
        (
            host_lines(
                records=({"run": RUN, "phase": "swapping", "live": {"mlflow": 7}, "stopped": ["mlflow-server"]},)
            ),
            f"restore    {RUN} was cut off in its swap: mlflow may be closed, and mlflow-server stopped",
            "mlflow-server stopped: inv backup.settle --host prod",
        ),
        (
            host_lines(records=({"run": RUN, "phase": "begun", "scratch": {"geo__r_a1b2c3": "geo"}},)),
            "was cut off while it loaded: geo__r_a1b2c3 is of no use",
            "inv backup.settle --host prod",
        ),
        (
            host_lines(records=({"run": RUN, "phase": "begun", "buckets": {"models": {}}},)),
            f"{RUN} was cut off: versions that it made may stand in models, and their lifecycle, quota and the like be off",
            "inv backup.settle --host prod",
        ),
        (
            host_lines(
                records=({"run": RUN, "phase": "current", "buckets": {"m": {}}, "live": {"a": 1}, "stopped": ["w"]},)
            ),
            "quota and the like be off, a may be closed, w may be stopped",
            "inv backup.settle --host prod",
        ),
        (
            host_lines(records=({"run": RUN, "phase": "failed", "scratch": {"g__r_1": "g"}, "left": ["g__r_1"]},)),
            "restore    g__r_1, which a failed restore had loaded, could not be dropped",
            "inv backup.settle --host prod",
        ),
        (host_lines(records=({"run": RUN, "phase": "done", "live": {"mlflow": 7}},)), "old", ""),
        (host_lines(drilled=drill()), f"the last drill, of {RUN}, passed 1 h 0 m ago, and took 1 m 30 s", ""),
        (
            host_lines(
                drilled=drill(code=30, what="geo would not be what the set says"), checked=drill() | {"drill": False}
            ),
            f"the last drill, of {RUN}, FAILED 1 h 0 m ago",
            f"the last drill, of {RUN}, ended with 30, geo would not be what the set says: inv backup.attach --run run7 --host prod",
        ),
        (
            host_lines(drilled=drill(hours=11 * 24)),
            "passed 11 d 0 h ago",
            "no drill for 11 d 0 h: inv backup.verify latest --drill --host prod",
        ),
        (
            host_lines(checked={"at": 1_800_000_000 - HOUR, "code": 30, "drill": False, "set": RUN}),
            f"the last check, of {RUN}, FAILED 1 h 0 m ago",
            "the last check of a set failed: inv backup.list --host prod",
        ),
    ],
    ids=[
        "fresh",
        "stale",
        "none",
        "lacks a copy",
        "a closed database",
        "a bucket is not whole",
        "a bucket that is gone",
        "failed",
        "power cut",
        "killed",
        "swap cut",
        "load cut",
        "objects cut",
        "current cut",
        "scratch left",
        "restored",
        "drilled",
        "drill failed",
        "no drill",
        "check failed",
    ],
)
def test_status_says_how_old_the_newest_backup_is_and_what_to_do(lines, screen, advice) -> None:
    backups = backup_status.read(HOST, lines)
    assert backups
    assert screen in "\n".join(backup_status.lines(backups))
    steps = list(backup_status.advice(backups, "prod"))
    assert bool(steps) is bool(advice)
    assert all(advice in line for line in steps)


def test_a_target_on_which_a_check_failed_is_named_although_a_later_one_passed_elsewhere() -> None:
    check = {"set": RUN, "at": 1_800_000_000 - 60, "drill": False}
    checks = {"own": {**check, "passed": True, "why": ""}, "usb": {**check, "passed": False, "why": "a part\nis cut"}}
    backups = backup_status.read(HOST, host_lines(checked=drill(code=0) | {"drill": False}, checks=checks))
    assert backups
    assert f"the check of {RUN} on usb FAILED 1 m 0 s ago: a part" in "\n".join(backup_status.lines(backups))
    (way,) = backup_status.advice(backups, "prod")
    assert way.startswith(f"{RUN} failed its check on usb: inv backup --host prod makes another")


def test_a_drill_that_failed_is_said_once_with_its_reason() -> None:
    failed = {"set": RUN, "at": 1_800_000_000 - HOUR, "passed": False, "drill": True, "why": "a row is missing"}
    backups = backup_status.read(HOST, host_lines(drilled=drill(code=30, what="x"), checks={"own": failed}))
    assert backups
    (line,) = (text for text in backup_status.lines(backups) if "drill" in text)
    assert line.endswith(f"the drill of {RUN} on own FAILED 1 h 0 m ago: a row is missing")


def test_what_a_run_that_is_under_way_has_open_is_no_finding() -> None:
    record = {"run": RUN, "phase": "swapping", "live": {"mlflow": 7}, "stopped": []}
    backups = backup_status.read(HOST, [*host_lines(records=(record,), end=""), f"active {RUN}"])
    assert backups and not list(backup_status.advice(backups, "prod"))


@pytest.fixture
def ended(machine):
    """Has the host write the end of killed runs with these journals; gives the last line of one."""
    text = (ROOT / "templates/backup.sh.j2").read_text()
    script = re.sub(r"{%.*?%}\n", "", text[text.index("started() {") :])
    for word, value in {"textfile": str(machine.folder), "stack": "a", "state": str(machine.folder)}.items():
        script = script.replace("{{ " + word + " }}", value)
    script = f"RUNS={machine.folder}/runs\nsystemctl() {{ case $* in *active*) echo active ;; *) echo failed ;; esac; }}\n{script}"

    def write(journal: str | None, do: str = "backup", run: str = RUN, how: str = f"ended {RUN}") -> dict[str, object]:
        folder = machine.folder / "runs" / run
        folder.mkdir(parents=True)
        if journal is not None:
            (folder / "journal.jsonl").write_text(journal)
        (folder / "request.json").write_text(Request(do=do).text())
        metric = machine.folder / "stowage_backup.prom"
        if not metric.exists():
            metric.write_text('stowage_backup_last_exit_code{stack="a"} 0\nother 0\n')
        if how:
            status, output = machine.run(f"set -- {how}\n{script}")
            assert status == 0, output
        return json.loads((folder / "journal.jsonl").read_text().splitlines()[-1])

    def metric() -> str:
        lines = (machine.folder / "stowage_backup.prom").read_text().splitlines()
        assert "other 0" in lines and len(lines) == 2
        return next(line for line in lines if line.startswith("stowage_backup_last")).split(" ")[1]

    write.metric = metric
    return write


def test_a_run_that_was_cut_before_its_worker_had_begun_has_failed(ended) -> None:
    assert (ended(None)["code"], ended.metric()) == (20, "20")


@pytest.mark.parametrize(("phase", "starts", "asked"), [("packing", 0, 2), ("packing", 1, 2), ("swapping", 0, 0)])
def test_a_service_that_stood_still_for_a_killed_copy_is_started(
    ended, machine, phase: str, starts: int, asked: int
) -> None:
    record = machine.folder / f"restores/{RUN}.json"
    record.parent.mkdir()
    record.write_text(json.dumps(vars(Record(RUN, RUN, "now", stopped=["keeper"], phase=phase))))
    docker = machine.folder / "docker"
    ended(
        '{"event": "begin", "step": "folders"}\n',
        how=f"ended {RUN}; docker() {{ echo $* >>{docker}; [ $1 = stop ] || return {starts}; }}",
    )
    lines = docker.read_text().splitlines() if docker.exists() else []
    assert lines == ["stop keeper", "start keeper"][:asked]
    assert record.exists() is (phase != "packing" or bool(starts)), "who cannot start it leaves it to the next run"


def test_after_a_power_cut_the_last_backup_has_failed_and_an_older_one_says_nothing(ended) -> None:
    done = '{"event": "end", "code": 0, "dead": {}}\n'
    assert ended('{"event": "begin", "step": "publish"}\n', run="20261120T020000Z-a1b2c3", how="")["event"] == "begin"
    assert ended(done, how="cut")["code"] == 0
    assert ended.metric() == "0"
    end = ended('{"event": "begin", "step": "dump"}\n{"ev', run="20261122T020000Z-a1b2c3", how="cut")
    assert (end["code"], ended.metric()) == (20, "20")


def test_a_run_that_is_under_way_is_not_told_to_have_ended(ended) -> None:
    end = ended('{"event": "begin", "step": "dump"}\n', run="20261123T020000Z-active", how="cut")
    assert (end["event"], ended.metric()) == ("begin", "0")


@pytest.mark.parametrize("step", sorted({*STEPS["restore"], *STEPS["backup"]} - {"cleanup"}))
def test_the_host_writes_the_end_of_a_run_that_was_killed_in_a_step(ended, step: str) -> None:
    end = ended(f'{{"at": "x", "event": "begin", "step": "{step}"}}\n{{"event": "say", "te')
    assert (end["code"], end["cut"]) == (runs.cut(step)["code"], step)
    assert ended.metric() == str(end["code"])


def test_a_run_that_told_its_end_is_left_as_it_is(ended) -> None:
    end = ended('{"event": "begin", "step": "dump"}\n{"at": "x", "event": "end", "code": 0, "dead": {}}\n')
    assert (end["code"], ended.metric()) == (0, "0")


def test_a_restore_that_was_killed_says_nothing_of_the_last_backup(ended) -> None:
    assert ended('{"event": "begin", "step": "swap"}\n', do="restore")["code"] == 42
    assert ended.metric() == "0"


@pytest.fixture
def schedule(machine):
    """The requests that the timer starts, in order, on a host whose last drill passed so many days ago."""

    def run(days: float | None, drill_days: int = 7, backup: int = 0) -> list[dict[str, object]]:
        if days is not None:
            drilled = machine.folder / "drilled"
            drilled.touch()
            os.utime(drilled, (time.time() - days * 86400,) * 2)
        given = {
            "state": str(machine.folder),
            "seen": [],
            "written": [],
            "textfile": "",
            "image": "worker",
            "code": "/code",
        }
        minutes = drill_days * 1440 - 720
        script = templates.render(
            HOST, "backup.sh.j2", **given, networks=["n"], memory=1, stack="a", drilled_within=minutes
        )
        (machine.folder / "script").write_text(script)
        machine.run(
            f"""systemctl() {{ id=${{2#*@}}; cat {machine.folder}/runs/${{id%.service}}/request.json >>{machine.folder}/asked; return {backup}; }}
            set -- scheduled; . {machine.folder}/script"""
        )
        return [json.loads(line) for line in (machine.folder / "asked").read_text().splitlines()]

    return run


@pytest.mark.parametrize(("days", "due"), [(None, True), (6, False), (6.9, True), (30, True)])
def test_the_schedule_makes_a_drill_when_none_has_passed_for_a_week(schedule, days: float | None, due: bool) -> None:
    backup, *more = schedule(days)
    assert backup["do"] == "backup" and "by" in backup
    assert [(request["do"], request["set"], request["drill"]) for request in more] == [("verify", "latest", True)] * due


def test_a_drill_is_made_of_the_newest_set_also_when_the_backup_failed(schedule) -> None:
    assert len(schedule(None, backup=1)) == 2


@pytest.mark.parametrize(
    ("targets", "code", "untouched"),
    [
        ({}, 20, ""),
        ({"own": "unfinished"}, 20, ""),
        ({"elsewhere": "whole"}, 22, "the set is whole on elsewhere"),
    ],
)
def test_what_a_backup_that_was_killed_had_published_is_asked_of_its_targets(monkeypatch, targets, code, untouched):
    monkeypatch.setattr(runs, "ask", lambda host, request: {"sets": [{"id": RUN, "targets": targets}], "dead": {}})
    end = runs.told_by_targets(HOST, RUN, runs.cut("dump"))
    assert (end["code"], end.get("untouched", "")) == (code, untouched)


LISTED = {
    "id": RUN,
    "created": "2026-11-21T02:00:00+00:00",
    "bytes": 5,
    "objects": 0,
    "only": [],
    "failed": [],
    "pinned": False,
    "targets": {"own": "whole", "usb": "whole"},
    "checks": {"usb": {"at": "2026-11-21T03:00:00+00:00", "passed": False, "drill": True, "why": "a row is missing"}},
}


def test_sets_of_another_identity_are_told_once(monkeypatch, capsys) -> None:
    rows = [{**LISTED, "checks": {}, "targets": {"own": "forged", "far": state}} for state in ("forged", "unfinished")]
    monkeypatch.setattr(runs, "ask", lambda host, request: {"sets": rows, "dead": {}})
    backup_sets.listing(HOST, "", False)
    assert capsys.readouterr().out.count("signed with another identity") == 1
    rows[0]["targets"]["own"] = "whole"
    backup_sets.listing(HOST, "", False)
    assert "signed with another identity" not in capsys.readouterr().out


def test_a_listing_tells_the_check_of_each_target_for_itself(monkeypatch, capsys) -> None:
    monkeypatch.setattr(runs, "ask", lambda host, request: {"sets": [LISTED], "dead": {}})
    backup_sets.listing(HOST, "", False)
    assert re.search(r"on own, usb \(CHECK FAILED .* ago\)$", capsys.readouterr().out.strip())


def test_what_is_the_same_of_all_targets_is_said_once(monkeypatch, capsys) -> None:
    check = {"at": "2026-11-21T03:00:00+00:00", "passed": True, "drill": True, "why": ""}
    monkeypatch.setattr(
        runs, "ask", lambda host, request: {"sets": [{**LISTED, "checks": {"own": check, "usb": check}}], "dead": {}}
    )
    backup_sets.listing(HOST, "", False)
    assert re.search(r"on own, usb, each \(drilled .* ago\)$", capsys.readouterr().out.strip())


def test_an_incomplete_set_says_what_it_lacks(monkeypatch, capsys) -> None:
    lacking = {**LISTED, "failed": ["geo"], "checks": {}}
    monkeypatch.setattr(runs, "ask", lambda host, request: {"sets": [lacking], "dead": {}})
    backup_sets.listing(HOST, "", False)
    assert "INCOMPLETE, without geo" in capsys.readouterr().out


def test_targets_that_are_all_away_are_no_empty_list(monkeypatch, capsys) -> None:
    monkeypatch.setattr(runs, "ask", lambda host, request: {"sets": [], "dead": {"usb": "unmounted"}})
    with pytest.raises(Trouble, match="no set can be listed") as caught:
        backup_sets.listing(HOST, "", False)
    assert "usb does not answer: unmounted" in caught.value.why
    assert "there is no set yet" not in capsys.readouterr().out


def test_a_stop_with_nothing_under_way_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(runs, "_runs", lambda host: ("", RUN))
    backup.stop(HOST, yes=True)
    assert "no backup or restore is under way" in capsys.readouterr().out


def test_small_databases_are_staged_together_while_there_is_room_and_a_large_one_alone() -> None:
    small = dumps.SMALL
    many = {f"d{n}": 1 for n in range(2 * dumps.MOMENTS + 1)}
    assert [len(group) for group in dumps.groups(many)] == [dumps.MOMENTS] * 2 + [1]
    sizes = {"a": small // 2, "large": 5 * small, "b": small // 2, "c": 1, "d": small - 1}
    assert list(dumps.groups(sizes)) == [["large"], ["a", "b"], ["c", "d"]]


def test_who_had_no_room_for_locks_beside_a_database_of_many_tables_is_saved_alone(monkeypatch) -> None:
    """The database with many tables fails again; all others are saved."""
    crowded = Failed(20, "it could not be dumped", "out of shared memory", databases.WAYS_OUT[0][1])
    other = Failed(20, "it could not be dumped", "invalid database", "DROP DATABASE gone")
    asked, saved = list[list[str]](), databases.Databases()

    def together(saving, catalog) -> None:
        outcome = saving.databases
        asked.append([*catalog])
        failed = {"many": crowded, "app": crowded, "gone": other} if len(catalog) > 1 else {"many": crowded}
        outcome.failed |= {name: error for name, error in failed.items() if name in catalog}
        outcome.saved |= {name: {} for name in catalog if name not in outcome.failed}

    monkeypatch.setattr(databases._Saving, "_together", together)
    job = SimpleNamespace(journal=SimpleNamespace(say=lambda text: None))
    databases._Saving(job, None, None, {}, saved).save({name: {} for name in ("app", "geo", "gone", "many")})
    assert asked == [["app", "geo", "gone", "many"], ["app"], ["many"]]
    assert set(saved.saved) == {"app", "geo"} and set(saved.failed) == {"gone", "many"}
    databases._Saving(job, None, None, {}, databases.Databases()).save({"many": {}})
    assert asked[3:] == [["many"]], "one that was alone is not tried again"


def test_an_age_has_two_units() -> None:
    assert backup_sets.age((datetime.now(UTC) - timedelta(days=3, hours=2)).isoformat()).startswith("3 d 2 h")


def test_a_name_that_postgresql_would_cut_is_refused_before_anything_is_made() -> None:
    assert postgres.beside("app", "old", "a1b2c3") == "app__old_a1b2c3"
    with pytest.raises(Failed, match="too long to restore beside it"):
        postgres.beside("ä" * 28, "old", "a1b2c3")


@pytest.mark.parametrize("name", ["app", "a b", "it's", "back\\slash", "dbname=x", "-d"])
def test_a_database_is_named_to_libpq_whatever_its_name_holds(name: str) -> None:
    assert psycopg_name(connection(name)) == name


def psycopg_name(conninfo: str) -> str:
    from psycopg.conninfo import conninfo_to_dict

    return str(conninfo_to_dict(conninfo)["dbname"])


def test_where_a_dump_puts_its_sequences_is_read_from_it_whatever_they_are_called() -> None:
    dump = """
SELECT pg_catalog.set_config('search_path', '', false);
SELECT pg_catalog.setval('public.a', 121, true);
SELECT pg_catalog.setval('public."It''s (1, true);"', 1, false);
SELECT pg_catalog.setval(E'public."back\\\\slash
and line"', -5, true);
 SELECT pg_catalog.setval('public.not_at_the_beginning', 1, true);
"""
    assert snapshots.places(dump) == {
        "public.a": 121,
        """public."It's (1, true);\"""": None,
        'public."back\\slash\nand line"': -5,
    }


def test_contents_that_differ_are_told_by_name() -> None:
    before = {"rows": {"public.a": 3}, "sequences": {"public.s": 3}, "large_objects": 1, "extensions": {"postgis": "3"}}
    after = {"rows": {"public.a": 2}, "sequences": {"public.s": 3}, "large_objects": 0, "extensions": {}}
    assert comparison.differences(before, before) == []
    assert [str(difference) for difference in comparison.differences(before, after)] == [
        "rows of public.a: 3 in the set, 2 here",
        "large objects: 1 in the set, 0 here",
        "extensions missing: postgis",
    ]


def test_the_worker_is_one_file_that_python_runs_the_same_for_everybody(tmp_path) -> None:
    code = role.program(ROOT / "worker")
    copy = tmp_path / "worker"
    shutil.copytree(ROOT / "worker", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*.py"):
        os.utime(path, (0, 2_000_000_000))
    assert role.program(copy) == code
    (tmp_path / "worker.pyz").write_bytes(code)
    assert imported(tmp_path / "worker.pyz") == str(tmp_path / "worker.pyz/worker/backup.py")


def imported(code: Path) -> str:
    """The file from which the worker imports a module, with this code."""
    run = "from worker.targets import KINDS; import worker.targets.path, worker.backup; print(worker.backup.__file__)"
    environment = {"PYTHONPATH": str(code)}
    done = subprocess.run([sys.executable, "-c", run], cwd="/", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_python_compiled_of_the_worker_is_used_and_the_sources_where_python_is_another(tmp_path) -> None:
    code = compiled.compiled(role.program(ROOT / "worker"))
    (tmp_path / "here.pyz").write_bytes(code)
    with zipfile.ZipFile(tmp_path / "here.pyz") as made, zipfile.ZipFile(tmp_path / "elsewhere.pyz", "w") as other:
        for name in made.namelist():
            other.writestr(name, made.read(name).replace(importlib.util.MAGIC_NUMBER, b"\1\1\r\n"))
    assert imported(tmp_path / "here.pyz") == str(tmp_path / "here.pyz/worker/backup.pyc")
    assert imported(tmp_path / "elsewhere.pyz") == str(tmp_path / "elsewhere.pyz/worker/backup.py")


def test_a_sequence_on_which_a_view_counted_while_it_was_made_goes_back_to_its_place(monkeypatch) -> None:
    here: dict[str, int | None] = {"public.ticks": 6, "public.never": None, "public.new": 1}
    empty = {"rows": {}, "large_objects": 0, "extensions": {}}
    monkeypatch.setattr(snapshots, "contents", lambda session: {**empty, "sequences": dict(here)})
    monkeypatch.setattr(snapshots, "sequences", lambda session: dict(here))
    session = SimpleNamespace(execute=lambda statement, values: here.update({values[0]: values[1]}))
    wanted = {**empty, "sequences": {"public.ticks": 3, "public.never": None, "public.gone": 7}}
    assert [str(difference) for difference in comparison.compared(session, wanted)] == [
        "sequences of public.gone: 7 in the set, absent here",
        "sequences of public.new: absent in the set, 1 here",
    ]
    assert here["public.ticks"] == 3 and "public.gone" not in here


@pytest.mark.parametrize(("major", "quiet"), [(15, False), (16, False), (17, True), (18, True)])
def test_event_triggers_are_off_in_sessions_of_the_worker_where_the_server_knows_how(major: int, quiet: bool) -> None:
    assert ("-c event_triggers=off" in postgres.options(major)) is quiet
    assert "-c role=none" in postgres.options(major)


@pytest.mark.parametrize(
    ("encoding", "codec", "name"),
    [
        ("LATIN1", "latin-1", "zähler"),
        ("LATIN9", "iso8859-15", "€"),
        ("KOI8R", "koi8-r", "счёт"),
        ("KOI8U", "koi8-u", "лічильник"),
        ("WIN1251", "cp1251", "счёт"),
        ("WIN866", "cp866", "счёт"),
        ("ISO_8859_7", "iso8859-7", "μέτρο"),
        ("EUC_JP", "euc_jp", "番号"),
        ("EUC_KR", "euc_kr", "번호"),
        ("EUC_CN", "gb2312", "序号"),
        ("UTF8", "utf-8", "zähler"),
    ],
)
def test_names_of_sequences_are_read_in_the_encoding_of_their_database(encoding: str, codec: str, name: str) -> None:
    statement = f"SELECT pg_catalog.setval('public.\"{name}\"', 7, true);".encode(codec)
    assert snapshots.places(statement.decode(postgres.codec(encoding))) == {f'public."{name}"': 7}


def test_what_no_set_holds_is_named(storage_host):
    cache = {"image": "nginx", "data": {"/var/lib/redis": "/srv/stowage/cache"}}
    without, settings = storage_host().settings, storage_host(services={"cache": cache}).settings
    names = [bucket.name for bucket in settings.buckets]

    def not_saved(**objects: Any) -> str:
        some = SimpleNamespace(buckets=Objects.model_validate(objects))
        return sheet.not_in_sets(settings.model_copy(update={"backup": some}))

    assert sheet.not_in_sets(without.model_copy(update={"backup": None})) == f"the objects of {', '.join(names)}"
    assert not_saved() == "the data of cache (/srv/stowage/cache)"
    assert not_saved(names=names[:1], prefixes={names[0]: ["a/"]}) == (
        f"the objects of {', '.join(names[1:])}, of {names[0]} the objects beside a/, "
        "the data of cache (/srv/stowage/cache)"
    )
    assert sheet.not_in_sets(storage_host(roles=["base", "docker", "images"]).settings) == ""


@pytest.mark.parametrize("text", ["20", "fast", "0MiB", "-1MiB", "20mib", "1.5MiB"])
def test_a_rate_that_is_none_is_told_before_anything_is_begun(text: str) -> None:
    with pytest.raises(Trouble, match=f"--limit-rate is {re.escape(text)}") as caught:
        backup.rate_of(text)
    assert caught.value.untouched == "nothing was begun"


def test_a_rate_is_in_bytes_a_second() -> None:
    assert (backup.rate_of("20MiB"), backup.rate_of("")) == (20 << 20, 0)

"""The configuration in a set compared with the host's: differences are shown, secrets are not, nothing is installed."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from worker import configuration, sets
from worker.contract import Request
from worker.job import Job
from worker.journal import Journal
from worker.manifest import Manifest
from worker.targets import PathTarget

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ID = "20261121T090000Z-a1b2c3"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    etc = tmp_path / "etc"
    etc.mkdir()
    for name, mode, text in (
        ("open", 0o644, "one\ntwo\n"),
        ("secret", 0o600, "hush\n"),
        ("identity", 0o400, identity()),
        ("stays", 0o640, ""),
    ):
        (etc / name).write_text(text)
        (etc / name).chmod(mode)
    monkeypatch.setattr(configuration, "BESIDE", tmp_path / "beside")
    config = {"stack": "lab", "paths": [str(etc), str(tmp_path / "absent")], "identity_file": str(etc / "identity")}
    made = Job("run1", config, Request(do="restore"), Journal(tmp_path / "journal.jsonl", ()))
    (tmp_path / "target").mkdir()
    made.__dict__["targets"] = {"here": PathTarget("here", str(tmp_path / "target"), device=hash)}
    return made


def identity() -> str:
    return subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def saved(job: Job) -> Manifest:
    with sets.PartWriter(job.alive, job.keys, sets.folder("lab", ID)) as writer:
        files, streams = configuration.packed(job, writer)
    return Manifest(ID, "lab", "prod", NOW, NOW, components={"config": streams}, config=tuple(files))


def kinds(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {Path(row["path"]).name: row["what"] for row in rows}


def test_a_host_that_has_not_changed_is_the_same(job: Job, saved: Manifest) -> None:
    assert configuration.differences(job, saved) == []
    assert {Path(row["path"]).name for row in saved.config} == {"open", "secret", "stays"}


def test_every_kind_of_change_is_told_and_no_secret_is(job: Job, saved: Manifest, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "open").write_text("one\nthree\n")
    (etc / "secret").write_text("hush, hush\n")
    (etc / "later").write_text("later\n")
    (etc / "stays").chmod(0o666)
    rows = configuration.texts(job, saved, "here")
    assert kinds(rows) == {
        "open": "content",
        "secret": "content",
        "later": "new",
        "stays": f"rights: 0640 {os.getuid()}:{os.getgid()} in the set, 0666 {os.getuid()}:{os.getgid()} here",
    }
    assert [row["lines"][2:] for row in rows if "lines" in row] == [["@@ -1,2 +1,2 @@", " one", "-two", "+three"]]
    assert "hush" not in str(rows)


def test_a_secret_that_lies_open_by_now_is_not_shown_either(job: Job, saved: Manifest, tmp_path: Path) -> None:
    (tmp_path / "etc/secret").write_text("hush, hush\n")
    (tmp_path / "etc/secret").chmod(0o644)
    (row,) = configuration.texts(job, saved, "here")
    assert "lines" not in row


def test_it_is_laid_beside_for_root_alone_and_not_installed(job: Job, saved: Manifest, tmp_path: Path) -> None:
    (tmp_path / "etc/open").write_text("mine\n")
    (tmp_path / "etc/secret").unlink()
    configuration.lay_beside(job, saved, "here")
    place = tmp_path / "beside" / ID
    there = place / str(tmp_path / "etc").lstrip("/")
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert (there / "open").read_text() == "one\ntwo\n"
    assert (there / "secret").stat().st_mode & 0o777 == 0o600
    assert not (there / "identity").exists()
    assert (tmp_path / "etc/open").read_text() == "mine\n"
    assert kinds(configuration.differences(job, saved)) == {"open": "content", "secret": "gone"}
    assert configuration.beside() == [str(place)]
    configuration.clear()
    assert configuration.beside() == []

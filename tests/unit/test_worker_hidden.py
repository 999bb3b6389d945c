"""Objects beneath other objects, which no listing shows: found on a drive by names alone, and never lost in silence."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker.buckets import browsing, hidden, outgoing, reading
from worker.buckets.before import Rows
from worker.buckets.client import Answer
from worker.buckets.counts import Counts
from worker.buckets.listing import NULL, Version
from worker.errors import Failed


def laid(drive: Path, *keys: str) -> None:
    """Objects as MinIO lays them on a drive, each with a folder of its data."""
    for key in keys:
        data = drive / key / "5f8e-data"
        data.mkdir(parents=True)
        (data / "part.1").touch()
        (drive / key / "xl.meta").touch()


def info(**more: Any) -> bytes:
    drives = [{"endpoint": f"http://minio{number}:9000/data", "state": "ok", **more} for number in (1, 2)]
    return json.dumps({"servers": [{"drives": drives[:1]}, {"drives": drives[1:]}]}).encode()


@pytest.fixture
def job(tmp_path: Path) -> Any:
    notes = list[str]()
    folders = {name: str(tmp_path / "drive") for name in ("minio1", "minio2")}
    journal = SimpleNamespace(progress=lambda *_, **more: None)
    config = {"buckets": {"drives": folders}}
    return SimpleNamespace(run="r", config=config, notes=notes, note=notes.append, journal=journal)


def hidden_keys(job: Any, *names: str, answer: bytes = info()) -> list[dict[str, str]]:
    minio: Any = SimpleNamespace(ask=lambda *_: Answer(200, {}, answer))
    search = hidden.Search(job, minio, names)
    return [search.of(name) for name in names]


def test_what_lies_beneath_an_object_is_found_whatever_its_name_and_nothing_else_is(job: Any, tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    laid(drive, "b/a", "b/a-b", "b/a.b/c", "b/p/q/r", "b/p/q/s", "b/dir__XLDIR__", "b/dir/below", "other/x")
    assert hidden_keys(job, "b", "other") == [{}, {}]
    laid(drive, "b/a/b", "b/a/b/c", "b/a/x y\nü", "b/a/in/dir__XLDIR__", "b/p/q", "other/x/y")
    # Also where the folder above is printed after what lies in it.
    assert hidden_keys(job, "b", "other") == [
        {"a/b": "a", "a/b/c": "a", "a/x y\nü": "a", "a/in/dir/": "a", "p/q/r": "p/q", "p/q/s": "p/q"},
        {"x/y": "x"},
    ]
    assert job.notes == []


@pytest.mark.parametrize(
    "folders", [["/b/a", "/b/a/1", "/b/a/2", "/b/c"], ["/b/a/1", "/b/a/2", "/b/a"], ["/b/a/1", "/b/a", "/b/a/2"]]
)
def test_the_object_above_is_known_wherever_its_own_line_stands(folders: list[str]) -> None:
    assert hidden.outermost(hidden.parents(folders)) == ["/b/a"]
    assert hidden.outermost(["/b/a/b", "/b/a-b", "/b/a", "/b/ab"]) == ["/b/a-b", "/b/a", "/b/ab"]


def test_a_bucket_that_the_drive_lacks_is_said_and_costs_no_set(job: Any, tmp_path: Path) -> None:
    laid(tmp_path / "drive", "b/a", "b/a/b")
    assert hidden_keys(job, "b", "gone") == [{}, {}]
    (note,) = job.notes
    assert note.startswith("objects that no listing shows were not looked for: find on a drive: ")
    assert "No such file" in note


@pytest.mark.parametrize("answer", [info(state="offline"), info(healing=True), b"{}"])
def test_where_no_drive_is_well_on_this_host_it_is_said(job: Any, answer: bytes) -> None:
    assert hidden_keys(job, "b", answer=answer) == [{}]
    assert "has no drive on this host" in job.notes[0]


def test_each_erasure_set_is_looked_at_on_one_drive_and_on_another_the_next_day() -> None:
    drives = [
        {"endpoint": f"https://n{number}:9000/data", "state": "ok", "set_index": number % 2} for number in range(4)
    ]
    folders = {f"n{number}": f"/mnt/{number}" for number in range(4)}
    at = {"servers": [{"drives": drives}]}
    assert [hidden.drives(at, folders, day) for day in (0, 1)] == [["/mnt/0", "/mnt/1"], ["/mnt/2", "/mnt/3"]]
    alone = {"servers": [{"drives": [{"endpoint": "/data", "state": "ok"}]}]}
    assert hidden.drives(alone, {"minio1": "/mnt/0"}, 5) == ["/mnt/0"]
    with pytest.raises(Failed, match="no drive on this host"):
        hidden.drives(at, {"n0": "/mnt/0"}, 0)


HEAD = {
    "etag": '"e"',
    "content-length": "7",
    "last-modified": "Fri, 27 Nov 2026 17:27:33 GMT",
    "x-amz-version-id": "v1",
}


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (Answer(200, HEAD, b""), ("v1", "2026-11-27T17:27:33.000Z", "e", 7)),
        (Answer(400, {}, b""), (NULL, "", "", 0)),
        (Answer(404, {"x-amz-delete-marker": "true"}, b""), (NULL, "", "", 0)),
        (Answer(404, {}, b""), None),
    ],
    ids=["an object", "under a customer's key", "a delete marker", "left on a drive"],
)
def test_of_a_hidden_key_the_head_is_told_and_what_minio_does_not_have_is_none(answer: Answer, wanted: Any) -> None:
    minio: Any = SimpleNamespace(ask=lambda *_, **more: answer)
    versions = list(hidden.versions(minio, "b", {"a/b": "a"}))
    assert [(version.id, version.at, version.etag, version.size) for version in versions] == (
        [wanted] if wanted else []
    )
    assert list(hidden.versions(minio, "b", {"a/b": "a"}, "c")) == []


def test_a_hidden_object_makes_the_bucket_incomplete_until_it_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [Version("a", "1", "1", "e", 1), Version("a.b", "1", "1", "e", 1), Version("b", "1", "1", "e", 1)]
    monkeypatch.setattr(outgoing.listing, "versions", lambda *_: iter(listed))
    lost = Version("a/b", "2", "1", "e", 7, latest=True, beneath="a")
    monkeypatch.setattr(hidden, "versions", lambda *_: iter([lost]))
    known = {"sha256": "s", "headers": {}, "parts": ["p"]}

    def rows(before: list[dict[str, Any]], accept: bool = False) -> tuple[list[dict[str, Any]], Counts]:
        saving: Any = object.__new__(outgoing.Outgoing)
        nothing, counts = SimpleNamespace(begin=print, add=print, end=print), Counts()
        saving._job = SimpleNamespace(config={"buckets": {"prefixes": {}, "versions": 0}})
        saving.minio, saving._progress, saving._accept = None, nothing, accept
        saving._before = SimpleNamespace(rows=lambda bucket: Rows(iter(before)))
        saving._blobs = SimpleNamespace(kept=lambda names: True)
        saving._readers = outgoing.ThreadPoolExecutor(1)
        return list(saving.rows("b", counts, lambda: {"a/b": "a"})), counts

    before = [{"key": key, "id": "1", "at": "1", "etag": "e", "size": 1, **known} for key in ("a", "a.b", "b")]
    made, counts = rows(before)
    assert [row["key"] for row in made] == ["a", "a.b", "a/b", "b"]
    assert (counts.versions, counts.unreadable, counts.hidden) == (3, 1, 1)
    assert counts.lacking == (
        "1 of its objects is not in the set, all others are: a/b (it lies beneath the object a, which hides it from every"
        " listing)"
    )
    accepted, counts = rows(made, accept=True)
    assert (counts.lacking, counts.accepted, counts.hidden) == ("", 1, 0)
    assert rows(accepted)[0] == accepted
    assert list(browsing.of_key([made[2]], [])) == [], "it is not gone for not being listed"
    with pytest.raises(reading.Unreadable, match="beneath the object a"):
        outgoing._refuse(outgoing.HIDDEN.format("a"))

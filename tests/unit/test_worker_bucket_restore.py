"""Restore of objects, the parts that need no server: missing versions, their order, what was made, and the undo."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker import records, settling
from worker.buckets import (
    anew,
    beneath,
    browsing,
    flat,
    inserting,
    listing,
    live,
    nesting,
    outgoing,
    planning,
    probing,
    quiet,
    restoring,
    saving,
    survey,
    takeback,
)
from worker.buckets.client import Answer
from worker.buckets.listing import Version
from worker.buckets.made import Made
from worker.contract import Request
from worker.errors import Failed
from worker.records import Record

AT = "2026-11-27T17:33:21.359Z"


def row(key: str, id: str, at: str = AT, **more: Any) -> dict[str, Any]:
    fields = {"key": key, "id": id, "at": at, "etag": f"e-{id}", "size": 1, "sha256": "s", "pack": "p", "headers": {}}
    return {**fields, **more}


def marker(key: str, id: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "id": id, "at": AT, "marker": True, **more}


def version(key: str, id: str, **more: Any) -> Version:
    return Version(key, id, AT, **{"etag": f"e-{id}", "size": 1, **more})


def test_what_is_put_without_versions_counts_as_progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for done in ("put", "must_be"):
        monkeypatch.setattr(inserting, done, lambda *_: None)
    contents: Any = SimpleNamespace(pieces=lambda row: [b"x"])
    rows, made = [row("k", "null", latest=True, size=7)], Made(tmp_path / "made")
    assert flat.replace(None, contents, made, "kept", "b", rows, []) == 7  # type: ignore[arg-type]
    there = [version("k", "null", size=7, etag="e-null")]
    assert flat.replace(None, contents, made, "kept", "b", rows, there) == 0  # type: ignore[arg-type]


def test_versions_of_one_millisecond_keep_their_order() -> None:
    rows = [row("k", "3"), row("k", "2"), row("k", "1"), row("k", "0", "2025-01-01T00:00:00.000Z")]
    moments = inserting.dates(rows, [])
    assert [moments[id] for id in "3210"] == [
        "2026-11-27T17:33:21.359002Z",
        "2026-11-27T17:33:21.359001Z",
        "2026-11-27T17:33:21.359000Z",
        "2025-01-01T00:00:00.000000Z",
    ]


def test_a_version_goes_above_the_one_of_its_millisecond_that_is_there() -> None:
    rows = [row("k", "3"), row("k", "2"), row("k", "1")]
    moments = inserting.dates(rows, [version("k", "2")])
    assert moments["3"].endswith("359999Z") and moments["1"].endswith("359000Z")


def test_what_is_there_already_is_not_put_again_and_what_was_not_read_is_in_no_set() -> None:
    rows = [row("k", "3"), marker("k", "2"), row("k", "1"), {"key": "k", "id": "0", "at": AT, "unreadable": "SSE-C"}]
    there = [version("k", "2", marker=True, etag="", size=0), version("k", "1", etag="other")]
    assert [lacking["id"] for lacking in beneath.missing(rows, there)] == ["3", "1"]


class MinIO:
    """Records its requests; lists the given versions."""

    def __init__(self, *there: Version) -> None:
        self.versions, self.asked = list(there), list[tuple[str, str, dict[str, str], dict[str, str]]]()

    def ask(self, method: str, where: str, query: Any = None, **more: Any) -> Answer:
        self.asked.append((method, where, dict(query or {}), dict(more.get("headers") or {})))
        return Answer(200, {"etag": "part"}, b"<UploadId>u</UploadId>")


@pytest.fixture
def minio(monkeypatch: pytest.MonkeyPatch) -> MinIO:
    made = MinIO()

    def versions(client: Any, bucket: str, prefix: str = "") -> Any:
        yield from (there for there in made.versions if there.key.startswith(prefix))

    monkeypatch.setattr(listing, "versions", versions)
    monkeypatch.setattr(inserting, "must_be", lambda *_: None)
    return made


def moves(minio: MinIO, tmp_path: Path) -> beneath.Beneath:
    pieces = SimpleNamespace(pieces=lambda row: iter([b"x"]))
    return beneath.Beneath(minio, "b", pieces, Made(tmp_path / "made"), lambda text: None)  # type: ignore[arg-type]


def test_each_version_is_written_down_before_it_is_made_and_the_oldest_is_put_first(minio: Any, tmp_path: Path) -> None:
    moves(minio, tmp_path).insert([row("k", "2", lock={"hold": "ON"}), marker("k", "1")], [])
    assert list(Made(tmp_path / "made").lines()) == [
        {"key": "k", "id": "2", "lock": {"hold": "ON"}},
        {"key": "k", "id": "1"},
    ]
    assert [(method, query) for method, _, query, _ in minio.asked] == [
        ("DELETE", {"versionId": "1"}),
        ("PUT", {"versionId": "2"}),
    ]
    assert minio.asked[1][3] == {inserting.MTIME: "2026-11-27T17:33:21.359001Z", inserting.ETAG: "e-2"}


def test_an_id_that_is_another_object_is_refused_and_one_of_no_version_gets_a_new_one(
    minio: Any, tmp_path: Path
) -> None:
    with pytest.raises(Failed, match="is another object"):
        moves(minio, tmp_path).insert([row("k", "1")], [version("k", "1", etag="other")])
    assert minio.asked == []
    some = moves(minio, tmp_path)
    some.insert([row("k", "null", latest=True)], [version("k", "null", etag="other")])
    (put,) = minio.asked
    assert put[0] == "PUT" and put[2]["versionId"] != "null"
    some.make_current([row("k", "null", latest=True)], [version("k", put[2]["versionId"], etag="e-null")])
    assert len(minio.asked) == 1
    some.make_current([row("k", "null", latest=True)], [version("k", "null", etag="other")])
    assert len(minio.asked) == 2


@pytest.mark.parametrize(
    ("newest", "there", "method"),
    [
        (row("k", "1", latest=True), [version("k", "1")], ""),
        (row("k", "1", latest=True), [version("k", "9"), version("k", "1")], "PUT"),
        (row("k", "1", latest=True), [version("k", "9", marker=True), version("k", "1")], "PUT"),
        (marker("k", "1", latest=True), [version("k", "9"), version("k", "1", marker=True)], "DELETE"),
        (marker("k", "1", latest=True), [version("k", "9", marker=True)], ""),
        ({"key": "k", "id": "1", "latest": True, "unreadable": "SSE-C"}, [version("k", "9")], ""),
    ],
)
def test_what_was_current_is_made_current_by_one_more_version(
    minio: Any, tmp_path: Path, newest: dict[str, Any], there: list[Version], method: str
) -> None:
    moves(minio, tmp_path).make_current([newest], there)
    assert [call[0] for call in minio.asked] == ([method] if method else [])
    ids = [line["id"] for line in Made(tmp_path / "made").lines()]
    assert ids == [call[2]["versionId"] for call in minio.asked]


def test_an_object_in_pieces_goes_up_in_parts_with_its_own_id_and_etag(minio: Any) -> None:
    incoming = inserting.Incoming("k", "1", "at", "etag-2", 4, (("content-type", "x/y"),))
    inserting.put(minio, "b", incoming, iter([b"ab", b"cd"]))
    assert [(method, sorted(query)) for method, _, query, _ in minio.asked] == [
        ("POST", ["uploads", "versionId"]),
        ("PUT", ["partNumber", "uploadId"]),
        ("PUT", ["partNumber", "uploadId"]),
        ("POST", ["uploadId", "versionId"]),
    ]


def test_an_upload_whose_content_is_damaged_is_given_up(minio: Any) -> None:
    def pieces() -> Any:
        yield b"ab"
        raise Failed(30, "damaged")

    with pytest.raises(Failed, match="damaged"):
        inserting.put(minio, "b", inserting.Incoming("k", "1", "at", "e", 4), pieces())
    assert minio.asked[-1][0] == "DELETE"


def test_the_listing_is_read_along_and_a_key_out_of_order_is_asked_about(minio: Any) -> None:
    minio.versions = [version("a", "1"), version("b", "2"), version("b", "1"), version("d", "1")]
    some = live.Live(minio, "b", "")
    assert [[listed.id for listed in some.of(key)] for key in ("0", "b", "c", "a", "d", "e")] == [
        [],
        ["2", "1"],
        [],
        ["1"],
        ["1"],
        [],
    ]


def test_a_listing_out_of_order_ends_the_restore(minio: Any) -> None:
    minio.versions = [version("b", "1"), version("a", "1")]
    with pytest.raises(Failed, match="not in order"):
        live.Live(minio, "b", "").of("c")


def test_the_plan_counts_what_is_missing_and_what_becomes_current(minio: Any) -> None:
    minio.versions = [version("a", "9"), version("a", "1")]
    groups = [
        ("a", [row("a", "2", latest=True), row("a", "1")]),
        ("b", [row("b", "1", latest=True, size=5, lock={"hold": "ON"})]),
        ("c", [{"key": "c", "id": "1", "latest": True, "unreadable": "SSE-C"}]),
    ]
    result = survey.surveyed(iter(groups), live.Live(minio, "b", ""), versioned=True)
    assert result == survey.Survey(keys=3, insert=2, bytes=6, current=1, locked=1, unreadable=1)


def test_a_restore_that_only_makes_old_versions_current_says_so() -> None:
    done = survey.Survey(keys=9, current=3)
    assert restoring._done(done, versioned=True).endswith("each read back; 3 keys have the version of the set on top")
    assert restoring._done(done, versioned=False).endswith("each read back")


def test_the_plan_counts_what_exact_would_hide(minio: Any) -> None:
    minio.versions = [version("a", "1"), version("b", "1"), version("c", "1", marker=True), version("d", "1")]
    groups = [("b", [row("b", "1", latest=True)]), ("d", [{"key": "d", "id": "2", "marker": True, "latest": True}])]
    wanted: Any = SimpleNamespace(**{name: "" for name in ("to", "bucket", "start", "prefixes")}, minio=minio)
    wanted.job = SimpleNamespace(request=Request(exact=True))
    wanted.live, wanted.groups = lambda: live.Live(minio, "b", ""), lambda: iter(groups)
    wanted.now, wanted.there, wanted.versioned = {}, True, True
    assert planning._checked(wanted).hides == 2


def test_a_line_that_was_cut_off_was_not_acted_on(tmp_path: Path) -> None:
    made = Made(tmp_path / "made")
    assert list(made.lines()) == []
    made.add({"key": "ü\n", "id": "1"}, {"key": "b", "id": "2"})
    with made.path.open("ab") as file:
        file.write(b'{"key": "c", "i')
    assert [line["key"] for line in made.lines()] == ["ü\n", "b"]


def test_lines_of_many_threads_are_all_there_and_whole(tmp_path: Path) -> None:
    made = Made(tmp_path / "made")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: made.add({"key": str(number), "id": "1"}, {"key": "twin"}), range(200)))
    lines = list(made.lines())
    assert sorted(line["key"] for line in lines if "id" in line) == sorted(map(str, range(200)))
    assert len(lines) == 400


def test_once_a_line_is_not_on_disk_nothing_more_is_made(tmp_path: Path) -> None:
    made = Made(tmp_path / "not there" / "made")
    with pytest.raises(OSError, match="No such file"):
        made.add({"key": "a"})
    made.path = tmp_path / "made"
    with pytest.raises(Failed, match="cannot be written"):
        made.add({"key": "b"})


CONFIGURATION = {
    "versioning": "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "lifecycle": "<LifecycleConfiguration><Rule></Rule></LifecycleConfiguration>",
    "notification": "<NotificationConfiguration></NotificationConfiguration>",
    "replication": "<ReplicationConfiguration><Rule><Status>Enabled</Status></Rule></ReplicationConfiguration>",
    "object-lock": "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
    "<Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
    "quota": '{"quota":1000,"size":1000}',
}


def test_what_would_act_on_a_version_is_taken_off_and_put_on_as_it_was(minio: Any) -> None:
    held = quiet.acting(CONFIGURATION)
    assert sorted(held) == ["lifecycle", "object-lock", "quota", "replication"]
    assert quiet.acting({"object-lock": "<ObjectLockEnabled>Enabled</ObjectLockEnabled>", "quota": '{"quota":0}'}) == {}
    assert "<Rule>" not in quiet.ACTING_PARTS["object-lock"].meanwhile(held["object-lock"])
    assert "ObjectLockEnabled>Enabled" in quiet.ACTING_PARTS["object-lock"].meanwhile(held["object-lock"])
    assert "Enabled" not in quiet.ACTING_PARTS["replication"].meanwhile(held["replication"])
    quiet.take_off(minio, "b", held)
    assert [(method, where, *query) for method, where, query, _ in minio.asked if method == "DELETE"] == [
        ("DELETE", "/b", "lifecycle")
    ]
    assert quiet.acting({"notification": "<NotificationConfiguration><QueueConfiguration>"})
    assert not quiet.acting({"versioning": quiet.ENABLED})
    for text in (
        quiet.ENABLED.replace("Enabled", "Suspended"),
        f"{quiet.ENABLED}<ExcludeFolders>true</ExcludeFolders>",
    ):
        assert (
            quiet.ACTING_PARTS["versioning"].meanwhile(quiet.acting({"versioning": text})["versioning"])
            == quiet.ENABLED
        )


@pytest.mark.parametrize(
    ("there", "asked", "left"),
    [
        ([], ["DELETE"], ""),
        ([version("k", "null", etag="e"), version("k", "9")], ["DELETE"], ""),
        ([version("k", "null", etag="a writer's")], [], "was written anew since the restore"),
    ],
)
def test_what_a_writer_has_put_in_the_place_of_an_object_without_an_id_is_never_deleted(
    minio: Any, there: list[Version], asked: list[str], left: str
) -> None:
    minio.versions = there
    line = beneath._line(row("k", "null", etag="e"), inserting.incoming(row("k", "null", etag="e"), AT))
    assert left in takeback._taken_back(minio, "b", "kept", line)
    assert [call[0] for call in minio.asked] == asked


@pytest.mark.parametrize(
    ("here", "kept", "line", "asked", "reason"),
    [
        ("", "", {"etag": "new", "was": ""}, [], ""),
        ("new", "", {"etag": "new", "was": ""}, ["DELETE"], ""),
        ("old", "", {"etag": "new", "was": "old"}, [], ""),
        ("new", "old", {"etag": "new", "was": "old"}, ["moved"], ""),
        ("", "old", {"etag": "", "was": "old"}, ["moved"], ""),
        ("", "old", {"etag": "new", "was": "old"}, ["moved"], ""),
        ("later", "old", {"etag": "new", "was": "old"}, [], "was replaced since the restore"),
        ("later", "", {"etag": "new", "was": ""}, [], "was replaced since the restore"),
    ],
)
def test_without_versions_an_undo_puts_back_what_was_displaced_and_leaves_what_came_later(
    minio: Any,
    monkeypatch: pytest.MonkeyPatch,
    here: str,
    kept: str,
    line: dict[str, str],
    asked: list[str],
    reason: str,
) -> None:
    kinds = {"b": here, "stowage-kept-abcdef": kept}
    monkeypatch.setattr(
        listing, "of_key", lambda _, bucket, key: [version(key, "null", etag=kinds[bucket])] if kinds[bucket] else []
    )
    monkeypatch.setattr(flat, "_moved", lambda *_: minio.asked.append(("moved",)))
    outcome = flat.put_back(minio, "b", "stowage-kept-abcdef", {"key": "k", **line})
    assert reason in outcome and bool(reason) == bool(outcome)
    assert [call[0] for call in minio.asked] == asked


def test_a_restore_that_failed_deletes_what_it_made_and_puts_the_settings_on(
    minio: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    record = Record("20261127T175330Z-abcdef", "set", "2026-11-27T17:53:30+00:00")
    record.buckets = {"b": {"made": False, "held": {"lifecycle": "<L/>"}, "kept": "stowage-kept-abcdef"}}
    record.made("b").add({"key": "a", "id": "1"}, {"key": "b", "id": "2", "lock": {"hold": "ON"}})
    monkeypatch.setattr(takeback, "connect", lambda config: minio)
    monkeypatch.setattr(listing, "names", lambda client: ["b"])
    job: Any = SimpleNamespace(
        config={}, journal=SimpleNamespace(say=print, piece=print, progress=lambda *_, **more: None)
    )
    assert settling.settle(job, record) == []
    gone = {(where, query["versionId"]) for method, where, query, _ in minio.asked if method == "DELETE"}
    assert gone == {("/b/a", "1"), ("/b/b", "2")}
    assert minio.asked[-1][:3] == ("PUT", "/b", {"lifecycle": ""})
    (on_disk,) = Record.all()
    assert (on_disk.phase, on_disk.buckets["b"]["held"], record.made("b").path.exists()) == ("failed", {}, False)


def test_prefixes_are_listed_in_the_order_of_keys_and_none_twice() -> None:
    assert outgoing._apart(["b/", "a/x/", "a/", "ü", "a/"]) == ["a/", "b/", "ü"]


def test_the_scratch_buckets_of_killed_restores_go_and_no_other(minio: Any) -> None:
    minio.versions = [version("probe", "1")]
    probing.sweep(minio, ["models", "stowage-probe-a1b2c3", "stowage-kept-a1b2c3"])
    assert [call[:2] for call in minio.asked] == [
        ("DELETE", "/stowage-probe-a1b2c3/probe"),
        ("DELETE", "/stowage-probe-a1b2c3"),
    ]


def test_no_set_has_what_restores_displaced_nor_the_sets_themselves() -> None:
    settings = {"names": [], "without": ["sets"]}
    job: Any = SimpleNamespace(config={"buckets": settings})
    there = ["a", "sets", "stowage-kept-abcdef", "b"]
    assert saving.wanted(job, there) == ["a", "b"]
    settings["names"] = ["b"]
    assert saving.wanted(job, there) == ["b"]


def test_a_bucket_differs_by_what_is_gone_new_or_other_and_not_by_where_it_stands() -> None:
    rows = [row("k", "3", tags="a=1"), row("k", "2"), marker("k", "1")]
    there = [version("k", "3", tags="a=1"), version("k", "2"), version("k", "1", marker=True, etag="", size=0)]
    assert list(browsing.of_key(rows, there)) == []
    other = [
        version("k", "9"),
        version("k", "3", metadata={"x": "y"}),
        version("k", "2", etag="z", lock={"hold": "ON"}),
    ]
    assert list(browsing.of_key([row("k", "3", headers={"x": "z"}, tags="a=1"), *rows[1:]], other)) == [
        "the version 3 has other metadata",
        "the version 3 has other tags",
        "the version 2 has another content",
        "the version 2 has another lock",
        f"the delete marker 1 of {AT} is gone",
        "1 versions are new",
    ]
    assert list(browsing.of_key(rows, [there[1], there[0], there[2]])) == ["its versions stand in another order"]


def test_a_bucket_is_compared_in_one_listing_and_what_the_set_lacks_is_counted(minio: Any, monkeypatch) -> None:
    minio.versions = [version("a", "1"), version("b", "1"), version("b", "0"), version("c", "1"), version("d", "1")]
    listings, listed = list[str](), listing.versions
    monkeypatch.setattr(listing, "versions", lambda *of: listings.append(of[1]) or listed(*of))
    asked: Any = SimpleNamespace(
        start="", saved={"policy": "p"}, now={}, rows=lambda: iter([row("a", "1"), row("c", "2")])
    )
    assert list(browsing._different(asked, live.Live(minio, "x", ""))) == [
        f"c: the version 2 of {AT} is gone",
        "c: 1 versions are new",
        "3 versions are of keys that the set does not have",
        "its policy is another",
    ]
    assert listings == ["x"]


def test_a_set_can_be_looked_into_while_minio_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker import sets
    from worker.buckets import COMPONENT, index, wanted
    from worker.buckets.before import index_of

    def dead(*_: Any) -> Any:
        raise Failed(20, "MinIO does not answer")

    stored = list(index.packed([row("runs/1", "1"), row("other", "2")]))
    monkeypatch.setattr(wanted, "connect", dead)
    monkeypatch.setattr(sets, "reader", lambda *_: SimpleNamespace(read=lambda parts: iter(stored)))
    manifest: Any = SimpleNamespace(buckets={"b": {}}, components={COMPONENT: {index_of("b"): ("part",)}})
    request = Request(buckets=["b"], prefix="runs/")
    job: Any = SimpleNamespace(request=request, config={}, targets={"own": None}, keys=None)
    shown = browsing.shown(job, manifest, "own")
    assert [listed["key"] for listed in shown["objects"]] == ["runs/1"] and shown["more"] == 0


class Own(MinIO):
    """Gives each version an id of its own."""

    def ask(self, method: str, where: str, query: Any = None, **more: Any) -> Answer:
        super().ask(method, where, query, **more)
        return Answer(200, {"x-amz-version-id": f"own-{len(self.asked)}"}, b"")


def test_without_ids_the_oldest_is_put_first_and_what_is_made_is_known_by_the_answer(
    minio: Any, tmp_path: Path
) -> None:
    own, made = Own(), Made(tmp_path / "made")
    some = anew.Anew(own, "b", SimpleNamespace(pieces=lambda row: iter([b"x"])), made)  # type: ignore[arg-type]
    rows = [row("k", "3", latest=True, lock={"hold": "ON"}), marker("k", "2"), row("k", "1")]
    assert some.put(rows, [version("k", "9"), version("k", "1")]) == 1
    assert [(method, query) for method, _, query, _ in own.asked] == [("DELETE", {}), ("PUT", {})]
    assert own.asked[1][3] == {}
    lines = list(made.lines())
    assert [(line.get("above"), line.get("id")) for line in lines] == [
        ("9", None),
        (None, "own-1"),
        ("own-1", None),
        (None, "own-2"),
    ]
    assert lines[3]["lock"] == {"hold": "ON"} and lines[3]["was"] == "3"
    assert [line["id"] for line in anew.confirmed(lines)] == ["own-1", "own-2"]
    assert [line.get("above", line.get("id")) for line in anew.confirmed(lines[:3])] == ["own-1", "own-1"]
    assert anew.to_put(rows[2:], [version("k", "9"), version("k", "1")]) == []
    top = [version("k", "3")]
    assert [lacking["id"] for lacking in anew.to_put(rows, top)] == ["3", "2", "1"], (
        "what is put beneath it would be on top"
    )
    assert anew.to_put(rows[:1], top) == []
    assert anew.to_put([row("k", "1", latest=True)], [version("k", "9"), version("k", "1")]) == [
        row("k", "1", latest=True)
    ]


@pytest.mark.parametrize(
    ("there", "gone", "left"),
    [
        ([version("k", "9")], "", ""),
        ([version("k", "new", etag="md5"), version("k", "9")], "new", ""),
        ([version("k", "later"), version("k", "new", etag="md5"), version("k", "9")], "new", ""),
        ([version("k", "a writer's"), version("k", "9")], "", "may be of the restore"),
    ],
)
def test_of_a_request_whose_answer_was_lost_only_the_same_object_in_its_place_is_taken_back(
    minio: Any, there: list[Version], gone: str, left: str
) -> None:
    minio.versions = there
    line = {"key": "k", "above": "9", "number": "n", "marker": False, "md5": "md5"}
    assert left in takeback._taken_back(minio, "b", "kept", line)
    assert [call[2]["versionId"] for call in minio.asked] == ([gone] if gone else [])


def test_a_large_encrypted_object_gets_an_etag_of_parts_or_minio_could_not_read_it(minio: Any) -> None:
    incoming = inserting.Incoming("k", "1", AT, "e", 2, ((inserting.SEALED, "aws:kms"),))
    inserting.put(minio, "b", incoming, [b"x", b"y"])
    assert {headers[inserting.ETAG] for _, _, _, headers in minio.asked if inserting.ETAG in headers} == {"e-2"}
    assert live.same(row("k", "1", etag="e"), version("k", "1", etag="e-2"))


@pytest.mark.parametrize(
    ("brought", "there", "nested"),
    [
        (["a"], ["a-b", "a.c", "a/b", "a/b/c", "ab"], ["a/b", "a/b/c"]),
        (["a/b/c", "a/d", "b/x"], ["a", "a-b", "b"], ["a/b/c", "a/d", "b/x"]),
        (["a/b"], ["a-b", "a.", "a/", "a/c", "ab"], []),
        (["a", "z"], ["b/c", "y"], []),
        (["x/1", "x/2"], ["x/3"], []),
    ],
)
def test_what_a_restore_would_hide_from_every_listing_is_known_before(
    minio: Any, brought: list[str], there: list[str], nested: list[str]
) -> None:
    minio.versions = [version(key, "9") for key in there]
    groups = [(key, [row(key, "1", latest=True)]) for key in brought]
    for versioned in (True, False):
        result = survey.surveyed(iter(groups), live.Live(minio, "b", ""), versioned)
        assert (result.nested, result.nested_keys) == (len(nested), nested)
        assert bool(nested) is any("hides them from every listing" in line for line in result.warnings({}))
    unchanged = [(key, [row(key, "9", latest=True)]) for key in there]
    assert survey.surveyed(iter(unchanged), live.Live(minio, "b", ""), versioned=True).nested == 0


def test_an_object_above_all_that_is_asked_for_is_seen_as_well(minio: Any) -> None:
    assert nesting.above("runs/7/model") == ["runs", "runs/7"]
    assert nesting.above("runs/") == ["runs"] and nesting.above("/x") == []
    known = nesting.Nesting()
    known.add("runs", brought=False)
    groups = [("runs/7", [row("runs/7", "1", latest=True)])]
    assert survey.surveyed(iter(groups), live.Live(minio, "b", "runs/"), True, nesting=known).nested == 1

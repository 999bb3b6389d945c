"""Backup of buckets, the parts that need no server: listings, indexes, packs, known versions, and shared contents."""

from __future__ import annotations

import hashlib
import json
import random
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from worker.buckets import blobs, index, listing, outgoing, packs, reading
from worker.buckets.before import Before, Rows, index_of
from worker.buckets.blobs import Blob, Blobs
from worker.buckets.client import Answer, Client, Silent, path
from worker.buckets.counts import Counts
from worker.buckets.listing import Version
from worker.buckets.signing import Signer
from worker.contract import Request
from worker.errors import Failed
from worker.keys import Keys
from worker.manifest import Manifest
from worker.parts import PLAIN, PartWriter
from worker.targets import Entry, Missing

PAGE = """<?xml version="1.0"?><ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<IsTruncated>{more}</IsTruncated><NextKeyMarker>new%0Aline%5Bminio_cache%3Av2%5D</NextKeyMarker>
<NextVersionIdMarker>v9</NextVersionIdMarker>{rows}</ListVersionsResult>"""
VERSION = """<Version><Key>a+b%2Bc%2F%C3%BC</Key><LastModified>2026-11-27T17:27:33.161Z</LastModified>
<ETag>&#34;9dd4&#34;</ETag><Size>7</Size><UserMetadata><X-Amz-Meta-Foo>b</X-Amz-Meta-Foo>
<x-amz-object-lock-mode>GOVERNANCE</x-amz-object-lock-mode>
<x-amz-object-lock-retain-until-date>2027-01-01T00:00:00.000Z</x-amz-object-lock-retain-until-date></UserMetadata>
<UserTags>a=b%2B&amp;k=</UserTags><IsLatest>true</IsLatest><VersionId>v1</VersionId></Version>"""
MARKER = """<DeleteMarker><Key>gone</Key><LastModified>2026-11-27T17:27:33.161Z</LastModified>
<IsLatest>true</IsLatest><VersionId>v2</VersionId></DeleteMarker>"""


class Asked:
    """A MinIO with recorded answers, which records its requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, str, Any, Any]]()

    def ask(self, method: str, where: str, query: Any = None, **more: Any) -> Answer:
        self.asked.append((method, where, dict(query or {}), more.get("headers")))
        return self.answers.pop(0)


def test_a_listing_is_read_page_by_page_with_metadata_tags_and_locks() -> None:
    pages = [PAGE.format(more="true", rows=VERSION), PAGE.format(more="false", rows=MARKER)]
    minio: Any = Asked(*(Answer(200, {}, page.encode()) for page in pages))
    first, second = listing.versions(minio, "b", "p/")
    assert first == Version(
        key="a b+c/ü",
        id="v1",
        at="2026-11-27T17:27:33.161Z",
        etag="9dd4",
        size=7,
        latest=True,
        metadata={"x-amz-meta-foo": "b"},
        tags="a=b%2B&k=",
        lock={"mode": "GOVERNANCE", "until": "2027-01-01T00:00:00.000Z"},
    )
    assert (second.key, second.marker, second.latest) == ("gone", True, True)
    asked = minio.asked[1][2]
    assert (asked["key-marker"], asked["version-id-marker"]) == ("new\nline[minio_cache:v2]", "v9")


def test_the_next_page_of_a_listing_is_asked_for_while_one_is_read() -> None:
    pages = [PAGE.format(more="true", rows=VERSION), PAGE.format(more="false", rows=MARKER)]
    minio: Any = Asked(*(Answer(200, {}, page.encode()) for page in pages))
    with ThreadPoolExecutor(1) as pool:
        versions = listing.versions(minio, "b", "", pool)
        assert next(versions).key == "a b+c/ü"
        pool.submit(lambda: None).result()
        assert [query.get("key-marker") for _, _, query, _ in minio.asked] == [None, "new\nline[minio_cache:v2]"]
        assert [version.key for version in versions] == ["gone"]


def test_only_so_many_of_the_newest_versions_of_a_key_are_taken() -> None:
    versions = [Version("a", "3", ""), Version("a", "2", ""), Version("b", "1", "")]
    assert [[version.id for version in some] for some in listing.by_key(iter(versions), 1)] == [["3"], ["1"]]
    assert [len(some) for some in listing.by_key(iter(versions))] == [2, 1]


@pytest.mark.parametrize("key", ["a b", "ü/日", "new\nline", "%2e%2e/x", "a+b?c#d&e=f", "tab\t\"<>'"])
def test_any_key_is_a_path(key: str) -> None:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit("http://h" + path("b", key))
    assert (unquote(parts.path), parts.query, parts.fragment) == (f"/b/{key}", "", "")


def test_an_index_comes_back_row_by_row_whatever_stands_in_a_key() -> None:
    rows = [{"key": f"k\n{number}\u2028ü\x85", "size": number} for number in range(40_000)]
    stored = list(index.packed(rows))
    assert list(index.unpacked(iter(stored))) == rows
    assert list(index.unpacked([])) == []
    assert next(index.unpacked(iter(stored))) == rows[0]


def test_a_damaged_index_is_told() -> None:
    stored = b"".join(index.packed([{"key": str(number)} for number in range(1000)]))
    with pytest.raises(Failed):
        list(index.unpacked([stored[:-20]]))


def test_what_feeds_an_index_fails_as_itself() -> None:
    def broken() -> Any:
        raise Failed(30, "the part is damaged")
        yield b""

    with pytest.raises(Failed, match="the part is damaged"):
        list(index.unpacked(broken()))


def test_packs_hold_each_content_once_and_are_no_larger_than_a_part() -> None:
    stored = dict[str, bytes]()
    pack = packs.Pack(lambda number: f"pack{number}", lambda name, data, held: stored.update({name: bytes(data)}))
    bodies = [b"", b"x", b"x", *(random.Random(seed).randbytes(packs.SMALL - 1) for seed in range(70))]
    where = [(pack.add(hashlib.sha256(body).hexdigest(), body), body) for body in bodies]
    pack.close()
    assert len(stored) == 2
    assert all(len(blob) <= PLAIN for blob in stored.values())
    members = {name: packs.members(packs.compressed(bytearray(data))) for name, data in stored.items()}
    assert all(members[name][hashlib.sha256(body).hexdigest()] == body for name, body in where)
    assert len(members["pack0"]) + len(members["pack1"]) == len({*bodies})


def row(key: str, id: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "id": id, "at": "1", "etag": "e", "size": 1, "sha256": "s", **more}


def test_a_version_is_known_when_the_last_set_has_the_very_same() -> None:
    rows = Rows(iter([row("a", "1"), row("a", "2"), row("c", "3"), row("ü", "null"), row("ü", "4", at="2")]))
    matched = [
        (version.key, version.id, bool(known))
        for some in (
            [Version("a", "9", "1", "e", 1), Version("a", "2", "1", "e", 1)],
            [Version("b", "3", "1", "e", 1)],
            [Version("ü", "null", "1", "other", 1), Version("ü", "4", "2", "e", 1)],
        )
        for version, known in rows.matched(some)
    ]
    assert matched == [
        ("a", "9", False),
        ("a", "2", True),
        ("b", "3", False),
        ("ü", "null", False),
        ("ü", "4", True),
    ]


def test_a_set_that_lacks_a_bucket_makes_none_of_its_objects_new(keys: Keys) -> None:
    shelf, job = Shelf("one"), SimpleNamespace(keys=keys)
    job.alive = [shelf]
    summaries = list[Any]()

    def made(day: int, contents: list[Blob], rows: dict[str, list[dict[str, Any]]], failed: str = "") -> None:
        at = datetime(2026, 11, day, tzinfo=UTC)
        id = f"{at:%Y%m%dT%H%M%SZ}-00000{day}"
        streams = {blobs.LIST: [blob.as_row() for blob in contents]} | {index_of(name): rows[name] for name in rows}
        with PartWriter([shelf], keys, f"s/sets/{id}") as writer:  # type: ignore[list-item]
            stored = {name: tuple(writer.write(name, index.packed(iter(rows)))) for name, rows in streams.items()}
        lacks = {failed: "MinIO does not answer"} if failed else {}
        manifest = Manifest(
            *(id, "s", "h", at, at),
            components={"buckets": stored},
            buckets={name: {} for name in rows},
            failed_buckets=lacks,
        )
        summaries.append(SimpleNamespace(id=id, created=at, valid=True, manifest=manifest))

    pack, part = Blob("pack", 9, "", held=9, live=9), Blob("part", 1, "")
    old, new = [{"key": "k", "id": "old"}], [{"key": "k", "id": "new"}]
    made(1, [], {"gone": old})
    made(2, [pack, part], {"a": old, "b": old, "none": []})
    made(3, [replace(pack, live=1)], {"a": new}, "b")
    made(4, [], {}, "*")
    before = Before(job, summaries)  # type: ignore[arg-type]
    assert [before.rows(name)._next for name in ("a", "b", "none", "gone")] == [*new, *old, None, None]
    # The pack has all of the bucket that the newer set lacks.
    assert sorted(before.blobs(), key=lambda blob: blob.name) == [pack, part]
    assert sorted(before.buckets) == ["a", "b", "none"]


def test_an_object_that_could_not_be_read_is_tried_again() -> None:
    unread = {key: value for key, value in row("a", "1").items() if key != "sha256"}
    assert [known for _, known in Rows(iter([unread])).matched([Version("a", "1", "1", "e", 1)])] == [None]


def test_what_cannot_be_read_and_was_accepted_stays_accepted_until_it_can_be_read_or_is_another() -> None:
    def settled(known: dict[str, Any], accept: bool, fails: bool, etag: str = "e") -> tuple[dict[str, Any], Counts]:
        sending: Any = object.__new__(outgoing.Outgoing)
        sending._accept, sending._blobs, sending._progress = (
            accept,
            SimpleNamespace(count=print),
            SimpleNamespace(add=print),
        )
        sending._pack, future, counts = SimpleNamespace(add=lambda *_: "p"), Future[Any](), Counts()
        sending._readers = SimpleNamespace(submit=lambda *_: future)
        if fails:
            future.set_exception(reading.Unreadable("SSE-C"))
        else:
            future.set_result({"sha256": "s", "body": b"x"})
        ((version, before),) = Rows(iter([known])).matched([Version("a", "1", "1", etag, 1)])
        (saved,) = sending._settled("b", *sending._begun("b", version, before), counts)
        return saved, counts

    unread = {"key": "a", "id": "1", "at": "1", "etag": "e", "size": 1, "unreadable": "SSE-C"}
    saved, counts = settled(unread, accept=False, fails=True)
    assert (counts.unreadable, counts.accepted, "accepted" in saved) == (1, 0, False)
    saved, counts = settled(unread, accept=True, fails=True)
    assert (counts.unreadable, counts.accepted, counts.lacking) == (0, 1, "")
    assert "; 1 left out, which was accepted" in counts.summary
    again, counts = settled(saved, accept=False, fails=True)
    assert (again, counts.accepted) == (saved, 1)
    assert settled(saved, accept=False, fails=True, etag="other")[1].unreadable == 1
    healed, counts = settled(saved, accept=False, fails=False)
    assert ("accepted" in healed, healed["pack"], counts.read) == (False, "p", 1)


class Shelf:
    """A target in memory."""

    def __init__(self, name: str) -> None:
        self.name, self.data, self.puts = name, dict[str, bytes](), 0

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self.data[key] = data
        self.puts += 1

    def get(self, key: str) -> bytes:
        if key not in self.data:
            raise Missing(20, key)
        return self.data[key]

    def list(self, prefix: str) -> Any:
        return [Entry(key, len(blob), datetime.now(UTC) - timedelta(9)) for key, blob in self.data.items()]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: Any) -> Keys:
    import shutil
    import subprocess

    if not shutil.which("age-keygen"):
        pytest.skip("no age here")
    identity = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout
    return Keys(identity)


def test_a_content_goes_only_to_the_targets_that_lack_it(keys: Keys) -> None:
    near, far = Shelf("one"), Shelf("two")
    with PartWriter([near, far], keys, "s/sets/x") as writer:  # type: ignore[list-item]
        first = Blobs("s", keys, writer)
        name = first.put(b"content")
        assert (near.puts, far.puts) == (1, 1)
        del far.data[blobs.key("s", name)]
        again = Blobs("s", keys, writer, first.used.values())
        assert not again.kept([name])
        assert again.put(b"content") == name
        assert (near.puts, far.puts) == (1, 2)
        third = Blobs("s", keys, writer, first.used.values())
        assert third.kept([name]) and third.used == first.used
    assert blobs.fetch(far, "s", keys, first.used[name]) == b"content"  # type: ignore[arg-type]


def test_a_content_that_is_not_what_was_saved_is_damaged(keys: Keys) -> None:
    shelf: Any = Shelf("one")
    blob = Blob("ab12", 7, hashlib.sha256(b"content").hexdigest())
    where = blobs.key("s", blob.name)
    for stored in (keys.encrypt(b"another"), keys.encrypt(b"content")[:-1], b"", b"nothing"):
        shelf.data[where] = stored
        with pytest.raises(Failed, match="is damaged"):
            blobs.fetch(shelf, "s", keys, blob)
    del shelf.data[where]
    with pytest.raises(Failed, match="is damaged"):
        blobs.fetch(shelf, "s", keys, blob)


def answered(status: int, body: bytes = b"", **headers: str) -> Answer:
    return Answer(status, {key.replace("_", "-"): value for key, value in headers.items()}, body)


def test_an_object_that_is_replaced_while_it_is_read_is_never_half_of_each() -> None:
    size = str(PLAIN + 5)
    minio: Any = Asked(
        answered(206, bytes(PLAIN), ETag='"one"', Content_Range=f"bytes 0-1/{size}"),
        answered(412),
    )
    with pytest.raises(reading.Replaced):
        list(reading.pieces(minio, "b", Version("k", "null", "1", "one", PLAIN + 5)))
    assert minio.asked[1][3] == {"Range": f"bytes={PLAIN}-{2 * PLAIN - 1}", "If-Match": '"one"'}


def test_of_an_object_without_versions_the_answer_counts_and_not_the_listing() -> None:
    answer = answered(
        200,
        b"newer",
        ETag='"two"',
        Content_Length="5",
        Last_Modified="Fri, 27 Nov 2026 17:27:32 GMT",
        X_Amz_Meta_A="grÃ¼Ã\x9f",
    )
    head, body = reading.small(Asked(answer), "b", Version("k", "null", "1", "one", 3))  # type: ignore[arg-type]
    assert (head.etag, head.size, head.at, body) == ("two", 5, "2026-11-27T17:27:32.000Z", b"newer")
    assert head.headers == {"x-amz-meta-a": "grüß"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, reading.Vanished), (400, reading.Unreadable), (403, reading.Unreadable), (507, reading.Unreadable)],
)
def test_what_cannot_be_read_costs_only_itself(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        reading.small(Asked(answered(status)), "b", Version("k", "1", "1"))  # type: ignore[arg-type]


class BrokenOff:
    """A MinIO that breaks off the answer to one damaged object, and answers everything else."""

    def ask(self, method: str, where: str, query: Any = None, **more: Any) -> Answer:
        if "versions" in query:
            return Answer(200, {}, PAGE.format(more="false", rows=VERSION).encode())
        raise Silent(20, f"MinIO does not answer to {method} of {where}", "IncompleteRead(0 bytes read)")


@pytest.mark.parametrize("read", [reading.small, lambda *given: list(reading.pieces(*given)), reading.head])
def test_an_object_that_is_damaged_on_too_many_drives_costs_only_itself(read: Any) -> None:
    with pytest.raises(reading.Unreadable, match="IncompleteRead"):
        read(BrokenOff(), "b", Version("a b+c/ü", "v1", "1", "9dd4", 7))


def test_of_many_objects_that_cannot_be_read_a_few_are_named_with_the_reason() -> None:
    counts = Counts()
    for number in range(1000):
        counts.not_read(f"k{number}", "damaged")
    assert counts.lacking == (
        "1000 of its objects are not in the set, all others are:"
        " k0 (damaged), k1 (damaged), k2 (damaged), k3 (damaged), k4 (damaged) and more"
    )


@pytest.mark.parametrize(
    ("listed", "vanished", "unreadable"),
    [([True] * 21, 0, 1), ([False], 1, 0), ([True, True, False], 1, 0)],
    ids=["damaged", "deleted", "expired by a rule"],
)
def test_what_is_said_not_to_be_there_and_stays_listed_is_told_as_unreadable(
    monkeypatch: pytest.MonkeyPatch, listed: list[bool], vanished: int, unreadable: int
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    pages = [PAGE.format(more="false", rows=VERSION if there else "").encode() for there in listed]
    sending: Any = object.__new__(outgoing.Outgoing)
    sending.minio, counts, gone = Asked(*(Answer(200, {}, page) for page in pages)), Counts(), Future[Any]()
    gone.set_exception(reading.Vanished())
    rows = list(sending._settled("b", {"key": "a b+c/ü", "id": "v1", "etag": "9dd4", "size": 7}, gone, counts))
    assert (counts.vanished, counts.unreadable, len(rows)) == (vanished, unreadable, unreadable)
    assert ("a b+c/ü (MinIO lists it" in counts.lacking) is bool(unreadable)


@pytest.mark.parametrize(
    ("servers", "waited"),
    [
        ([{"state": "online", "uptime": 5}, {"state": "online", "uptime": 900}], [15]),
        ([{"state": "offline"}, {"state": "online", "uptime": 900}], []),
        ([], []),
    ],
)
def test_a_node_that_has_just_started_is_given_time_to_see_all_drives(
    monkeypatch: pytest.MonkeyPatch, servers: list[dict[str, Any]], waited: list[int]
) -> None:
    from worker.buckets import steady

    slept, messages = list[float](), list[str]()
    monkeypatch.setattr("time.sleep", slept.append)
    info = Answer(200, {}, json.dumps({"servers": servers}).encode())
    steady.wait(Asked(Answer(200, {}, b""), info), messages.append)  # type: ignore[arg-type]
    assert slept == waited and len(messages) == len(waited)


def test_a_minio_without_read_quorum_is_not_asked_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.buckets import steady

    client, asked = Client(["http://a"], "user", "secret"), list[str]()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(client, "_once", lambda method, endpoint, where, *_: asked.append(where) or answered(503))
    with pytest.raises(Silent, match="MinIO does not answer") as caught:
        steady.wait(client)
    assert "no read quorum" in caught.value.why and set(asked) == {"/minio/health/cluster/read"}


def test_a_dead_node_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(["http://a", "http://b"], "user", "secret")
    asked = list[str]()

    def once(method: str, endpoint: str, where: str, query: str, *_: Any) -> Answer:
        asked.append(f"{endpoint}{where}?{query}")
        if endpoint == "http://a":
            raise OSError("refused")
        return answered(200)

    monkeypatch.setattr(client, "_once", once)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert client.ask("GET", "/b", {"versions": ""}).status == 200
    assert client.ask("GET", "/b").status == 200
    assert asked == ["http://a/b?versions=", "http://b/b?versions=", "http://b/b?"]


def test_a_list_of_a_node_that_reads_from_too_few_drives_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = {"http://a": 503, "http://b": 200}
    client = Client([*reads], "user", "secret")
    names = b"<R><Buckets><Bucket><Name>geo</Name></Bucket></Buckets></R>"

    def once(method: str, endpoint: str, where: str, *_: Any) -> Answer:
        if where != "/":
            return answered(reads[endpoint])
        return answered(200, names if reads[endpoint] == 200 else b"<R><Buckets></Buckets></R>")

    monkeypatch.setattr(client, "_once", once)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert listing.names(client) == ["geo"]
    reads["http://b"] = 503
    with pytest.raises(Silent) as caught:
        listing.names(client)
    assert "no read quorum" in caught.value.why


def test_a_bucket_of_a_recent_set_that_is_gone_is_named_with_the_newest_set_that_has_it() -> None:
    from worker.buckets.saving import gone

    now = datetime(2026, 11, 28, tzinfo=UTC)

    def summary(id: str, days: int, *names: str, valid: bool = True) -> Any:
        manifest = SimpleNamespace(buckets={name: {} for name in names})
        return SimpleNamespace(id=id, created=now - timedelta(days=days), valid=valid, manifest=manifest)

    there = [summary("new", 1, "geo"), summary("older", 3, "geo", "lost"), summary("old", 4, "geo", "lost")]
    there += [summary("ancient", 8, "forgotten"), summary("bad", 1, "never", valid=False)]
    assert gone(there, ["geo"], now) == {"lost": "older"}
    assert gone(there, ["geo", "lost"], now) == {}


def test_contents_go_when_no_set_needs_them_and_never_when_one_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker import sets
    from worker.buckets import checking

    shelf: Any = Shelf("one")
    for name in ("aa1", "bb2"):
        shelf.data[blobs.key("s", name)] = b""
    summaries = [SimpleNamespace(valid=True, manifest=object(), reason="", id="1")]
    monkeypatch.setattr(sets, "list_sets", lambda *_: summaries)
    monkeypatch.setattr(checking, "needed", lambda *_: [Blob("aa1", 0, "")])
    gone = list[str]()
    shelf.delete = gone.append
    keys: Any = None
    doubtful = SimpleNamespace(valid=False, manifest=None, reason="damaged", id="2")
    summaries.append(doubtful)
    with pytest.raises(Failed, match="contents of buckets stay"):
        checking.sweep(shelf, keys, "s", datetime.now(UTC), timedelta(hours=48))
    summaries.remove(doubtful)
    with pytest.raises(Failed, match="contents of buckets stay") as caught:
        checking.sweep(shelf, keys, "s", datetime.now(UTC), timedelta(hours=48), {"1", "3"})
    assert caught.value.why == "3 was there in this run, and is not listed now"
    assert checking.sweep(shelf, keys, "s", datetime.now(UTC), timedelta(days=30)) == 0
    assert checking.sweep(shelf, keys, "s", datetime.now(UTC), timedelta(hours=48)) == 1
    assert gone == ["s/blobs/bb/bb2"]


def test_a_minio_that_is_dead_costs_the_buckets_and_not_the_set(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.buckets import client, saving

    def dead(*_: Any) -> Answer:
        raise Failed(20, "MinIO does not answer", "nobody answers")

    shelf, messages = Shelf("one"), list[str]()
    monkeypatch.setattr(client, "connect", lambda config: SimpleNamespace(ask=dead))
    job: Any = SimpleNamespace(
        config={"uploads": 1, "buckets": {"names": [], "without": []}},
        keys=keys,
        stack="s",
        run="r",
        request=Request(),
        alive=[shelf],
        journal=SimpleNamespace(say=messages.append),
    )
    streams: Any = {}
    with PartWriter([shelf], keys, "s/sets/x") as writer:  # type: ignore[list-item]
        outcome = saving.save(job, writer, streams, [])
    assert list(outcome.failed) == ["*"] and outcome.saved == {}
    assert messages[0].startswith("any bucket could not be saved: MinIO does not answer")
    # Once a set or the inventory knows buckets, each is named.
    monkeypatch.setattr(saving.Before, "buckets", {"geo": {}, "tiles": {}})
    with PartWriter([shelf], keys, "s/sets/y") as writer:  # type: ignore[list-item]
        assert list(saving.save(job, writer, streams, []).failed) == ["geo", "tiles"]
    assert messages[-1].startswith("the bucket geo, the bucket tiles could not be saved: MinIO does not answer")
    assert list(streams) == [blobs.LIST]
    with pytest.raises(Failed, match="cannot be read"):
        list(listing.versions(Asked(answered(200, b"<ListVersionsResult><Key>\x01")), "b"))  # type: ignore[arg-type]


def test_a_bucket_that_is_removed_meanwhile_makes_no_set_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.buckets import saving
    from worker.buckets.client import refused

    there, notes = ["a"], list[str]()
    monkeypatch.setattr(listing, "names", lambda minio: there)
    job: Any = SimpleNamespace(note=notes.append)
    for code, name in (("NoSuchBucket", "a"), ("AccessDenied", "b")):
        error = refused("MinIO refuses GET of /b", Answer(404, {}, f"<Code>{code}</Code>".encode()))
        with pytest.raises(Failed), saving.unless_removed(job, None, name):  # type: ignore[arg-type]
            raise error
    error = refused("MinIO refuses GET of /b", Answer(404, {}, b"<Code>NoSuchBucket</Code>"))
    with saving.unless_removed(job, None, "b"):  # type: ignore[arg-type]
        raise error
    assert notes == ["the bucket b was removed while the backup ran, and is not in the set"]


def test_progress_counts_objects_and_bytes_of_each_bucket_and_a_guess_that_was_too_small_is_no_total() -> None:
    from worker.buckets.progress import Progress, expected

    usage = {
        "bucketsUsageInfo": {
            "a": {"size": 30, "objectsCount": 3, "versionsCount": 0},
            "old": {"size": 9, "versionsCount": 9},
        }
    }
    minio: Any = Asked(Answer(200, {}, json.dumps(usage).encode()))
    guess = expected(minio, ["a", "b", "c"], {"b": {"versions": 1, "markers": 1, "bytes": 5}})
    events = list[dict[str, Any]]()
    journal: Any = SimpleNamespace(progress=lambda done, total, **more: events.append({"d": done, "t": total, **more}))
    progress = Progress(journal, guess)
    progress.begin("a")
    progress.add(10)
    assert events[-1] == {
        **{"d": 10, "t": 35, "bucket": "a", "objects": 1, "of": 3, "bucket_done": 10, "bucket_total": 30}
    }
    # Progress of a large object is counted piece by piece, and not again when it is in the set.
    progress.ahead(15)
    assert (events[-1]["d"], events[-1]["objects"], events[-1]["bucket_done"]) == (25, 1, 25)
    progress.ahead(-15)
    progress.ahead(6)
    progress.add(6, 6)
    assert (events[-1]["d"], events[-1]["objects"], events[-1]["t"]) == (16, 2, 35)
    progress.end()
    progress.begin("b")
    for _ in range(4):
        progress.add(2)
    assert [events[-1][name] for name in ("d", "t", "objects", "of", "bucket_total")] == [24, 0, 4, 4, 8]


@pytest.mark.parametrize("answer", [b"no json", b"[]", b'{"bucketsUsageInfo": null}'])
def test_progress_goes_on_where_minio_has_counted_nothing(answer: bytes) -> None:
    from worker.buckets.progress import Amount, expected

    minio: Any = Asked(Answer(200, {}, answer))
    assert expected(minio, ["a"], {}) == {"a": Amount(0, 0)}


def test_a_pack_that_is_mostly_dead_is_not_kept_and_one_that_was_written_before_this_was_counted_is(keys: Keys) -> None:
    held = list[int]()
    pack = packs.Pack(lambda number: "p", lambda name, data, size: held.append(size))
    for body in (b"a" * 10, b"b" * 20, b"a" * 10, b""):
        pack.add(hashlib.sha256(body).hexdigest(), body)
    pack.close()
    assert held == [30]
    before = [Blob("full", 9, "", 30, 15), Blob("dead", 9, "", 30, 14), Blob("empty", 9, "", 0, 0), Blob("old", 9, "")]
    shelf = Shelf("one")
    for blob in before:
        shelf.data[blobs.key("s", blob.name)] = b""
    with PartWriter([shelf], keys, "s/sets/x") as writer:  # type: ignore[list-item]
        kept_blobs = Blobs("s", keys, writer, before)
        assert [kept_blobs.kept([blob.name]) for blob in before] == [True, False, True, True]
        kept_blobs.count("full", 7)
        kept_blobs.count("full", 6)
        assert [(blob.name, blob.live) for blob in kept_blobs.list()] == [("empty", 0), ("full", 13), ("old", 0)]


@pytest.mark.parametrize(
    ("method", "where", "query", "headers", "body"),
    [
        (
            "GET",
            path("b"),
            {"versions": "", "metadata": "true", "key-marker": "ü +/~", "key": "1", "prefix": "a&b=c"},
            {},
            b"",
        ),
        (
            "PUT",
            path("b", "a b+c%20~!*'().txt"),
            {},
            {"x-amz-meta-uni": "  grüß   dich ", "Content-MD5": "x=="},
            b"body",
        ),
        (
            "PUT",
            path("b", "ü/日本/../new\nline"),
            {"versionId": "null"},
            {"X-Minio-Source-Etag": "e", "x-amz-tagging": "a=b%2B"},
            b"x" * 9,
        ),
        ("DELETE", path("b", "k"), {"versionId": "1"}, {"X-Minio-Source-DeleteMarker": "true"}, b""),
    ],
)
def test_a_request_is_signed_as_the_general_client_signs_it(
    method: str, where: str, query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    parameters = urlencode(query, quote_via=quote, safe="~")
    sha256 = hashlib.sha256(body).hexdigest()
    ours = Signer("who", "secret").signed(method, "127.0.0.1:9000", where, parameters, headers, sha256)
    url = f"http://127.0.0.1:9000{where}" + (f"?{parameters}" if parameters else "")
    theirs = AWSRequest(method, url, headers=headers, data=body)
    auth = S3SigV4Auth(Credentials("who", "secret"), "s3", "us-east-1")
    theirs.context["timestamp"] = ours["X-Amz-Date"]
    theirs.headers["X-Amz-Date"], theirs.headers["X-Amz-Content-SHA256"] = ours["X-Amz-Date"], sha256
    canonical = auth.canonical_request(theirs)
    signature = auth.signature(auth.string_to_sign(theirs, canonical), theirs)
    assert ours["Authorization"].endswith(f"Signature={signature}"), canonical

"""Targets: folders on this machine, and S3 without a server."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as some

from worker.contract import FAILED, REFUSED, USAGE
from worker.errors import Failed
from worker.targets import LARGEST, PARTIAL, Exists, Missing, PathTarget, base, checked, make, s3, s3_health
from worker.targets.base import Full, Probe, with_patience
from worker.targets.s3 import S3Target
from worker.targets.s3_rules import dangers, expiries

SECRET = "SENTINEL-secret-key"
WRITE, READ = "X-Minio-Write-Quorum", "X-Minio-Read-Quorum"
S3 = {
    "kind": "s3",
    "name": "away",
    "endpoints": ["http://127.0.0.1:1"],
    "bucket": "backups",
    "prefix": "prod",
    "access_key": "SENTINEL-access",
    "secret_key": SECRET,
}


@pytest.fixture
def target(tmp_path: Path) -> PathTarget:
    return PathTarget("drive", str(tmp_path), device=lambda path: hash(path))


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "a/", "../a", "a/../b", ".", "a/.", "a b", "ä", "a\n", "a\\b", "x" * 201, "a.partial"]
)
def test_a_key_that_is_not_plain_is_refused_by_every_call(target: PathTarget, key: str) -> None:
    for call in (lambda: target.put(key, b""), lambda: target.get(key), lambda: target.stat(key)):
        with pytest.raises(Failed, match="cannot be the name") as caught:
            call()
        assert caught.value.code == USAGE
    if not key.endswith(PARTIAL):
        with pytest.raises(Failed):
            target.delete(key)


@given(key=some.text(max_size=30))
def test_a_key_that_passes_stays_beneath_its_root(key: str) -> None:
    try:
        checked(key)
    except Failed:
        return
    assert os.path.normpath(f"/root/{key}") == f"/root/{key}"


def test_what_is_put_is_there_for_its_owner_only_and_replaces_what_was(target: PathTarget, tmp_path: Path) -> None:
    target.put("lab/sets/x/manifest.json", b"one")
    target.put("lab/sets/x/manifest.json", b"two")
    assert target.get("lab/sets/x/manifest.json") == b"two"
    assert target.stat("lab/sets/x/manifest.json") == 3
    assert (tmp_path / "lab/sets/x/manifest.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "lab").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (tmp_path / "lab/sets/x").iterdir()) == ["manifest.json"]


def test_what_is_absent_is_missing_and_no_error_to_delete(target: PathTarget) -> None:
    with pytest.raises(Missing, match="drive: a/b cannot be read"):
        target.get("a/b")
    assert target.stat("a/b") is None
    target.delete("a/b")
    target.put("a", b"")
    assert target.stat("a/b") is None


def test_if_absent_replaces_nothing(target: PathTarget) -> None:
    target.put("a/b", b"one", if_absent=True)
    with pytest.raises(Exists):
        target.put("a/b", b"two", if_absent=True)
    assert target.get("a/b") == b"one"
    assert [entry.key for entry in target.list("")] == ["a/b"]


def test_of_many_at_once_one_is_first(target: PathTarget) -> None:
    lost: list[int] = []

    def put(number: int) -> None:
        try:
            target.put("a/b", b"%d" % number, if_absent=True)
        except Exists:
            lost.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lost) == 7 and int(target.get("a/b")) not in lost


def test_a_listing_has_every_key_of_a_prefix_and_no_other(target: PathTarget) -> None:
    keys = ["a/b/1", "a/b/2", "a/bc/3", "a-b/4"]
    for key in keys:
        target.put(key, key.encode())
    assert sorted(entry.key for entry in target.list("")) == sorted(keys)
    assert [entry.key for entry in target.list("a/b/")] == ["a/b/1", "a/b/2"]
    assert [entry.key for entry in target.list("a/b")] == ["a/b/1", "a/b/2", "a/bc/3"]
    assert list(target.list("nothing/here/")) == []
    entry = next(target.list("a/b/1"))
    assert entry.size == 5 and abs(entry.modified - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_unfinished_file_is_listed_as_such_and_can_be_swept(target: PathTarget, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / f"a/b.0123abcd{PARTIAL}").write_bytes(b"half")
    assert [entry.key for entry in target.list("a/")] == [f"a/b.0123abcd{PARTIAL}"]
    target.delete(f"a/b.0123abcd{PARTIAL}")
    assert list(tmp_path.iterdir()) == []


def test_empty_folders_go_with_their_last_object_and_the_root_stays(target: PathTarget, tmp_path: Path) -> None:
    target.put("a/b/c", b"")
    target.put("a/d", b"")
    target.delete("a/b/c")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["d"]
    target.delete("a/d")
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("others", [["/"], ["/mnt/drive1"], ["/mnt/drive2", "/mnt/drive1"]])
def test_a_folder_on_the_disk_that_it_saves_is_never_written(tmp_path: Path, others: list[str]) -> None:
    devices = {str(tmp_path): 1, "/": 2, **dict.fromkeys(others, 1)}
    target = PathTarget("drive", str(tmp_path), others, device=lambda path: devices.get(path, 3))
    (tmp_path / "there").write_bytes(b"x")
    for call in (lambda: target.put("a", b""), target.probe, target.check_rules):
        with pytest.raises(Failed, match="would die with what it saves") as caught:
            call()
        assert caught.value.code == REFUSED and "findmnt" in caught.value.hint
    # A restore from it is allowed.
    assert target.get("there") == b"x"


def test_the_real_device_is_asked(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="would die"):
        PathTarget("drive", str(tmp_path), [str(tmp_path.parent)]).put("a", b"")
    with pytest.raises(Failed, match="which disk"):
        PathTarget("drive", "/dev/shm", [str(tmp_path / "nothing")]).put("a", b"")


def test_a_drive_that_is_not_there_is_no_empty_target(tmp_path: Path) -> None:
    target = PathTarget("drive", str(tmp_path / "gone"), device=lambda path: hash(path))
    for call in (lambda: list(target.list("")), lambda: target.stat("a"), lambda: target.put("a", b""), target.probe):
        with pytest.raises(Failed, match="gone is not there"):
            call()


def test_an_empty_mount_point_is_no_empty_target(tmp_path: Path) -> None:
    unmounted = PathTarget("usb", str(tmp_path), device=lambda path: 1)
    with pytest.raises(Failed, match="is empty, and not mounted") as caught:
        list(unmounted.list(""))
    assert caught.value.hint == f"mount it: findmnt {tmp_path}"
    (tmp_path / "copied").write_bytes(b"by hand, after the machine was lost")
    assert [entry.key for entry in unmounted.list("")] == ["copied"]


def test_what_is_too_large_is_neither_written_nor_read(target: PathTarget, tmp_path: Path) -> None:
    with pytest.raises(Failed, match="too large"):
        target.put("a", bytes(LARGEST + 1))
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Failed, match="too large"):
        target.get("huge")


def test_a_full_disk_is_said_and_leaves_nothing(
    target: PathTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Full, match="drive: it has no room left") as caught:
        target.put("a", bytes(3 << 20))
    assert re.fullmatch(rf"3\.0 MiB were to be written, .* are free in {tmp_path}", caught.value.why)
    assert f"df -h {tmp_path}" in caught.value.hint
    assert list(target.list("")) == []


def test_a_quota_that_is_reached_is_no_full_disk(target: PathTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def over(handle: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", over)
    with pytest.raises(Full, match="it has no room left") as caught:
        target.put("a", b"x")
    assert "are free" not in caught.value.why
    assert "a larger quota" in caught.value.hint


def answers(code: str, status: int, message: str = "") -> Any:
    """An S3 client whose bucket refuses each object."""
    error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}

    def put_object(**_: Any) -> None:
        raise ClientError(error, "PutObject")  # type: ignore[arg-type]

    return SimpleNamespace(put_object=put_object)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> S3Target:
    """A bucket with one node that accepts connections; waits end at once."""
    monkeypatch.setattr(base.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(s3, "opens", lambda endpoint: True)
    monkeypatch.setattr(s3, "lacking", lambda endpoints, ca_file, what="": "")
    made = make(S3)
    assert isinstance(made, S3Target)
    return made


def test_a_body_is_sent_in_large_pieces_and_whole() -> None:
    data = os.urandom((2 << 20) + 5)
    body = s3.Body(data)
    assert len(body.read(16 << 10)) == 1 << 20
    body.seek(0)
    assert b"".join(iter(lambda: body.read(16 << 10), b"")) == data
    body.seek(0)
    assert body.read() == data


@pytest.mark.parametrize(
    ("code", "status"),
    [("XMinioStorageFull", 507), ("XMinioAdminBucketQuotaExceeded", 400), ("QuotaExceeded", 403), ("Whatever", 507)],
)
def test_a_bucket_that_is_full_is_named_with_what_was_to_be_written(
    bucket: S3Target, monkeypatch, code, status
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(bucket, "_client", lambda endpoint: calls.append(endpoint) or answers(code, status, "no more"))
    with pytest.raises(Full, match="away: it has no room left") as caught:
        bucket.put("a", bytes(5 << 20))
    assert caught.value.why == f"5.0 MiB were to be written to the bucket backups; {code}: no more"
    assert "a larger quota, for backups" in caught.value.hint
    assert len(calls) == 1 or status == 507  # a retry makes no room


def four_nodes(monkeypatch: pytest.MonkeyPatch, opens: Any) -> Any:
    monkeypatch.setattr(s3, "opens", opens)
    return make({**S3, "endpoints": [f"http://node{number}" for number in range(4)]})


def test_of_dead_nodes_all_cost_one_knock(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, live = threading.Barrier(4, timeout=10), {"http://node3"}

    def opens(endpoint: str) -> bool:
        begun.wait()  # fails unless all are asked at once
        return endpoint in live

    made = four_nodes(monkeypatch, opens)
    assert made._endpoint() == "http://node3"
    live.clear()
    monkeypatch.setattr(s3, "AGAIN", 0.0)
    made._patience = 0.0
    made._distrust("http://node3")  # then it starts again with node0
    with pytest.raises(s3.NobodyHome, match="http://node0 or "):
        made._endpoint()


def test_a_node_that_opens_is_not_kept_waiting_by_one_that_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()
    made = four_nodes(monkeypatch, lambda endpoint: endpoint == "http://node0" or silent.wait(10))
    begun = time.monotonic()
    assert made._endpoint() == "http://node0"
    assert time.monotonic() - begun < 5
    silent.set()


@pytest.mark.parametrize(("before", "least", "most"), [(False, 8, 15), (True, 30, 36)])
def test_doors_that_are_all_shut_are_knocked_at_again_for_a_while_and_longer_when_they_were_open(
    monkeypatch: pytest.MonkeyPatch, before: bool, least: int, most: int
) -> None:
    now, shut = [0.0], [not before]
    monkeypatch.setattr(s3.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(s3.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def opens(endpoint: str) -> bool:
        if shut[0] and endpoint == "http://node0":
            now[0] += s3.KNOCK  # dead nodes do not refuse connections, they are silent
        return not shut[0]

    made = four_nodes(monkeypatch, opens)
    if before:
        made._distrust(made._endpoint())
        made._distrust("http://node1")
        shut[0] = True
    with pytest.raises(Failed, match="nobody answers at http://node") as caught:
        made.get("a")
    assert least <= now[0] <= most
    assert caught.value.hint == "inv status names what is down; start it"


def test_nodes_that_are_starting_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(s3.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(s3.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    made = four_nodes(monkeypatch, lambda endpoint: now[0] > 5)
    assert made._endpoint() == "http://node0"


def test_who_waited_while_another_found_nobody_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    knocks: list[str] = []

    def opens(endpoint: str) -> bool:
        knocks.append(endpoint)
        time.sleep(0.5)
        return False

    made = four_nodes(monkeypatch, opens)
    made._patience = 0.0
    together = threading.Barrier(3)

    def ask() -> None:
        together.wait()
        with pytest.raises(s3.NobodyHome):
            made._endpoint()

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(knocks) == 4


def test_a_cluster_that_lacks_drives_says_so_instead_of_speaking_of_rates(bucket: S3Target, monkeypatch) -> None:
    monkeypatch.setattr(s3, "lacking", lambda endpoints, ca_file, what="writing": f"{what} needs 3 drives")
    monkeypatch.setattr(s3, "opens", lambda endpoint: False)
    with pytest.raises(Failed, match="away: it cannot be written") as caught:
        bucket.probe()
    assert caught.value.why == "1 of its 1 nodes do not answer: http://127.0.0.1:1; writing needs 3 drives"
    assert "inv status" in caught.value.hint
    monkeypatch.setattr(s3, "opens", lambda endpoint: True)
    monkeypatch.setattr(bucket, "_client", lambda endpoint: answers("SlowDown", 503, "reduce your request rate"))
    with pytest.raises(Failed, match="away: it cannot be written") as caught:
        bucket.put("a", b"x")
    assert "writing needs 3 drives; a cannot be written" in caught.value.why


@pytest.mark.parametrize(
    ("what", "status", "headers", "lacks"),
    [
        (s3_health.WRITING, 503, {WRITE: "3"}, "writing needs 3 drives of each set, and fewer answer"),
        (s3_health.READING, 503, {READ: "2"}, "reading needs 2 drives of each set, and fewer answer"),
        (s3_health.WRITING, 200, {WRITE: "3"}, ""),
        (s3_health.READING, 503, {}, ""),
    ],
)
def test_only_a_minio_that_counts_its_drives_is_believed(
    what: str, status: int, headers: dict[str, str], lacks: str
) -> None:
    pool = SimpleNamespace(request=lambda *_, **__: SimpleNamespace(status=status, headers=headers))
    assert s3_health.lacking(["http://a"], None, pool, what) == lacks


def test_a_cluster_that_cannot_be_read_is_not_asked_for_minutes(bucket: S3Target, monkeypatch) -> None:
    asked, waits = list[str](), list[float]()
    monkeypatch.setattr(base.time, "sleep", waits.append)
    monkeypatch.setattr(bucket, "_client", lambda endpoint: asked.append(endpoint))
    monkeypatch.setattr(s3, "lacking", lambda endpoints, ca_file, what: f"{what} needs 2 drives")
    for _ in range(2):
        with pytest.raises(Failed, match="away: it cannot be read") as caught:
            list(bucket.list("lab/sets/"))
    assert caught.value.why == "reading needs 2 drives; lab/sets/ cannot be listed"
    assert (asked, waits) == ([], [s3.PAUSE])


def test_a_node_that_takes_connections_and_says_nothing_holds_up_no_question():
    others, answer = threading.Event(), SimpleNamespace(status=503, headers={WRITE: "3"})

    class Pool:
        def request(self, method, url, **more):
            if "paused" not in url:
                others.set()
                return answer
            assert others.wait(20), "the others are asked behind the one that is silent"
            return threading.Event().wait()

    reason = s3_health.lacking(["http://paused", "http://b"], None, Pool())
    assert reason == "writing needs 3 drives of each set, and fewer answer"


def test_a_probe_tells_what_a_target_can_and_leaves_nothing(target: PathTarget) -> None:
    assert target.probe() == Probe(conditional=True, deletes=True)
    assert list(target.list("")) == []


def test_a_writer_that_may_not_delete_passes_the_probe(target: PathTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(key: str) -> None:
        raise Failed(FAILED, "access denied")

    monkeypatch.setattr(target, "delete", denied)
    assert target.probe() == Probe(conditional=True, deletes=False)
    assert [entry.key[:7] for entry in target.list("")] == ["canary-"]


def test_a_target_that_gives_other_bytes_back_fails_the_probe(
    target: PathTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "get", lambda key: b"other")
    with pytest.raises(Failed, match="not what is read back") as caught:
        target.probe()
    assert caught.value.code == REFUSED
    assert list(target.list("")) == []


def test_what_takes_long_to_fail_is_not_tried_again_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(base.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(base.time, "monotonic", lambda: now[0])
    calls = []

    def act() -> None:
        calls.append(now[0])
        now[0] += 28
        raise TimeoutError("slow")

    with pytest.raises(TimeoutError, match="slow"):
        with_patience(act, lambda error: True)
    assert len(calls) == 3


def test_bad_luck_is_tried_again_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(base.time, "sleep", slept.append)
    luck: list[Exception | None] = [OSError("once"), OSError("twice"), None]

    def act() -> str:
        if error := luck.pop(0):
            raise error
        return "done"

    assert with_patience(act, lambda error: True) == "done"
    assert slept == [0.5, 1.0]
    luck = [OSError("again")] * 9
    with pytest.raises(OSError, match="again"):
        with_patience(act, lambda error: True)
    assert len(luck) == 4
    luck = [ValueError("no luck needed")]
    with pytest.raises(ValueError, match="no luck"):
        with_patience(act, lambda error: isinstance(error, OSError))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({**S3, "kind": "ftp"}, "there is no kind 'ftp'"),
        ({key: value for key, value in S3.items() if key != "bucket"}, "bucket is missing"),
        ({**S3, "buckets": "x"}, "buckets is unknown"),
        ({"kind": "path", "name": "x", "path": "/x", "device": 1}, "device is unknown"),
        ({**S3, "prefix": "../x"}, "cannot be the name"),
        (
            {
                "kind": "sftp",
                "name": "x",
                "host": "h",
                "port": 22,
                "user": "u",
                "key": SECRET,
                "host_key": "",
                "path": "",
            },
            "private key cannot be read",
        ),
    ],
)
def test_a_wrong_configuration_is_told_by_its_name_and_no_secret(config: dict[str, Any], why: str) -> None:
    with pytest.raises(Failed) as caught:
        make(config)
    assert why in str(caught.value) and caught.value.code == USAGE
    assert SECRET not in str(caught.value) and SECRET not in repr(caught.value)


def test_a_target_is_made_of_its_configuration_and_shows_no_secret(tmp_path: Path) -> None:
    made = make(S3)
    assert isinstance(made, S3Target) and made.name == "away"
    assert "SENTINEL" not in repr(made)
    assert isinstance(make({"kind": "path", "name": "x", "path": str(tmp_path), "not_on": ["/mnt"]}), PathTarget)


def test_a_dead_bucket_is_one_error_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "FIRST", 0.0)
    with pytest.raises(Failed, match="away: a cannot be written") as caught:
        make(S3).put("a", b"x")
    assert "SENTINEL" not in str(caught.value) and "127.0.0.1:1" in caught.value.why
    assert caught.value.__cause__ is None


RULE = {"ID": "r", "Status": "Enabled", "Expiration": {"Days": 30}}


@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        ({**RULE}, True),
        ({**RULE, "Prefix": "prod/"}, True),
        ({**RULE, "Filter": {"Prefix": "pr"}}, True),
        ({**RULE, "Filter": {"Prefix": "prod/lab/sets/"}}, True),
        ({**RULE, "Filter": {"And": {"Prefix": "prod/", "ObjectSizeGreaterThan": 1}}}, True),
        ({**RULE, "Expiration": {"Date": datetime(2030, 1, 1, tzinfo=UTC)}}, True),
        ({**RULE, "Filter": {"Prefix": "production/"}}, False),
        ({**RULE, "Filter": {"Prefix": "logs/"}}, False),
        ({**RULE, "Filter": {"Tag": {"Key": "a", "Value": "b"}}}, False),
        ({**RULE, "Filter": {"And": {"Prefix": "prod/", "Tags": [{"Key": "a", "Value": "b"}]}}}, False),
        ({**RULE, "Status": "Disabled"}, False),
        ({**RULE, "Expiration": {"ExpiredObjectDeleteMarker": True}}, False),
        ({"ID": "r", "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 30}}, False),
        ({"ID": "r", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}, False),
    ],
)
def test_only_a_rule_that_deletes_our_objects_is_a_danger(rule: dict[str, Any], refused: bool) -> None:
    assert bool(list(expiries(rule, "prod/"))) == refused


def test_rules_that_cannot_be_read_are_not_taken_for_none() -> None:
    def denied(what: str, act: Any) -> Any:
        raise Failed(FAILED, what, why="AccessDenied: Access Denied.")

    with pytest.raises(Failed, match="lifecycle rules cannot be read") as caught:
        dangers(denied, "backups", "prod/")
    assert caught.value.code == REFUSED and "s3:GetLifecycleConfiguration" in caught.value.hint

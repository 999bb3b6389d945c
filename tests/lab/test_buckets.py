"""Buckets in sets: a restore brings back equal versions; a failed restore leaves the listing unchanged."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider

from converge.shell import quote
from tests.lab.backup_host import (
    CONFIG,
    ODD,
    begin,
    configured,
    journal,
    killed,
    left,
    look,
    mlflow_client,
    newest,
    over,
    paused,
    ran,
    sql,
    tunnel,
    turn,
)
from tests.lab.conftest import Clone
from tests.unit.test_restore_by_hand import Rescue
from worker.buckets import accounts, inserting, listing, quiet, settings
from worker.buckets.client import Client, path

ENABLED = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
LIFECYCLE = (
    "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>"
    "<NoncurrentVersionExpiration><NoncurrentDays>3650</NoncurrentDays></NoncurrentVersionExpiration>"
    "</Rule></LifecycleConfiguration>"
)
QUOTA = '{"quota":99999999999,"size":99999999999,"quotatype":"hard"}'
KEYS = [
    *("plain.txt", "a b+c%20~!*'().txt", "ü/日本", "new\nline", 'tab\tq&<>"', "emoji😀", "-dash", ".hidden", "a/b/c"),
    *("%2e%2e/x", "x" * 250 + "/" + "y" * 200),
]
METADATA = {
    "content-type": "text/x; charset=utf-8",
    "cache-control": "no-cache",
    "content-encoding": "gzip",
    "content-disposition": 'attachment; filename="x"',
    "content-language": "de",
    "expires": "Wed, 21 Oct 2026 07:28:00 GMT",
    "x-amz-meta-foo": "b a r",
    "x-amz-meta-uni": "grüß",
    "x-amz-tagging": "a=b%2Bc%3D&k2=",
}
LARGE = random.Random(1).randbytes(66 << 20)
POLICY = "of-the-set"
FAILED, REFUSED, INCOMPLETE, PARTLY = 41, 40, 23, 43
REFUSED_HERE = 3
"""The exit code of `inv` when the worker refuses."""


class Odd:
    """A bucket with every kind of object, one without versions, and one with locks."""

    def __init__(self, there: Clone, minio: Client) -> None:
        self.there, self.minio, self.set = there, minio, ""

    def put(self, bucket: str, key: str, body: bytes, **headers: str) -> None:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.minio.ask("PUT", path(bucket, key), headers=given, body=body)

    def made(self) -> None:
        for bucket in ("odd", "flat"):
            self.minio.ask("PUT", path(bucket))
        self.put("odd", "was/null", b"before there were versions")
        quiet.set_part(self.minio, "odd", "versioning", ENABLED)
        self.put("odd", "was/null", b"a version")
        self.put("odd", "dir/", b"")
        for key in KEYS:
            self.put("odd", key, key.encode())
            self.put("odd", key, b"then " + key.encode())
        self.put("odd", "empty", b"")
        self.minio.ask("PUT", path("odd", "meta"), headers=METADATA, body=b"meta")
        self.put("odd", "sealed", b"by the server", x_amz_server_side_encryption="AES256")
        self.put("odd", "gone", b"was here")
        self.minio.ask("DELETE", path("odd", "gone"))
        self.put("odd", "large", LARGE[: 3 << 20])
        for micro in ("123456", "123457", "123999"):
            body = micro.encode()
            etag = hashlib.md5(body).hexdigest()
            version = inserting.Incoming("one-ms", str(uuid.uuid4()), f"2025-05-05T05:05:05.{micro}Z", etag, len(body))
            inserting.put(self.minio, "odd", version, [body])
        many = inserting.Incoming("multi", "", "2025-05-05T05:05:05.5Z", "ab" * 16 + "-2", len(LARGE), ())
        inserting.put(self.minio, "odd", many, [LARGE[: 60 << 20], LARGE[60 << 20 :]])
        for number in range(20):
            self.put("flat", f"runs/{number % 2}/{number}", str(number).encode() * number)
        self.minio.ask("PUT", path("locked"), headers={"x-amz-bucket-object-lock-enabled": "true"})
        self.put("locked", "held", b"held", x_amz_object_lock_legal_hold="ON")
        until = {"x_amz_object_lock_mode": "GOVERNANCE", "x_amz_object_lock_retain_until_date": "2031-01-01T00:00:00Z"}
        self.put("locked", "kept", b"kept", **until)
        allowed = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::flat/*"]}
        body = json.dumps({"Version": "2012-10-17", "Statement": [allowed]}).encode()
        self.minio.ask("PUT", "/minio/admin/v3/add-canned-policy", {"name": POLICY}, body=body)

    def harmed(self) -> None:
        """Changes to buckets after a backup, and rules that would act on restored versions."""
        self.put("odd", "plain.txt", b"newer")
        self.put("odd", "gone", b"here again")
        self.put("odd", "born", b"born later")
        self.minio.ask("DELETE", path("odd", "large"))
        for key in ("multi", "new\nline", "one-ms"):
            for changed in listing.of_key(self.minio, "odd", key)[-2:]:
                inserting.delete(self.minio, "odd", key, changed.id)
        for version in listing.versions(self.minio, "locked"):
            inserting.let_go(self.minio, "locked", version.key, version.id)
            inserting.delete(self.minio, "locked", version.key, version.id)
        quiet.set_part(self.minio, "odd", "lifecycle", LIFECYCLE)
        quiet.set_part(self.minio, "odd", settings.QUOTA, QUOTA)

    def listed(self, bucket: str) -> list[Any]:
        """The state of a bucket: versions with metadata, tags and locks, and the configuration."""
        return [*listing.versions(self.minio, bucket), settings.read(self.minio, bucket)]

    def there_are(self) -> list[str]:
        return listing.names(self.minio)

    def body(self, bucket: str, key: str) -> bytes:
        return self.minio.ask("GET", path(bucket, key)).body


@pytest.fixture(scope="module")
def odd(kept: Clone) -> Iterator[Odd]:
    with connected(kept) as minio:
        made = Odd(kept, minio)
        made.made()
        sql(kept, ALL_ROWS, ODD)
        kept.inv("backup")
        made.set = newest(kept)
        yield made


@contextmanager
def connected(there: Clone) -> Iterator[Client]:
    with tunnel(there, "172.30.99.12:9000") as port:
        yield Client([f"http://127.0.0.1:{port}"], there.secret("root_user"), there.secret("root_password"))


def test_a_second_set_reads_no_object_that_the_first_one_has(odd: Odd) -> None:
    run = begin(odd.there, do="backup", only=["buckets"])
    assert over(odd.there, run)["code"] == 0
    texts = [
        event["text"]
        for event in journal(odd.there, run)
        if event["event"] == "say" and "versions" in event.get("text", "")
    ]
    assert any(text.startswith("odd: ") for text in texts)
    assert all("; 0 were new" in text for text in texts)


@pytest.mark.parametrize("bucket", ["odd", "locked"])
def test_a_bucket_beside_is_the_set_version_by_version_and_an_undo_takes_it_away(odd: Odd, bucket: str) -> None:
    before = odd.listed(bucket)
    odd.there.inv("restore", odd.set, "--bucket", bucket, "--as", "beside", "--yes")
    assert odd.listed("beside")[:-1] == before[:-1]
    if bucket == "odd":
        assert odd.body("beside", "multi") == LARGE
        assert odd.minio.ask("GET", path("beside", "meta")).headers["expires"] == METADATA["expires"]
    odd.there.inv("restore.undo", "--yes")
    assert "beside" not in odd.there_are()


def test_what_was_lost_comes_back_beneath_and_an_undo_leaves_the_listing_as_before(odd: Odd) -> None:
    saved = {(version.key, version.id) for version in listing.versions(odd.minio, "odd")}
    odd.harmed()
    before = odd.listed("odd")
    screen = odd.there.inv("restore", odd.set, "--bucket", "odd", "--exact", "--yes")
    assert "off meanwhile: lifecycle, quota" in screen
    after = odd.listed("odd")
    assert saved <= {(version.key, version.id) for version in after[:-1]}
    assert [
        version
        for version in before[:-1]
        if (version.key, version.id) not in {(version.key, version.id) for version in after[:-1]}
    ] == []
    assert after[-1] == before[-1]
    assert (odd.body("odd", "plain.txt"), odd.body("odd", "multi")) == (b"then plain.txt", LARGE)
    markers = {version.key for version in after[:-1] if version.latest and version.marker}
    assert markers == {"gone", "born"}
    odd.there.inv("restore.undo", "--yes")
    assert odd.listed("odd") == before


@pytest.mark.parametrize("step", turn(["current", "lock"]))
def test_a_restore_that_is_killed_leaves_the_listing_as_before_once_it_is_settled(odd: Odd, step: str) -> None:
    before = odd.listed("odd")
    run = begin(odd.there, do="restore", set=odd.set, buckets=["odd"], exact=True, pause=step)
    paused(odd.there, run)
    killed(odd.there, run)
    odd.there.inv("backup.settle")
    assert odd.listed("odd") == before


def test_a_content_that_is_damaged_is_found_by_a_check_and_ends_a_restore_which_leaves_all_as_it_was(odd: Odd) -> None:
    before, sets = odd.listed("odd"), "backups-postgresql"
    blobs = [version for version in listing.versions(odd.minio, sets, "lab/blobs/") if version.size < 4 << 20]
    bodies = {blob.key: odd.body(sets, blob.key) for blob in blobs}
    for key, body in bodies.items():
        odd.minio.ask("PUT", path(sets, key), body=body[:-1] + bytes([body[-1] ^ 1]))
    try:
        assert ran(odd.there, do="verify", set=odd.set, source="own")["code"] == 30
        failed = ran(odd.there, do="restore", set=odd.set, buckets=["odd"], source="own")
        assert (failed["code"], "is damaged" in failed["what"]) == (FAILED, True)
        assert odd.listed("odd") == before
        assert ran(odd.there, do="restore", set=odd.set, buckets=["flat"], new_name="beside", source="far")["code"] == 0
    finally:
        for key, body in bodies.items():
            odd.minio.ask("PUT", path(sets, key), body=body)
    assert ran(odd.there, do="verify", set=odd.set, source="own")["code"] == 0
    assert ran(odd.there, do="undo")["code"] == 0


def test_without_versions_what_is_replaced_is_kept_and_comes_back(odd: Odd) -> None:
    odd.put("flat", "runs/1/3", b"changed", x_amz_tagging="t=1", x_amz_meta_a="b")
    odd.put("flat", "runs/1/born", b"born later")
    odd.put("flat", "runs/0/2", b"of another prefix")
    odd.minio.ask("DELETE", path("flat", "runs/1/5"))
    before = odd.listed("flat")
    odd.there.inv("restore", odd.set, "--bucket", "flat", "--prefix", "runs/1/", "--exact", "--yes")
    assert (odd.body("flat", "runs/1/3"), odd.body("flat", "runs/0/2")) == (b"333", b"of another prefix")
    keys = {version.key for version in odd.listed("flat")[:-1]}
    assert "runs/1/5" in keys and "runs/1/born" not in keys
    odd.there.inv("restore.undo", "--yes")
    assert odd.listed("flat") == before
    assert not [bucket for bucket in odd.there_are() if bucket.startswith("stowage-kept-")]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"buckets": ["od"]}, "the set has no bucket od"),
        ({"buckets": ["odd"], "prefix": "nothing/"}, "nothing in odd matches"),
        ({"buckets": ["odd", "flat"], "prefix": "a"}, "--as, --prefix and --key are for one bucket"),
        ({"buckets": ["odd"], "stack": "other"}, "no target has the set"),
        ({"buckets": ["odd"], "at": "2020-01-01T00:00:00.000Z"}, "nothing in odd matches --at 2020"),
        ({"buckets": ["locked"], "new_name": "flat"}, "made without object lock"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_touched(odd: Odd, asked: dict[str, Any], why: str) -> None:
    before = [odd.listed(bucket) for bucket in ("odd", "flat")]
    assert why in json.dumps(look(odd.there, ask="plan", set=odd.set, **asked))
    assert ran(odd.there, do="restore", set=odd.set, **asked)["code"] == REFUSED
    assert [odd.listed(bucket) for bucket in ("odd", "flat")] == before


ROWS = "SELECT count(*) FROM \"Käfer 'x'\""
# The backup tests before, on the same host, have deleted some.
ALL_ROWS = """INSERT INTO "Käfer 'x'" (id, said) SELECT n, 'größer \\ ' || n FROM generate_series(1, 2000) n
WHERE n NOT IN (SELECT id FROM "Käfer 'x'")"""


def rows(there: Clone) -> str:
    return sql(there, ROWS, ODD)


@pytest.fixture
def behind(odd: Odd) -> Iterator[dict[str, list[Any]]]:
    """Deletes rows, objects, a database and two buckets; gives the remaining state by bucket."""
    odd.harmed()
    odd.put("flat", "runs/1/3", b"changed")
    accounts.remove(odd.minio, {accounts.POLICIES: [POLICY]})
    sql(odd.there, """DELETE FROM "Käfer 'x'" WHERE id % 2 = 0""", ODD)
    assert rows(odd.there) == "1000"
    yield {bucket: odd.listed(bucket) for bucket in odd.there_are() if not bucket.startswith("backups-")}
    if rows(odd.there) != "2000":
        assert ran(odd.there, do="restore", set=odd.set, databases=[ODD])["code"] == 0
    odd.there.inv("restore.cleanup", "--yes")


def same_as(odd: Odd, before: dict[str, list[Any]]) -> bool:
    return {bucket: odd.listed(bucket) for bucket in odd.there_are() if not bucket.startswith("backups-")} == before


def test_a_whole_set_brings_back_databases_and_buckets_together_and_an_undo_takes_both(
    odd: Odd, behind: dict[str, list[Any]]
) -> None:
    screen = odd.there.inv("restore", odd.set, "--yes")
    assert "  ~ odd  " in screen and "  ~ flat  " in screen and "  ~ locked  2 versions" in screen
    assert (rows(odd.there), odd.body("odd", "plain.txt"), odd.body("odd", "multi")) == (
        "2000",
        b"then plain.txt",
        LARGE,
    )
    assert odd.body("flat", "runs/1/3") == b"333"
    screen = odd.there.inv("restore.undo", "--yes")
    assert "~ the bucket odd loses each version" in screen and "is again what is kept as" in screen
    assert rows(odd.there) == "1000" and same_as(odd, behind)


def same_accounts(odd: Odd) -> bool:
    return POLICY not in accounts.exported(odd.minio)[accounts.POLICIES]


PLACES = [
    *("insert", "insert+5", "load", "swap", "current", "current+3"),
    *("lock", "lock+2", "accounts", "accounts+1", "start", "current+9"),
]
"""Kills before a step, or within it, after the first pieces of its work."""


@pytest.mark.parametrize("place", turn(PLACES))
def test_a_whole_restore_that_is_killed_is_none_or_is_whole(odd: Odd, behind: dict[str, list[Any]], place: str) -> None:
    run = begin(odd.there, do="restore", set=odd.set, more=["iam"], pause=place)
    paused(odd.there, run)
    killed(odd.there, run)
    odd.there.inv("backup.settle")
    if place == "start":
        assert not same_accounts(odd)
        assert (rows(odd.there), odd.body("odd", "plain.txt")) == ("2000", b"then plain.txt")
        assert ran(odd.there, do="undo")["code"] == 0
    assert rows(odd.there) == "1000" and same_as(odd, behind) and same_accounts(odd)
    assert left(odd.there) == ""


@pytest.mark.parametrize("place", turn(["undo", "undo+7"]))
def test_an_undo_that_is_killed_is_brought_to_its_end_or_was_not_begun(
    odd: Odd, behind: dict[str, list[Any]], place: str
) -> None:
    assert ran(odd.there, do="restore", set=odd.set, more=["iam"])["code"] == 0
    run = begin(odd.there, do="undo", pause=place)
    paused(odd.there, run)
    killed(odd.there, run)
    odd.there.inv("backup.settle")
    if place == "undo":
        assert (rows(odd.there), odd.body("odd", "plain.txt")) == ("2000", b"then plain.txt")
        assert ran(odd.there, do="undo")["code"] == 0
    assert rows(odd.there) == "1000" and same_as(odd, behind) and same_accounts(odd)
    assert left(odd.there) == ""


def test_a_bucket_that_is_damaged_costs_a_whole_restore_only_itself(odd: Odd, behind: dict[str, list[Any]]) -> None:
    sets = "backups-postgresql"
    large = [version for version in listing.versions(odd.minio, sets, "lab/blobs/") if version.size >= 4 << 20]
    bodies = {version.key: odd.body(sets, version.key) for version in large}
    for key, body in bodies.items():
        odd.minio.ask("PUT", path(sets, key), body=body[:-1] + bytes([body[-1] ^ 1]))
    try:
        end = ran(odd.there, do="restore", set=odd.set, source="own")
    finally:
        for key, body in bodies.items():
            odd.minio.ask("PUT", path(sets, key), body=body)
    assert (end["code"], end["what"]) == (PARTLY, "all came back but the bucket odd")
    assert "is damaged" in end["why"] and f"inv restore {odd.set} --bucket odd" in end["hint"]
    assert (rows(odd.there), odd.body("flat", "runs/1/3")) == ("2000", b"333")
    assert odd.listed("odd") == behind["odd"]
    assert ran(odd.there, do="undo")["code"] == 0
    assert rows(odd.there) == "1000" and same_as(odd, behind)


def test_a_bucket_that_cannot_be_put_back_is_named_in_the_plan_of_a_whole_set_and_stays_as_it_is(
    odd: Odd, behind: dict[str, list[Any]]
) -> None:
    for version in listing.versions(odd.minio, "locked"):
        inserting.let_go(odd.minio, "locked", version.key, version.id)
        inserting.delete(odd.minio, "locked", version.key, version.id)
    odd.minio.ask("DELETE", path("locked"))
    odd.minio.ask("PUT", path("locked"))
    before = odd.listed("locked")
    screen = odd.there.inv("restore", odd.set, "--yes", code=PARTLY)
    assert "! locked  STAYS AS IT IS: the bucket locked was made without object lock" in screen
    assert (rows(odd.there), odd.body("flat", "runs/1/3")) == ("2000", b"333")
    assert odd.listed("locked") == before
    assert ran(odd.there, do="undo")["code"] == 0
    odd.minio.ask("DELETE", path("locked"))
    assert ran(odd.there, do="restore", set=odd.set, buckets=["locked"])["code"] == 0
    assert {row.key: row.lock.get("hold", "") for row in odd.listed("locked")[:-1]} == {"held": "ON", "kept": ""}


def test_what_a_stack_has_no_server_for_is_named_and_all_else_comes_back(
    odd: Odd, behind: dict[str, list[Any]]
) -> None:
    with configured(odd.there, "del d['postgres']; d['components'].remove('postgres')"):
        screen = odd.there.inv("restore", odd.set, "--yes", code=PARTLY)
        assert "stay away: this stack has no PostgreSQL" in screen and "mlflow" in screen
        assert (rows(odd.there), odd.body("flat", "runs/1/3")) == ("1000", b"333")
        assert ran(odd.there, do="undo")["code"] == 0
    assert same_as(odd, behind)
    with configured(odd.there, "del d['buckets']; d['components'].remove('buckets')"):
        screen = odd.there.inv("restore", odd.set, "--yes", code=PARTLY)
        assert "stay away: this stack has no MinIO" in screen
    assert rows(odd.there) == "2000" and same_as(odd, behind)
    assert ran(odd.there, do="undo")["code"] == 0


def test_every_run_of_mlflow_that_is_in_a_set_has_its_artifact_there(odd: Odd) -> None:
    odd.minio.ask("PUT", path("artifacts"))
    with mlflow_client(odd.there, "beside a backup", bucket="artifacts") as client:
        assert client.stdout
        before = {client.stdout.readline().strip() for _ in range(3)}
        made = begin(odd.there, do="backup", only=["postgres", "buckets"])
        assert over(odd.there, made)["code"] == 0
        later, _ = client.communicate(timeout=120)
    assert later.split(), "it went on while the backup ran"
    for version in listing.versions(odd.minio, "artifacts"):
        inserting.delete(odd.minio, "artifacts", version.key, version.id)
    odd.minio.ask("DELETE", path("artifacts"))
    assert ran(odd.there, do="restore", set=made)["code"] == 0
    tags = sql(odd.there, "SELECT run_uuid, value FROM tags WHERE key = 'sha256'", "mlflow").splitlines()
    runs = dict(line.split("|") for line in tags)
    assert before <= runs.keys()
    artifacts = {run: odd.body("artifacts", f"{run}/artifacts/model/out.bin") for run in runs}
    assert {run: hashlib.sha256(body).hexdigest() for run, body in artifacts.items()} == runs
    assert ran(odd.there, do="undo")["code"] == 0
    odd.there.inv("restore.cleanup", "--yes")


def saved_now(odd: Odd) -> str:
    run = begin(odd.there, do="backup", only=["buckets"])
    assert over(odd.there, run)["code"] == 0
    return run


def without_ids(odd: Odd, bucket: str) -> list[Any]:
    """The state of a bucket without ids and dates: the contents in their order."""
    contents = []
    for version in listing.versions(odd.minio, bucket):
        content = (
            hashlib.sha256(odd.minio.ask("GET", path(bucket, version.key), {"versionId": version.id}).body).hexdigest()
            if not version.marker
            else ""
        )
        contents.append(
            (version.key, content, version.latest, version.marker, version.metadata, version.tags, version.lock)
        )
    return contents


def test_where_ids_cannot_be_given_the_versions_come_in_their_order_and_an_undo_takes_them_away(odd: Odd) -> None:
    made = saved_now(odd)
    before = without_ids(odd, "odd")
    screen = odd.there.inv("restore", made, "--bucket", "odd", "--as", "beside", "--new-ids", "--yes")
    assert "above what is there, with new ids and dates" in screen
    assert without_ids(odd, "beside") == before
    odd.there.inv("restore.undo", "--yes")
    assert "beside" not in odd.there_are()
    odd.harmed()
    odd.put("odd", "born since", b"born later")
    harmed = odd.listed("odd")
    run = begin(odd.there, do="restore", set=made, buckets=["odd"], exact=True, new_ids=True, pause="current+3")
    paused(odd.there, run)
    killed(odd.there, run)
    odd.there.inv("backup.settle")
    assert odd.listed("odd") == harmed
    odd.there.inv("restore", made, "--bucket", "odd", "--exact", "--new-ids", "--yes")
    now = {row[0]: row[1:] for row in without_ids(odd, "odd") if row[2]}
    assert now == {row[0]: row[1:] for row in before if row[2]} | {"born since": ("", True, True, {}, "", {})}
    odd.there.inv("restore.undo", "--yes")
    assert odd.listed("odd") == harmed


def test_a_bucket_comes_back_as_it_was_at_a_moment(odd: Odd) -> None:
    odd.put("odd", "timed", b"first")
    odd.put("odd", "timed", b"second")
    (at,) = (version.at for version in listing.of_key(odd.minio, "odd", "timed") if version.latest)
    time.sleep(1)
    odd.put("odd", "timed", b"third")
    odd.put("odd", "born-after", b"")
    run, before = saved_now(odd), odd.listed("odd")
    refused = ["restore", run, "--bucket", "odd", "--at", "2031-01-01", "--yes"]
    assert "the set does not know how buckets were at 2031-01-01" in odd.there.inv(*refused, code=3)
    refused[3] = "flat"
    assert "how flat was at another time is not known" in odd.there.inv(*refused[:5], at, "--yes", code=3)
    odd.there.inv("restore", run, "--bucket", "odd", "--at", at, "--exact", "--yes")
    assert odd.body("odd", "timed") == b"second"
    assert listing.of_key(odd.minio, "odd", "born-after")[0].marker
    odd.there.inv("restore.undo", "--yes")
    assert odd.listed("odd") == before


def test_a_lifecycle_that_would_expire_what_comes_back_is_told_and_waits_for_the_cleanup(odd: Odd) -> None:
    quiet.set_part(odd.minio, "odd", "lifecycle", LIFECYCLE.replace("3650", "30"))
    for version in listing.of_key(odd.minio, "odd", "one-ms"):
        inserting.delete(odd.minio, "odd", "one-ms", version.id)
    arguments = ["restore", odd.set, "--bucket", "odd", "--key", "one-ms"]
    assert "expires 2 of the versions again: --hold-lifecycle" in odd.there.inv(*arguments, code=None)
    odd.there.inv(*arguments, "--hold-lifecycle", "--yes")
    assert "lifecycle" not in settings.read(odd.minio, "odd")
    assert len(listing.of_key(odd.minio, "odd", "one-ms")) == 3
    odd.there.inv("restore.undo", "--yes")
    assert "30</NoncurrentDays>" in settings.read(odd.minio, "odd")["lifecycle"]
    odd.there.inv(*arguments, "--hold-lifecycle", "--yes")
    odd.there.inv("restore.cleanup", "--yes")
    assert "30</NoncurrentDays>" in settings.read(odd.minio, "odd")["lifecycle"]
    quiet.set_part(odd.minio, "odd", "lifecycle", LIFECYCLE)


@contextmanager
def administrator(there: Clone, user: str, password: str) -> Iterator[MinioAdmin]:
    with tunnel(there, "172.30.99.12:9000") as port:
        yield MinioAdmin(endpoint=f"127.0.0.1:{port}", credentials=StaticProvider(user, password), secure=False)


def test_who_may_use_the_buckets_and_their_settings_come_back_where_they_are_absent(odd: Odd) -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::flat/*"]}],
    }
    root = odd.there.secret("root_user"), odd.there.secret("root_password")
    with administrator(odd.there, *root) as admin:
        admin.policy_add("flat-all", policy=policy)
        for name in ("ana", "stays"):
            admin.user_add(name, f"secret-of-{name}")
            admin.policy_set("flat-all", user=name)
        team = json.dumps({"group": "team", "members": ["ana"], "isRemove": False}).encode()
        odd.minio.ask("PUT", "/minio/admin/v3/update-group-members", body=team)
        admin.policy_set("readonly", group="team")
        admin.add_service_account(access_key="roots-own-key", secret_key="secret-of-roots-key")
    with administrator(odd.there, "ana", "secret-of-ana") as admin:
        admin.add_service_account(access_key="ana-trainer", secret_key="secret-of-the-key")
    open_to_all = json.dumps(
        {**policy, "Statement": [{**policy["Statement"][0], "Principal": "*", "Action": ["s3:GetObject"]}]}
    )
    quiet.set_part(odd.minio, "flat", "policy", open_to_all)
    quiet.set_part(odd.minio, "flat", settings.QUOTA, QUOTA)
    run, who = saved_now(odd), accounts.exported(odd.minio)
    as_it_was = odd.listed("flat")
    ours = {"svcaccts": ["ana-trainer", "roots-own-key"], "groups": ["team"], "users": ["ana"]}
    accounts.remove(odd.minio, ours)
    with administrator(odd.there, *root) as admin:
        admin.user_add("stays", "another-secret")
    quiet.set_part(odd.minio, "flat", "policy", "")
    quiet.set_part(odd.minio, "flat", settings.QUOTA, quiet.ACTING_PARTS[settings.QUOTA].meanwhile(""))
    before, harmed = accounts.exported(odd.minio), odd.listed("flat")

    screen = odd.there.inv("restore", run, "--bucket", "flat", "--with", "iam,bucket-config", "--yes")
    assert "keys of services: ana-trainer, roots-own-key" in screen and "users: ana" in screen
    now = accounts.exported(odd.minio)
    assert {kind: sorted(names) for kind, names in now.items()} == {kind: sorted(names) for kind, names in who.items()}
    assert now["users"]["stays"] == before["users"]["stays"]
    assert odd.listed("flat") == as_it_was
    with tunnel(odd.there, "172.30.99.12:9000") as port:
        trainer = Client([f"http://127.0.0.1:{port}"], "ana-trainer", "secret-of-the-key")
        assert trainer.ask("GET", path("flat", "runs/1/3")).body
    odd.there.inv("restore.undo", "--yes")
    assert accounts.plain(accounts.exported(odd.minio)) == accounts.plain(before)
    assert odd.listed("flat") == harmed


def test_a_set_is_made_while_a_node_is_down(odd: Odd) -> None:
    odd.there.on_host("docker stop minio1")
    try:
        assert ran(odd.there, do="backup", only=["buckets"])["code"] == 0
    finally:
        odd.there.on_host("docker start minio1")


MC = """docker exec minio1 sh -c 'MC_CONFIG_DIR=/tmp/mc mc -q alias set lab http://127.0.0.1:9000 \
"$(cat /run/secrets/minio/root_user)" "$(cat /run/secrets/minio/root_password)"'
"""
IN_MC = "docker exec -e MC_CONFIG_DIR=/tmp/mc minio1 mc"


def test_objects_that_no_listing_shows_are_named_until_they_are_brought_to_light(odd: Odd) -> None:
    odd.put("flat", "top", b"above")
    odd.put("flat", "top/below", b"hidden")
    odd.put("flat", "top/deep/below", b"hidden deeper")
    odd.put("odd", "marked/below", b"hidden by a delete marker")
    odd.put("odd", "marked", b"soon deleted")
    odd.minio.ask("DELETE", path("odd", "marked"))
    try:
        keys = {version.key for bucket in ("flat", "odd") for version in listing.versions(odd.minio, bucket)}
        assert "top" in keys and not keys & {"top/below", "top/deep/below", "marked/below"}
        assert odd.body("flat", "top/deep/below") == b"hidden deeper"
        ended = ran(odd.there, do="backup", only=["buckets"])
        assert ended["code"] == INCOMPLETE
        assert "the bucket flat: it is not whole: 2 of its objects are not in the set" in ended["why"]
        for hidden, above in (("top/below", "top"), ("top/deep/below", "top"), ("marked/below", "marked")):
            assert f"{hidden} (it lies beneath the object {above}," in ended["why"]
        made = newest(odd.there)
        assert "not in the last set: the bucket flat: it is not whole: 2" in odd.there.inv("status", code=None)
        shown = odd.there.inv("backup.show", made, "--bucket", "flat", "--prefix", "top/")
        assert shown.count("NOT IN THE SET: it lies beneath the object top") == 2
        assert "top/below" not in json.dumps(look(odd.there, ask="show", set=made)), "the manifest names no object"
        assert "top/below" not in odd.there.inv("backup.diff", made, code=None)
        # The commands of docs/runbook.md, Objects that no listing shows.
        odd.there.on_host(f"""set -e; {MC}
{IN_MC} cp -q lab/flat/top/deep/below lab/flat/top.below
{IN_MC} rm -q lab/flat/top/deep/below
{IN_MC} cp -q lab/flat/top lab/flat/top.object
{IN_MC} rm -q --versions --force lab/flat/top
{IN_MC} rm -q --versions --force lab/odd/marked
docker exec minio1 rm -r /tmp/mc""")
        keys = {version.key for bucket in ("flat", "odd") for version in listing.versions(odd.minio, bucket)}
        assert {"top.below", "top.object", "top/below", "marked/below"} <= keys and not keys & {"top", "marked"}
        assert (odd.body("flat", "top.below"), odd.body("flat", "top.object")) == (b"hidden deeper", b"above")
        assert ran(odd.there, do="backup", only=["buckets"])["code"] == 0
    finally:
        for key in ("top/below", "top/deep/below", "top", "top.object", "top.below"):
            odd.minio.ask("DELETE", path("flat", key))
        for key in ("marked", "marked/below"):
            for version in listing.of_key(odd.minio, "odd", key):
                inserting.delete(odd.minio, "odd", key, version.id)


def held(odd: Odd, set: str, bucket: str) -> list[tuple[str, str]]:
    """The versions that a set has of a bucket, by key and id."""
    return [
        (version["key"], version["id"]) for version in look(odd.there, ask="show", set=set, buckets=[bucket])["objects"]
    ]


def test_a_set_holds_the_buckets_prefixes_and_versions_that_the_inventory_names(odd: Odd) -> None:
    chosen = {"names": ["odd", "flat"], "prefixes": {"flat": ["runs/1/", "runs/1/3", "runs/0/2"]}, "versions": 1}
    odd.there.inv("deploy", "--role", "backup", "--yes", f"--set=backup.buckets={json.dumps(chosen)}")
    try:
        odd.there.inv("backup", "--only", "buckets")
        made = newest(odd.there)
        assert sorted(look(odd.there, ask="show", set=made)["buckets"]) == ["flat", "odd"]
        listed = [version.key for version in listing.versions(odd.minio, "flat")]
        wanted = [key for key in listed if key.startswith(("runs/1/", "runs/0/2"))]
        assert sorted(key for key, _ in held(odd, made, "flat")) == sorted(wanted)
        newest_of = {version.key: version.id for version in listing.versions(odd.minio, "odd") if version.latest}
        assert dict(held(odd, made, "odd")) == newest_of and len(held(odd, made, "odd")) == len(newest_of)
        # An exact restore hides no keys that the set was not meant to have.
        refused = odd.there.inv("restore", made, "--bucket", "flat", "--exact", "--yes", code=REFUSED_HERE)
        assert "only the keys that begin with" in refused
        odd.there.inv("restore", made, "--bucket", "flat", "--prefix", "runs/1/", "--exact", "--yes")
        assert [version.key for version in listing.versions(odd.minio, "flat")] == listed
        odd.there.inv("restore.undo", "--yes")
    finally:
        odd.there.inv("deploy", "--role", "backup", "--yes")


def test_a_bucket_that_is_named_and_not_there_makes_the_set_incomplete(odd: Odd) -> None:
    with configured(odd.there, "d['buckets']['names'] = ['flat', 'flatt']"):
        ended = ran(odd.there, do="backup", only=["buckets"])
    assert (ended["code"], "there is no bucket flatt" in ended["why"]) == (INCOMPLETE, True)
    assert list(look(odd.there, ask="show", set=newest(odd.there))["buckets"]) == ["flat"]


def test_each_component_can_be_had_alone_and_latest_stays_the_newest_that_has_all(odd: Odd) -> None:
    for component, streams in (("buckets", "buckets"), ("config", "files"), ("postgres", "databases")):
        odd.there.inv("backup", "--only", component)
        shown = look(odd.there, ask="show", set=newest(odd.there))
        assert shown["only"] == [component] and shown[streams]
        assert not [other for other in ("buckets", "files", "databases") if other != streams and shown[other]]
    assert look(odd.there, ask="show", set="latest")["id"] == odd.set


def test_an_object_that_is_damaged_on_too_many_drives_is_named_and_all_others_are_in_the_set(odd: Odd) -> None:
    body = random.Random(2).randbytes(400_000)
    for key in ("harmed", "whole"):
        odd.put("flat", key, body)
    odd.there.on_host("""set -e
for drive in 1 2 3; do for part in /mnt/drive$drive/*/flat/harmed/*/part.1; do truncate -s 100 "$part"; done; done""")
    try:
        ended = ran(odd.there, do="backup", only=["buckets"])
        assert ended["code"] == INCOMPLETE and "harmed" in ended["why"] and "1 of its objects" in ended["why"]
        shown = look(odd.there, ask="show", set=newest(odd.there), buckets=["flat"])
        rows = {row["key"]: "unreadable" in row for row in shown["objects"]}
        assert rows["harmed"] and [key for key, unreadable in rows.items() if unreadable] == ["harmed"]
        # Accepted once, it does not make later sets incomplete.
        odd.there.inv("backup", "--only", "buckets", "--accept-unreadable")
        assert ran(odd.there, do="backup", only=["buckets"])["code"] == 0
        shown = odd.there.inv("backup.show", newest(odd.there), "--bucket", "flat", "--prefix", "harmed")
        assert "NOT IN THE SET: " in shown and "which was accepted" in shown
        assert ran(odd.there, do="restore", set=newest(odd.there), buckets=["flat"], new_name="beside")["code"] == 0
        assert odd.body("beside", "whole") == body
        odd.there.inv("restore.undo", "--yes")
    finally:
        for key in ("harmed", "whole"):
            odd.minio.ask("DELETE", path("flat", key))


def test_a_pack_that_is_mostly_dead_is_packed_anew_and_goes_when_no_set_needs_it(odd: Odd) -> None:
    odd.minio.ask("PUT", path("packed"))
    bodies = {f"k{number}": random.Random(number).randbytes(200_000) for number in range(10)}
    for key, body in bodies.items():
        odd.put("packed", key, body)

    def saved() -> str:
        run = begin(odd.there, do="backup", only=["buckets"])
        assert over(odd.there, run)["code"] == 0
        return next(event["text"] for event in journal(odd.there, run) if event.get("text", "").startswith("packed: "))

    with configured(odd.there, "d['buckets']['names'] = ['packed']"):
        before = blobs_on_disk(odd)
        assert "; 10 were new" in saved()
        dead = blobs_on_disk(odd) - before
        assert len(dead) == 1
        for key in [*bodies][3:]:
            odd.minio.ask("DELETE", path("packed", key))
        assert "3 versions" in (text := saved()) and "; 0 were new" in text
        assert "3 versions" in (text := saved()) and "; 3 were new" in text
        assert "; 0 were new" in saved()
        # All sets are older than two days: the three newest stay, with their contents.
        odd.there.on_host("find /mnt/backup/lab/blobs -type f -exec touch -d '5 days ago' {} +")
        # Within a configuration that is restored afterwards: calls of `configured` cannot be nested.
        old = f"import json; p = '{CONFIG}'; d = json.load(open(p)); d['retention']['days'] = 0; json.dump(d, open(p, 'w'))"
        odd.there.on_host(f"python3 -c {quote(old)}")
        assert ran(odd.there, do="backup", only=["buckets"], allow_many=True)["code"] == 0
        assert not dead & blobs_on_disk(odd)
        kept = newest(odd.there)
        assert ran(odd.there, do="verify", set=kept, source="disk")["code"] == 0
        assert ran(odd.there, do="restore", set=kept, source="disk", buckets=["packed"], new_name="beside")["code"] == 0
        assert {key: odd.body("beside", key) for key in [*bodies][:3]} == dict([*bodies.items()][:3])
        odd.there.inv("restore.undo", "--yes")


def blobs_on_disk(odd: Odd) -> set[str]:
    return set(odd.there.on_host("find /mnt/backup/lab/blobs -type f").split())


def test_a_bucket_whose_versioning_is_suspended_is_saved_whole_and_comes_back_as_it_was(odd: Odd) -> None:
    suspended = ENABLED.replace("Enabled", "Suspended")
    odd.minio.ask("PUT", path("paused"))
    odd.put("paused", "older", b"from before there were versions")
    quiet.set_part(odd.minio, "paused", "versioning", ENABLED)
    for body in (b"one", b"two"):
        odd.put("paused", "older", body)
        odd.put("paused", "both", body)
    quiet.set_part(odd.minio, "paused", "versioning", suspended)
    odd.put("paused", "both", b"without an id, on top")
    odd.put("paused", "later", b"without an id")
    odd.put("paused", "hidden", b"soon hidden")
    odd.minio.ask("DELETE", path("paused", "hidden"))
    before = odd.listed("paused")
    with configured(odd.there, "d['buckets']['names'] = ['paused']"):
        assert ran(odd.there, do="backup", only=["buckets"])["code"] == 0
    made = newest(odd.there)
    odd.there.inv("restore", made, "--bucket", "paused", "--as", "beside", "--yes")
    try:
        assert odd.listed("beside") == before
        assert odd.body("beside", "both") == b"without an id, on top"
    finally:
        odd.there.inv("restore.undo", "--yes")
    assert odd.listed("paused") == before

    odd.put("paused", "both", b"in the place of what had no id")
    odd.minio.ask("DELETE", path("paused", "later"), {"versionId": "null"})
    for version in listing.of_key(odd.minio, "paused", "older"):
        inserting.delete(odd.minio, "paused", "older", version.id)
    harmed = odd.listed("paused")
    run = begin(odd.there, do="restore", set=made, buckets=["paused"], pause="current")
    paused(odd.there, run)
    killed(odd.there, run)
    odd.there.inv("backup.settle")
    assert odd.listed("paused") == harmed
    screen = odd.there.inv("restore", made, "--bucket", "paused", "--yes")
    assert "is suspended or has exceptions, is on meanwhile" in screen
    assert odd.listed("paused")[-1]["versioning"] == harmed[-1]["versioning"]
    bodies = {key: odd.body("paused", key) for key in ("both", "older", "later")}
    assert bodies == {"both": b"without an id, on top", "older": b"two", "later": b"without an id"}
    assert {version.id for version in before[:-1] if version.key == "older"} <= {
        version.id for version in odd.listed("paused")[:-1] if version.key == "older"
    }
    # A write now overwrites an object without an id, which an undo cannot take back.
    odd.put("paused", "later", b"since the restore")
    odd.there.inv("restore.undo", "--yes")
    assert odd.body("paused", "later") == b"since the restore"
    assert [version for version in odd.listed("paused")[:-1] if version.key != "later"] == [
        version for version in harmed[:-1] if version.key != "later"
    ]


def test_objects_come_back_by_hand_as_the_document_says(odd: Odd, tmp_path: Path) -> None:
    odd.there.inv("backup.fetch", odd.set, str(tmp_path))
    subprocess.run(["tar", "-C", str(tmp_path), "-xf", str(tmp_path / f"{odd.set}.tar")], check=True)
    (tmp_path / "identity").write_text(odd.there.secret("backup_identity") + "\n")
    done = Rescue(tmp_path / odd.set, tmp_path / "identity", tmp_path / "clear").follow(1, 2, 3, 8)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 left out" in done.stdout and "left out '" not in done.stdout
    place = tmp_path / "clear/objects"
    wanted = {key: b"then " + key.encode() for key in KEYS} | {"multi": LARGE, "sealed": b"by the server", "empty": b""}
    assert {key: (place / "odd" / key).read_bytes() for key in wanted} == wanted
    assert not (place / "odd/gone").exists() and (place / "odd/dir").is_dir()
    assert {entry.name for entry in (place / "flat/runs/1").iterdir()} == {str(number) for number in range(1, 20, 2)}

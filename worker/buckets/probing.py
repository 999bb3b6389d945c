"""Tests on a scratch bucket, before each restore, that this MinIO accepts versions with given ids and dates: releases differ."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from contextlib import suppress

from worker.buckets import inserting, listing, quiet
from worker.buckets.client import Client, path
from worker.buckets.inserting import Incoming
from worker.contract import RESTORE_REFUSED
from worker.errors import Failed

PROBE = "stowage-probe-"
"""The beginning of the names of scratch buckets."""
KEY, BODY, OLD = "probe", b"probe", "2020-02-02T02:02:02.002002Z"


def must_take_ids(minio: Client, run: str) -> None:
    """Puts a version and a delete marker below another version, copies the version to the top, and reads the listing."""
    bucket = f"{PROBE}{run[-6:]}"
    first, marker, top = (str(uuid.uuid4()) for _ in range(3))
    etag = hashlib.md5(b"an etag of its own", usedforsecurity=False).hexdigest()
    minio.ask("PUT", path(bucket))
    try:
        quiet.set_part(minio, bucket, "versioning", quiet.ENABLED)
        minio.ask("PUT", path(bucket, KEY), body=b"newer")
        beneath = Incoming(KEY, first, OLD, etag, len(BODY))
        inserting.put(minio, bucket, beneath, [BODY])
        inserting.must_be(minio, bucket, beneath, hashlib.sha256(BODY).hexdigest())
        inserting.put_marker(minio, bucket, Incoming(KEY, marker, OLD.replace("02Z", "03Z"), marker=True))
        inserting.copy(minio, bucket, KEY, first, top)
        listed = list(listing.versions(minio, bucket))
        ours = [(row.id, row.etag, row.at) for row in listed if row.id in (first, marker)]
        wanted = [(marker, "", OLD[:23] + "Z"), (first, etag, OLD[:23] + "Z")]
        if listed[0].id != top or ours != wanted:
            why = f"a version that was put with an id and a date is listed as {ours}, and not as {wanted}"
            raise Failed(
                RESTORE_REFUSED,
                "this MinIO does not keep the ids and dates of versions",
                why,
                "--new-ids, which puts them anew in their order",
            )
    finally:
        _remove(minio, bucket)


def sweep(minio: Client, listed: Sequence[str]) -> None:
    """Removes the scratch buckets that killed restores have left; the caller holds the lock, so no other restore is active."""
    for bucket in listed:
        if bucket.startswith(PROBE):
            with suppress(Failed):  # one that stays is in no set, and the next backup tries again
                _remove(minio, bucket)


def _remove(minio: Client, bucket: str) -> None:
    for version in listing.versions(minio, bucket):
        inserting.delete(minio, bucket, version.key, version.id)
    minio.ask("DELETE", path(bucket))

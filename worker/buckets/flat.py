"""Buckets without versions: missing objects are added; one that differs is first copied to another bucket, then replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from worker.buckets import inserting, listing, reading
from worker.buckets.client import Client, path
from worker.buckets.contents import Contents
from worker.buckets.index import Row
from worker.buckets.inserting import Incoming
from worker.buckets.listing import Version
from worker.buckets.live import same
from worker.buckets.made import Line, Made
from worker.contract import RESTORE_FAILED
from worker.errors import Failed

KEPT = "stowage-kept-"
"""The beginning of the names of buckets for displaced objects; no set has them."""


def kept_bucket(run: str, number: int = 0) -> str:
    """The bucket for displaced objects of a run, or of one of its buckets, as two buckets may have the same key."""
    return f"{KEPT}{run[-6:]}" + (f"-{number}" if number else "")


def replace(
    minio: Client, contents: Contents, made: Made, kept: str, bucket: str, rows: Sequence[Row], there: Sequence[Version]
) -> int:
    """Puts the current object of a key, if the bucket has none or another one; gives the bytes."""
    row = replaces(rows, there)
    if row is None:
        return 0
    version = inserting.incoming({**row, "id": ""}, inserting.dates([row], [])[row["id"]])
    made.add({"key": version.key, "etag": version.etag, "was": there[0].etag if there else ""})
    if there:
        keep(minio, kept, bucket, there[0])
    inserting.put(minio, bucket, version, contents.pieces(row))
    inserting.must_be(minio, bucket, version, row["sha256"])
    return version.size


def replaces(rows: Sequence[Row], there: Sequence[Version]) -> Row | None:
    """The row that replaces the live object; None if they are the same."""
    row = next(
        (
            candidate
            for candidate in rows
            if candidate.get("latest") and not candidate.get("marker") and "sha256" in candidate
        ),
        None,
    )
    return None if row is None or (there and same(row, there[0])) else row


def remove(minio: Client, made: Made, kept: str, bucket: str, version: Version) -> None:
    """Removes an object that the set lacks; it is kept like a replaced one."""
    made.add({"key": version.key, "etag": "", "was": version.etag})
    keep(minio, kept, bucket, version)
    inserting.delete(minio, bucket, version.key, "")


def keep(minio: Client, kept: str, bucket: str, version: Version) -> None:
    """Copies the object, with its date and ETag, into the bucket for displaced objects, and reads it back."""
    minio.ask("PUT", path(kept), may_fail=True)
    _moved(minio, bucket, kept, version)


def _moved(minio: Client, bucket: str, to: str, version: Version) -> None:
    digest = hashlib.sha256()

    def read() -> Iterator[bytes]:
        for _, piece in pieces:
            digest.update(piece)
            yield piece

    headers = reading.head(minio, bucket, version)
    if version.tags:
        headers |= {inserting.TAGGING: version.tags}
    pieces = reading.pieces(minio, bucket, version)
    at = f"{version.at.removesuffix('Z')}000Z"
    copy = Incoming(version.key, "", at, version.etag, version.size, tuple(headers.items()))
    try:
        inserting.put(minio, to, copy, read())
    except (reading.Replaced, reading.Vanished, reading.Unreadable) as error:
        raise Failed(
            RESTORE_FAILED, f"{bucket}/{version.key} cannot be kept", f"{type(error).__name__} {error}"
        ) from None
    inserting.must_be(minio, to, copy, digest.hexdigest())


def put_back(minio: Client, bucket: str, kept: str, line: Line) -> str:
    """Puts the former object back; an object that was written since the restore stays, and is reported.

    One that is absent comes back, whoever deleted it: MinIO may lose an object whose replacement is cut off.
    """
    key = line["key"]
    here = listing.of_key(minio, bucket, key)
    etag = here[0].etag if here else ""
    if etag == line["was"]:
        return ""  # the restore had not replaced it yet, or it is put back already
    before = listing.of_key(minio, kept, key) if line["was"] else []
    if (here and etag != line["etag"]) or (line["was"] and not before):
        return f"{bucket}/{key} was replaced since the restore, and stays" + (
            f"; what it was is in {kept}" if before else ""
        )
    if before:
        _moved(minio, kept, bucket, before[0])
    else:
        inserting.delete(minio, bucket, key, "")
    return ""

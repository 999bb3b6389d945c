"""Puts a version with its own id, date and ETag below the live versions, and proves that it reads back."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import quote

from worker.buckets import reading
from worker.buckets.client import Client, Refused, md5_of, path
from worker.buckets.index import Row
from worker.buckets.listing import NULL, Version
from worker.contract import RESTORE_FAILED
from worker.errors import Failed

MTIME, ETAG, MARKER = "X-Minio-Source-Mtime", "X-Minio-Source-Etag", "X-Minio-Source-DeleteMarker"
AS_REPLICA = {"X-Minio-Source-Replication-Request": "true"}
"""Headers of a replica, with which MinIO accepts a retention date in the past."""
TAGGING, VERSION, SEALED = "x-amz-tagging", "x-amz-version-id", "x-amz-server-side-encryption"


@dataclass(frozen=True)
class Incoming:
    """A version to put: `id` is empty in a bucket without versions; `at` has microseconds."""

    key: str
    id: str
    at: str
    etag: str = ""
    size: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    marker: bool = False


def incoming(row: Row, at: str) -> Incoming:
    headers = dict(row.get("headers", {})) | ({TAGGING: row["tags"]} if row.get("tags") else {})
    return Incoming(
        row["key"],
        row["id"],
        at,
        row.get("etag", ""),
        row.get("size", 0),
        tuple(headers.items()),
        bool(row.get("marker")),
    )


def dates(rows: Sequence[Row], there: Sequence[Version]) -> dict[str, str]:
    """When each version of a key was made, by id. Rows are newest first; those of one millisecond keep that order.

    A listing has milliseconds: within one, versions newer than a live one get the last microseconds, others the first.
    """
    dated, ids = dict[str, str](), {version.id for version in there}
    for at in dict.fromkeys(row["at"] for row in rows):
        same = [row["id"] for row in rows if row["at"] == at]
        newest = next((place for place, id in enumerate(same) if id in ids), -1)
        for place, id in enumerate(same):
            micro = 999 - place if place < newest else len(same) - 1 - place
            dated[id] = f"{at.removesuffix('Z')}{max(0, micro):03d}Z"
    return dated


def put(minio: Client, bucket: str, version: Incoming, pieces: Iterable[bytes]) -> str:
    """Puts a version; if its id exists already, that version is not touched, and Failed is raised.

    A version without a date gets its id and date from the server. Gives the id.
    """
    source = {MTIME: version.at, ETAG: version.etag} if version.at else {}
    which = {"versionId": version.id} if version.id else {}
    parts = iter(pieces)
    first = next(parts, b"")
    if len(first) >= version.size:
        done = minio.ask(
            "PUT", path(bucket, version.key), which, headers={**dict(version.headers), **source}, body=first
        )
        for _ in parts:  # the end of the pieces, which checks their hash
            pass
        return done.headers.get(VERSION, NULL)
    where = path(bucket, version.key)
    if source and "-" not in version.etag and _sealed(minio, bucket, version):
        # MinIO can read an encrypted object of several parts only if its ETag has the number of parts.
        source[ETAG] = f"{version.etag}-{-(-version.size // len(first))}"
    begun = minio.ask("POST", where, {"uploads": "", **which}, headers={**dict(version.headers), **source})
    upload = begun.body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    try:
        etags = [
            minio.ask("PUT", where, {"partNumber": str(number), "uploadId": upload}, body=piece).headers["etag"]
            for number, piece in enumerate(_chained(first, parts), 1)
        ]
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in enumerate(etags, 1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        done = minio.ask("POST", where, {"uploadId": upload, **which}, headers=source, body=body)
        return done.headers.get(VERSION, NULL)
    except BaseException:
        with suppress(Failed):
            minio.ask("DELETE", where, {"uploadId": upload}, may_fail=True)
        raise


def _sealed(minio: Client, bucket: str, version: Incoming) -> bool:
    """Whether MinIO encrypts a version that is put: by its own headers, or by the bucket's default."""
    if any(name == SEALED for name, _ in version.headers):
        return True
    return minio.ask("GET", path(bucket), {"encryption": ""}, may_fail=True).status < 300


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def mark(minio: Client, bucket: str, key: str) -> str:
    """Puts a delete marker with an id and a date of the server; gives the id."""
    return minio.ask("DELETE", path(bucket, key)).headers.get(VERSION, NULL)


def put_marker(minio: Client, bucket: str, version: Incoming) -> None:
    headers = {MTIME: version.at, MARKER: "true", **AS_REPLICA}
    minio.ask("DELETE", path(bucket, version.key), {"versionId": version.id}, headers=headers)


def copy(minio: Client, bucket: str, key: str, id: str, new: str) -> None:
    """Copies the version to the top, with an id that was recorded before."""
    source = f"{path(bucket, key)}?versionId={quote(id)}"
    minio.ask("PUT", path(bucket, key), {"versionId": new}, headers={"x-amz-copy-source": source})


def delete(minio: Client, bucket: str, key: str, id: str) -> None:
    """Deletes exactly this version; an absent one is no error."""
    which = {"versionId": id} if id else {}
    minio.ask("DELETE", path(bucket, key), which, headers={"x-amz-bypass-governance-retention": "true"})


def lock(minio: Client, bucket: str, key: str, id: str, retention: dict[str, str]) -> None:
    """Sets retention, also with a date in the past, and legal hold."""
    if "until" in retention:
        body = f"<Retention><Mode>{retention['mode']}</Mode><RetainUntilDate>{retention['until']}</RetainUntilDate></Retention>"
        _set(minio, bucket, key, id, "retention", body)
    if retention.get("hold"):
        _hold(minio, bucket, key, id, retention["hold"])


def let_go(minio: Client, bucket: str, key: str, id: str) -> None:
    """Ends a legal hold; an absent version is no error."""
    with suppress(Refused):
        _hold(minio, bucket, key, id, "OFF")


def _hold(minio: Client, bucket: str, key: str, id: str, status: str) -> None:
    _set(minio, bucket, key, id, "legal-hold", f"<LegalHold><Status>{status}</Status></LegalHold>")


def _set(minio: Client, bucket: str, key: str, id: str, part: str, body: str) -> None:
    headers = {**AS_REPLICA, "Content-MD5": md5_of(body.encode())}
    minio.ask("PUT", path(bucket, key), {part: "", "versionId": id}, headers=headers, body=body.encode())


def must_be(minio: Client, bucket: str, version: Incoming, sha256: str) -> None:
    """Reads a version back, every byte."""
    digest = hashlib.sha256()
    try:
        for _, piece in reading.pieces(
            minio, bucket, Version(version.key, version.id or "null", version.at, version.etag, version.size)
        ):
            digest.update(piece)
    except (reading.Vanished, reading.Unreadable, reading.Replaced) as error:
        why = str(error) or f"it was {type(error).__name__.lower()} meanwhile"
        raise Failed(RESTORE_FAILED, f"{bucket}/{version.key} cannot be read back", why) from None
    if digest.hexdigest() != sha256:
        raise Failed(
            RESTORE_FAILED, f"{bucket}/{version.key} does not read back as what was put", "its sha256 is another"
        )


def anew(version: Incoming) -> Incoming:
    """The same version with a new id."""
    return replace(version, id=str(uuid.uuid4()))

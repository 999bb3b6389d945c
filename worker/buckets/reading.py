"""Reads objects from MinIO: complete, with their headers, and the same object from the first byte to the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from worker.buckets import listing
from worker.buckets.client import Answer, Client, Silent, path
from worker.buckets.listing import NULL, Version
from worker.parts import PLAIN

KEPT = {
    *("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"),
    *("x-amz-website-redirect-location", "x-amz-server-side-encryption"),
    "x-amz-server-side-encryption-aws-kms-key-id",
}
"""The headers that belong to an object, besides its metadata."""
META = "x-amz-meta-"
ROUNDS = 3
"""How often an object that was replaced during the read is read again."""


class Vanished(Exception):
    """The version was deleted after it was listed."""


class Unreadable(Exception):
    """The object cannot be read, and why: a customer's key, a missing tier, damage on too many drives."""


class Replaced(Exception):
    """Another object has the key now."""


@dataclass(frozen=True)
class Head:
    """The headers of an object: without versions it may be newer than the listed one."""

    etag: str
    size: int
    at: str
    headers: dict[str, str]


def head_of(version: Version, answer: Answer) -> Head:
    headers = {key.lower(): _text(value) for key, value in answer.headers.items()}
    etag = headers.get("etag", "").strip('"')
    size = int(headers.get("content-range", "/" + headers.get("content-length", "0")).rpartition("/")[2])
    kept = {key: value for key, value in headers.items() if _belongs(key)}
    at = version.at
    if (etag, size) == (version.etag, version.size):
        # A listing has metadata in clear; headers encode what is not ASCII as in mail (RFC 2047).
        kept |= {key: value for key, value in version.metadata.items() if _belongs(key)}
    elif version.id == NULL:
        # It was replaced after it was listed; the header only has seconds.
        at = parsedate_to_datetime(headers["last-modified"]).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return Head(etag, size, at, kept)


def _belongs(header: str) -> bool:
    return header in KEPT or header.startswith(META)


def small(client: Client, bucket: str, version: Version) -> tuple[Head, bytes]:
    """An object in one request."""
    answer = _asked(client, bucket, version, {})
    return head_of(version, answer), answer.body


def pieces(client: Client, bucket: str, version: Version) -> Iterator[tuple[Head, bytes]]:
    """An object in pieces of the size of a part; raises Replaced when the object changes during the read."""
    at, head = 0, None
    while head is None or at < head.size:
        # An empty object has no range.
        headers = {"Range": f"bytes={at}-{at + PLAIN - 1}"} if version.size else {}
        if head:
            headers["If-Match"] = f'"{head.etag}"'
        answer = _asked(client, bucket, version, headers)
        head = head or head_of(version, answer)
        at += len(answer.body)
        if not answer.body and head.size:
            raise Unreadable(f"it ends early: {at} of {head.size} bytes came")
        if head.size:
            yield head, answer.body


def head(client: Client, bucket: str, version: Version) -> dict[str, str]:
    """The headers of a known object whose metadata changed."""
    return head_of(version, _asked(client, bucket, version, {}, "HEAD")).headers


def _asked(client: Client, bucket: str, version: Version, headers: dict[str, str], method: str = "GET") -> Answer:
    try:
        answer = client.ask(method, path(bucket, version.key), _which(version), headers=headers, may_fail=True)
    except Silent as error:
        # Damage on too many drives: MinIO breaks off every time. If it can list the key, it is up.
        listing.of_key(client, bucket, version.key)
        raise Unreadable(f"MinIO does not give it: {error.why}") from None
    return _judged(answer)


def _which(version: Version) -> dict[str, str]:
    return {"versionId": version.id}


def _judged(answer: Answer) -> Answer:
    if answer.status < 300 and b"<Error>" in answer.body[:200] and "etag" not in answer.headers:
        raise Unreadable(answer.why)  # what it cannot decrypt MinIO answers with 206
    if answer.status < 300:
        return answer
    if answer.status == 404:
        raise Vanished
    if answer.status == 412:
        raise Replaced
    raise Unreadable(answer.why)


def _text(value: Any) -> str:
    """The text of a header: MinIO sends UTF-8, which the HTTP library decodes as Latin-1."""
    try:
        return str(value).encode("latin-1").decode()
    except UnicodeError:
        return str(value)

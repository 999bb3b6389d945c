"""Objects as they are read from MinIO: whole, with their headers, and the same object from the first byte to the last."""

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
"""How often an object that is replaced while it is read is read again from its beginning."""


class Vanished(Exception):
    """The version was deleted since it was listed."""


class Unreadable(Exception):
    """The object cannot be had, and why: a customer's key, a tier that is away, damage on too many drives."""


class Replaced(Exception):
    """Another object has the name by now."""


@dataclass(frozen=True)
class Head:
    """What the answer says of an object: it may be newer than what was listed, where there are no versions."""

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
        # A listing has metadata as it was given; an answer has what is no ASCII in a code of mails.
        kept |= {key: value for key, value in version.metadata.items() if _belongs(key)}
    elif version.id == NULL:
        # It was replaced since it was listed; an answer tells the second alone.
        at = parsedate_to_datetime(headers["last-modified"]).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return Head(etag, size, at, kept)


def _belongs(header: str) -> bool:
    return header in KEPT or header.startswith(META)


def small(client: Client, bucket: str, version: Version) -> tuple[Head, bytes]:
    """An object in one request."""
    answer = _asked(client, bucket, version, {})
    return head_of(version, answer), answer.body


def pieces(client: Client, bucket: str, version: Version) -> Iterator[tuple[Head, bytes]]:
    """An object in pieces as large as a part, all of them of the same object; Replaced when it is another on the way."""
    at, head = 0, None
    while head is None or at < head.size:
        # Of nothing no range can be had.
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
    """The headers of an object that is known already, and whose metadata is not what it was."""
    return head_of(version, _asked(client, bucket, version, {}, "HEAD")).headers


def _asked(client: Client, bucket: str, version: Version, headers: dict[str, str], method: str = "GET") -> Answer:
    try:
        answer = client.ask(method, path(bucket, version.key), _which(version), headers=headers, may_fail=True)
    except Silent as error:
        # Damaged on too many drives: MinIO breaks off, again and again. Where it lists the key all the same, it is up.
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
    """A header as it was meant: what is no ASCII comes as UTF-8, which HTTP takes for Latin-1."""
    try:
        return str(value).encode("latin-1").decode()
    except UnicodeError:
        return str(value)

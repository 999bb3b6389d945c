"""The listing of a bucket: every version and delete marker, page by page, with metadata, tags and locks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from worker.buckets.client import Client, path
from worker.contract import FAILED
from worker.errors import Failed

NULL = "null"
LOCKS = {
    "x-amz-object-lock-mode": "mode",
    "x-amz-object-lock-retain-until-date": "until",
    "x-amz-object-lock-legal-hold": "hold",
}
PAGE = "1000"


@dataclass(frozen=True)
class Version:
    """One version of a key, or a delete marker; `at` is in UTC, to the millisecond, as MinIO writes it."""

    key: str
    id: str
    at: str
    etag: str = ""
    size: int = 0
    latest: bool = False
    marker: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    tags: str = ""
    lock: dict[str, str] = field(default_factory=dict)
    beneath: str = ""
    """The object above, which hides it from every listing."""


def names(client: Client) -> list[str]:
    """All buckets; Failed without read quorum, where MinIO says that there are none."""
    root = _parsed(client.ask("GET", "/", with_quorum=True).body)
    return sorted(element.text or "" for element in root.iter() if _tag(element) == "Name")


def versions(client: Client, bucket: str, prefix: str = "", ahead: Executor | None = None) -> Iterator[Version]:
    """All versions, by key and then the newest first; one page of them is held in memory, and the next one is asked for `ahead`."""
    query = {"versions": "", "metadata": "true", "encoding-type": "url", "max-keys": PAGE, "prefix": prefix}
    page = _page(client, bucket, query)
    while True:
        fields = {_tag(element): element.text or "" for element in page if not len(element)}
        more = fields.get("IsTruncated") == "true"
        if more:
            after = {
                "key-marker": unquote_plus(fields["NextKeyMarker"]),
                "version-id-marker": fields["NextVersionIdMarker"],
            }
        following = ahead.submit(_page, client, bucket, query | after) if ahead and more else None
        yield from (_version(element) for element in page if _tag(element) in ("Version", "DeleteMarker"))
        if not more:
            return
        page = following.result() if following else _page(client, bucket, query | after)


def _page(client: Client, bucket: str, query: Mapping[str, str]) -> ElementTree.Element:
    # Without read quorum MinIO lists what single drives have, and an end where a drive goes away: both answer 200.
    return _parsed(client.ask("GET", path(bucket), query, with_quorum=True).body)


def of_key(client: Client, bucket: str, key: str) -> list[Version]:
    """The versions of one key, which comes first among the keys that begin with it."""
    return list(takewhile(lambda version: version.key == key, versions(client, bucket, key)))


def by_key(listed: Iterator[Version], most: int = 0) -> Iterator[list[Version]]:
    """The versions of each key together, the newest first; at most `most` of them."""
    for _, group in groupby(listed, key=lambda version: version.key):
        yield list(group)[: most or None]


def _parsed(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Failed(FAILED, "a listing of MinIO cannot be read", str(error)) from None


def _version(element: ElementTree.Element) -> Version:
    fields = {_tag(part): part for part in element}

    def text(name: str) -> str:
        return (fields[name].text or "") if name in fields else ""

    metadata = {_tag(entry).lower(): entry.text or "" for entry in fields.get("UserMetadata", ())}
    return Version(
        key=unquote_plus(text("Key")),
        id=text("VersionId") or NULL,
        at=text("LastModified"),
        etag=text("ETag").strip('"'),
        size=int(text("Size") or 0),
        latest=text("IsLatest") == "true",
        marker=_tag(element) == "DeleteMarker",
        metadata={key: value for key, value in metadata.items() if key not in LOCKS},
        tags=text("UserTags"),
        lock={short: metadata[name] for name, short in LOCKS.items() if metadata.get(name)},
    )


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]

"""Versions restored with plain S3: in the order of the set, with new ids and dates, above the live versions.

Versions cannot be put below others in this way, so they are only put when they may become visible.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from worker.buckets import inserting, listing
from worker.buckets.client import Client
from worker.buckets.contents import Contents
from worker.buckets.index import Row
from worker.buckets.listing import Version
from worker.buckets.made import Line, Made


class Anew:
    """Restores one bucket, key by key. Each version is recorded before it is put, and its id afterwards."""

    def __init__(self, minio: Client, bucket: str, contents: Contents, made: Made) -> None:
        self._minio, self._bucket, self._contents, self._made = minio, bucket, contents, made

    def put(self, rows: Sequence[Row], there: Sequence[Version]) -> int:
        """Puts the versions of a key whose ids are absent, the oldest first, and the set's newest on top; gives the bytes."""
        lacking, top, size = to_put(rows, there), there[0].id if there else "", 0
        for row in reversed(lacking):
            top, size = self._put_one(row, top), size + row.get("size", 0)
        return size

    def hide(self, there: Sequence[Version]) -> None:
        """A delete marker on a key that the set does not have."""
        self._put_one({"key": there[0].key, "id": "", "marker": True}, there[0].id)

    def _put_one(self, row: Row, top: str) -> str:
        number, version = str(uuid.uuid4()), replace(inserting.incoming(row, ""), id="", etag="")
        intent: Line = {"key": version.key, "above": top, "number": number, "marker": version.marker}
        if version.marker:
            self._made.add(intent)
            id = inserting.mark(self._minio, self._bucket, version.key)
        else:
            pieces = self._contents.pieces(row)
            first = next(pieces, b"")
            digest = hashlib.md5(first, usedforsecurity=False).hexdigest() if len(first) >= version.size else ""
            self._made.add(intent | {"md5": digest})
            id = inserting.put(self._minio, self._bucket, version, _chained(first, pieces))
        self._made.add(
            {"key": version.key, "id": id, "of": number, "was": row["id"]}
            | ({"lock": row["lock"]} if row.get("lock") else {})
        )
        if not version.marker:
            inserting.must_be(self._minio, self._bucket, replace(version, id=id), row["sha256"])
        return id


def to_put(rows: Sequence[Row], there: Sequence[Version]) -> list[Row]:
    """The rows to put, the newest first; also the set's newest if it exists below another version."""
    ids = {version.id for version in there}
    lacking = [row for row in rows if "unreadable" not in row and row["id"] not in ids]
    current = rows[0]
    if not current.get("latest") or "unreadable" in current or current in lacking:
        return lacking
    # The other versions that are put would lie above it.
    return [current, *lacking] if lacking or there[0].id != current["id"] else []


def confirmed(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines of versions that were made; last the uncertain ones, at most one for a key."""
    open = dict[str, Line]()
    for line in lines:
        if "number" in line:
            open[line["number"]] = line
            continue
        open.pop(line.get("of", ""), None)
        yield line
    yield from open.values()


def in_doubt(minio: Client, bucket: str, line: Line) -> str:
    """The id of a version whose answer was lost: the version right above the former newest is ours, if it is the same."""
    versions = listing.of_key(minio, bucket, line["key"])
    ids = [version.id for version in versions]
    above = versions[: ids.index(line["above"]) if line["above"] in ids else len(versions)]
    if not above:
        return ""
    first = above[-1]
    if (first.marker and line["marker"]) or (line.get("md5") and first.etag == line["md5"]):
        inserting.delete(minio, bucket, line["key"], first.id)
        return ""
    return f"{bucket}/{line['key']}, version {first.id}: it may be of the restore, and stays"


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest

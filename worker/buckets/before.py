"""The newest set with buckets: its contents, and its rows, which are read along with a listing in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from worker import sets
from worker.buckets import COMPONENT, index
from worker.buckets.blobs import LIST, Blob
from worker.buckets.index import Row
from worker.buckets.listing import Version
from worker.errors import Failed
from worker.job import Job


def index_of(bucket: str) -> str:
    """The stream with the index of a bucket."""
    return f"buckets/{bucket}.index"


class Before:
    """The newest set that has buckets, from the first target that has it; without one everything is new."""

    def __init__(self, job: Job, there: Sequence[sets.Summary]) -> None:
        self._job = job
        usable = [
            summary
            for summary in there
            if summary.valid and summary.manifest and summary.manifest.components.get(COMPONENT)
        ]
        newest = max(usable, key=lambda summary: (summary.created, summary.id), default=None)
        self._manifest = newest.manifest if newest else None
        self._streams = self._manifest.components[COMPONENT] if self._manifest else {}
        self._readers = (
            [sets.reader(target, job.keys, self._manifest) for target in job.alive] if self._manifest else []
        )

    @property
    def buckets(self) -> Mapping[str, Mapping[str, Any]]:
        """Its counts of each bucket."""
        return self._manifest.buckets if self._manifest else {}

    def blobs(self) -> list[Blob]:
        """Its contents; empty if the list cannot be read, and then every object is read."""
        return [Blob(**row) for row in self._rows(LIST)]

    def rows(self, bucket: str) -> Rows:
        return Rows(self._rows(index_of(bucket)))

    def _rows(self, stream: str) -> list[Row] | Iterator[Row]:
        parts = self._streams.get(stream, ())
        for reader in self._readers if parts else ():
            with suppress(Failed):
                reader.fetch_stored(parts[0])
                return _as_far_as_it_goes(index.unpacked(reader.read(parts)))
        return iter(())


class Rows:
    """The rows of an earlier set, read along with a listing."""

    def __init__(self, rows: Iterator[Row] | list[Row]) -> None:
        self._rows = iter(rows)
        self._next = next(self._rows, None)

    def matched(self, versions: Sequence[Version]) -> Iterator[tuple[Version, Row | None]]:
        """Versions of one key, each with the row of the same version, if there is one."""
        key, known = versions[0].key, dict[str, Row]()
        # By bytes, as MinIO sorts. A skipped row only means that the object is read again.
        while self._next and self._next["key"].encode() <= key.encode():
            if self._next["key"] == key:
                known[self._next["id"]] = self._next
            self._next = next(self._rows, None)
        for version in versions:
            yield version, (row if (row := known.get(version.id)) and _same(row, version) else None)


def _same(row: Row, version: Version) -> bool:
    """Whether a row is of this version; unreadable versions count only if they were accepted."""
    known = "sha256" in row or "accepted" in row
    return known and (row["etag"], row["size"], row["at"]) == (version.etag, version.size, version.at)


def _as_far_as_it_goes(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows until the first damage: the rest is read again, and the new set is made all the same."""
    with suppress(Failed):
        yield from rows

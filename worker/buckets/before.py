"""The newest sets with buckets: their contents, and their rows, which are read along with a listing in the same order."""

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
    """Of each bucket the newest set that has its index: a set that lacks a bucket, as MinIO was away, makes no object new.

    Without any set everything is new.
    """

    def __init__(self, job: Job, there: Sequence[sets.Summary]) -> None:
        self._job, self._newest = job, dict[str, sets.Manifest]()
        for summary in sorted(there, key=lambda summary: (summary.created, summary.id), reverse=True):
            manifest = summary.manifest
            if not summary.valid or not manifest or not manifest.components.get(COMPONENT):
                continue
            for bucket in manifest.buckets:
                self._newest.setdefault(bucket, manifest)
            if not manifest.lacks(COMPONENT):
                break  # what it does not have was not there

    @property
    def buckets(self) -> Mapping[str, Mapping[str, Any]]:
        """The counts of each bucket."""
        return {bucket: manifest.buckets[bucket] for bucket, manifest in self._newest.items()}

    def blobs(self) -> list[Blob]:
        """The contents; without those of a list that cannot be read, whose objects are read again."""
        blobs = dict[str, Blob]()
        for manifest in {manifest.id: manifest for manifest in self._newest.values()}.values():
            for blob in (Blob(**row) for row in self._rows(manifest, LIST)):
                # A set that lacks a bucket needs less of a pack than the one that has it.
                if blob.name not in blobs or blobs[blob.name].live < blob.live:
                    blobs[blob.name] = blob
        return list(blobs.values())

    def rows(self, bucket: str) -> Rows:
        manifest = self._newest.get(bucket)
        return Rows(self._rows(manifest, index_of(bucket)) if manifest else [])

    def _rows(self, manifest: sets.Manifest, stream: str) -> Iterator[Row]:
        parts = manifest.components[COMPONENT].get(stream, ())
        for target in self._job.alive if parts else ():
            reader = sets.reader(target, self._job.keys, manifest)
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

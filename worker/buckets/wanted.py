"""The request for a bucket of a set: its keys, and the bucket to restore them into."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import groupby

from worker import sets
from worker.buckets import COMPONENT, index, listing, settings, steady
from worker.buckets.before import index_of
from worker.buckets.client import Client, connect
from worker.buckets.index import Row
from worker.buckets.live import Live
from worker.buckets.saving import prefixes_of, settings_of
from worker.contract import RESTORE_REFUSED
from worker.errors import Failed
from worker.job import Job


class Wanted:
    """The request for a bucket of a set. MinIO is only asked for the live state: a set can be browsed without it."""

    def __init__(
        self, job: Job, manifest: sets.Manifest, source: str, bucket: str, minio: Client | None = None
    ) -> None:
        self.job, self.manifest, self.source = job, manifest, source
        self.bucket, self.to = bucket, job.request.new_name or bucket
        self.start = job.request.key or job.request.prefix
        if self.bucket not in manifest.buckets:
            near = difflib.get_close_matches(self.bucket, manifest.buckets, 1, 0)
            why = f"it has {', '.join(manifest.buckets)}" if manifest.buckets else "it has no bucket"
            hint = f"--bucket {near[0]}" if near else "inv backup.list"
            raise Failed(RESTORE_REFUSED, f"the set has no bucket {self.bucket}", why, hint)
        self._minio = minio

    def use(self, minio: Client) -> None:
        """Shares one connection among all buckets."""
        self._minio = minio

    @cached_property
    def minio(self) -> Client:
        if self._minio:
            return self._minio
        client = connect(self.job.config)
        steady.wait(client)
        return client

    @cached_property
    def there(self) -> bool:
        return self.to in listing.names(self.minio)

    @cached_property
    def now(self) -> dict[str, str]:
        """The live configuration of the bucket."""
        return settings.read(self.minio, self.to) if self.there else {}

    @cached_property
    def saved(self) -> dict[str, str]:
        """The configuration of the bucket in the set."""
        parts = self.manifest.components[COMPONENT][settings_of(self.bucket)]
        reader = sets.reader(self.job.targets[self.source], self.job.keys, self.manifest)
        return dict(json.loads(b"".join(reader.read(parts))))

    @cached_property
    def prefixes(self) -> list[str]:
        """The prefixes that limit the keys of the set; none if it has all keys."""
        if not (parts := self.manifest.components[COMPONENT].get(prefixes_of(self.bucket))):
            return []
        reader = sets.reader(self.job.targets[self.source], self.job.keys, self.manifest)
        return list(json.loads(b"".join(reader.read(parts))))

    @property
    def versioning(self) -> str:
        """The versioning of the bucket: its own if it exists, else that of the set."""
        return settings.versioning(self.now if self.there else self.saved)

    @property
    def versioned(self) -> bool:
        return bool(self.versioning)

    def rows(self) -> Iterator[Row]:
        """The rows of the requested keys, in the order of the listing."""
        parts = self.manifest.components[COMPONENT][index_of(self.bucket)]
        reader = sets.reader(self.job.targets[self.source], self.job.keys, self.manifest)
        key, prefix = self.job.request.key, self.job.request.prefix
        rows = (
            row
            for row in (index.unpacked(reader.read(parts)) if parts else ())
            if ((row["key"] == key) if key else row["key"].startswith(prefix))
        )
        yield from as_at(rows, self.job.request.at) if self.job.request.at else rows

    def groups(self) -> Iterator[tuple[str, list[Row]]]:
        for key, rows in groupby(self.rows(), key=lambda row: str(row["key"])):
            yield key, list(rows)

    def live(self) -> Live:
        return Live(self.minio, self.to, self.start)


def as_at(rows: Iterable[Row], at: str) -> Iterator[Row]:
    """The rows as of a moment: later versions are left out, and the newest of that time is current."""
    last = None
    for row in rows:
        if row["at"] <= at:
            yield {**row, "latest": row["key"] != last}
            last = row["key"]

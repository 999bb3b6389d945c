"""The live versions of a bucket, read along with the index of a set: both are in the order of keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from worker.buckets import listing
from worker.buckets.client import Client
from worker.buckets.index import Row
from worker.buckets.listing import Version
from worker.contract import RESTORE_FAILED
from worker.errors import Failed

WINDOW = 64


class Live:
    """The live versions of one key after the other. A key out of order is listed separately, so that none is missed."""

    def __init__(self, minio: Client, bucket: str, prefix: str) -> None:
        self._minio, self._bucket = minio, bucket
        self.seen = 0
        """The versions that the listing has given so far."""
        self._groups = listing.by_key(self._counted(listing.versions(minio, bucket, prefix)))
        self._next, self._asked = next(self._groups, None), b""
        self.passed: Callable[[str], None] = lambda key: None
        """Called with each key that is left behind, in the order of the listing."""

    def of(self, key: str) -> list[Version]:
        """The versions of a key, the newest first."""
        wanted = key.encode()
        if wanted < self._asked:
            return listing.of_key(self._minio, self._bucket, key)
        self._asked = wanted
        while self._next and self._next[0].key.encode() < wanted:
            before, self._next = self._next, next(self._groups, None)
            self.passed(before[0].key)
            if self._next and self._next[0].key.encode() < before[0].key.encode():
                raise Failed(RESTORE_FAILED, f"the listing of {self._bucket} is not in order", self._next[0].key)
        return self._next if self._next and self._next[0].key == key else []

    def _counted(self, versions: Iterator[Version]) -> Iterator[Version]:
        for version in versions:
            self.seen += 1
            yield version

    def rest(self) -> Iterator[str]:
        """The keys from the last one on."""
        while self._next:
            yield self._next[0].key
            self._next = next(self._groups, None)


def same(row: Row, version: Version) -> bool:
    """Whether a version is that of a row, by MinIO's listing."""
    if row.get("marker") or version.marker:
        return bool(row.get("marker")) and version.marker
    # An encrypted object that was restored in parts has their number after its ETag.
    return (row["etag"].partition("-")[0], row["size"]) == (version.etag.partition("-")[0], version.size)


def at_once(pool: ThreadPoolExecutor, tasks: Iterator[Callable[[], Any]]) -> Iterator[Any]:
    """The results of tasks in order, with a limited number started ahead; the first failure ends it, once no task runs any more."""
    pending = deque[Future[Any]]()
    try:
        for task in tasks:
            pending.append(pool.submit(task))
            if len(pending) >= WINDOW:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        wait(pending)  # what one of them made after this would be taken back by nobody

"""The progress of buckets: objects and bytes done, of the totals in the last set and in MinIO's own count."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from worker.buckets.client import Client
from worker.errors import Failed
from worker.journal import Journal


@dataclass
class Amount:
    """Versions, and their bytes."""

    objects: int = 0
    bytes: int = 0


class Progress:
    """Counts progress. The total of a bucket is a guess until its listing has ended; larger counts correct it."""

    def __init__(self, journal: Journal, expected: Mapping[str, Amount]) -> None:
        self._journal, self._expected = journal, dict(expected)
        self._done, self._bucket = dict[str, Amount](), ""
        self._ahead, self._lock = 0, threading.Lock()

    def begin(self, bucket: str) -> None:
        self._bucket = bucket
        self._done[bucket] = Amount()

    def add(self, size: int, ahead: int = 0) -> None:
        """Counts one more version; `ahead` of its bytes were counted before. Writes to the journal at most once a second."""
        with self._lock:
            now = self._done[self._bucket]
            now.objects, now.bytes = now.objects + 1, now.bytes + size
            self._ahead -= ahead
        self._tell()

    def ahead(self, size: int) -> None:
        """Counts bytes of a large version while it is read, which takes minutes; negative ones take them back."""
        with self._lock:
            self._ahead += size
        self._tell()

    def _tell(self) -> None:
        now, of, ahead = self._done[self._bucket], self._most(self._bucket), self._ahead
        done, bucket_done = sum(amount.bytes for amount in self._done.values()) + ahead, now.bytes + ahead
        total = sum(self._most(name).bytes for name in {*self._expected, *self._done})
        self._journal.progress(
            done,
            total if total > done else 0,  # a guess that is reached is no total, and nothing is left of it
            bucket=self._bucket,
            objects=now.objects,
            of=of.objects,
            bucket_done=bucket_done,
            bucket_total=max(bucket_done, of.bytes),
        )

    def end(self) -> None:
        """The bucket is done: its total is known now."""
        self._expected[self._bucket] = self._done[self._bucket]

    def _most(self, bucket: str) -> Amount:
        guess, done = self._expected.get(bucket, Amount()), self._done.get(bucket, Amount())
        return Amount(max(guess.objects, done.objects), max(guess.bytes, done.bytes))


def expected(minio: Client, names: Sequence[str], before: Mapping[str, Mapping[str, Any]]) -> dict[str, Amount]:
    """The expected totals: the larger of the last set's and the scanner's, which may be hours old or missing."""
    counted = dict[str, Any]()
    with suppress(Failed, ValueError, AttributeError):
        answer = minio.ask("GET", "/minio/admin/v3/datausageinfo")
        counted = dict(json.loads(answer.body).get("bucketsUsageInfo") or {})
    amounts = {}
    for name in names:
        last, now = before.get(name, {}), counted.get(name) or {}
        # The scanner's versions only include those with an id, not objects of a bucket without versions.
        counted_now = max(now.get("objectsCount", 0), now.get("versionsCount", 0) + now.get("deleteMarkersCount", 0))
        objects = max(last.get("versions", 0) + last.get("markers", 0), counted_now)
        amounts[name] = Amount(objects, max(last.get("bytes", 0), now.get("size", 0)))
    return amounts

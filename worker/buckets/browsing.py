"""The versions of a bucket in a set, for a person who looks for an object; and the differences of a bucket from the set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

from worker.buckets import COMPONENT, listing, settings, steady
from worker.buckets.client import connect
from worker.buckets.index import Row
from worker.buckets.listing import Version
from worker.buckets.live import Live, same
from worker.buckets.saving import wanted
from worker.buckets.wanted import Wanted
from worker.job import Job
from worker.manifest import Manifest

MOST = 1000
"""The most rows that are shown; with a prefix there are fewer."""
FIELDS = ("key", "id", "at", "size", "latest", "marker", "unreadable", "accepted")


def shown(job: Job, manifest: Manifest, source: str) -> dict[str, Any]:
    """The versions of the requested keys in a set, and how many more there are."""
    rows = Wanted(job, manifest, source, job.request.buckets[0]).rows()
    first = [{name: row[name] for name in FIELDS if name in row} for row in islice(rows, MOST)]
    return {"objects": first, "more": sum(1 for _ in rows)}


def differences(job: Job, manifest: Manifest, source: str) -> dict[str, list[str]]:
    """Each bucket of the set, or the requested one, against what is there now: versions, metadata, tags, locks and the
    configuration; not the bytes."""
    if not manifest.buckets:
        return {}
    if COMPONENT not in job.config:
        return {name: ["this stack has no MinIO"] for name in manifest.buckets}
    minio = connect(job.config)
    steady.wait(minio)
    there = [] if job.request.buckets else wanted(job, listing.names(minio))
    differing = {name: ["the set does not have it"] for name in there if name not in manifest.buckets}
    for name in job.request.buckets or manifest.buckets:
        asked = Wanted(job, manifest, source, name, minio)
        differing[name] = list(_different(asked, asked.live())) if asked.there else ["it is gone"]
    return differing


def _different(asked: Wanted, live: Live) -> Iterator[str]:
    """The differences of a bucket. Versions that the set lacks are only counted: applications write all the time."""
    total = 0
    for key, group in groupby(asked.rows(), key=lambda row: str(row["key"])):
        rows, now = list(group), live.of(key)
        total += len(now)
        yield from (f"{key}: {line}" for line in of_key(rows, now))
    for _ in live.rest():
        pass
    if (new := live.seen - total) > 0:
        yield f"{new} versions are of keys that the set does not have"
    for part in () if asked.start else sorted({*asked.saved, *asked.now} - {settings.QUOTA}):
        if asked.saved.get(part) != asked.now.get(part):
            yield f"its {part} is another"


def of_key(rows: list[Row], now: list[Version]) -> Iterator[str]:
    """The differences of one key."""
    by_id = {version.id: version for version in now}
    for row in rows:
        there = by_id.pop(row["id"], None)
        if there is None and "hidden" in row:
            continue  # no listing shows it
        if there is None:
            yield f"the {_kind(row)} {row['id']} of {row['at']} is gone"
        elif "unreadable" not in row:
            yield from (f"the version {row['id']} has {what}" for what in _what(row, there))
    if by_id:
        yield f"{len(by_id)} versions are new"
    if now and [row["id"] for row in rows if row["id"] in {version.id for version in now}] != [
        version.id for version in now if version.id in {row["id"] for row in rows}
    ]:
        yield "its versions stand in another order"


def _kind(row: Row) -> str:
    return "delete marker" if row.get("marker") else "version"


def _what(row: Row, there: Version) -> Iterator[str]:
    if not same(row, there):
        yield "another content"
    if row["at"] != there.at:
        yield "another date"
    if not row.get("marker") and any(
        row["headers"].get(name, value) != value for name, value in there.metadata.items()
    ):
        yield "other metadata"
    if row.get("tags", "") != there.tags:
        yield "other tags"
    if row.get("lock", {}) != there.lock:
        yield "another lock"

"""Saves buckets into a set: contents of an earlier set are neither read nor stored again. One failure costs one bucket."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from worker import sets
from worker.buckets import ALL, COMPONENT, WHO, called, client, hidden, index, listing, probing, settings, steady
from worker.buckets.accounts import IAM
from worker.buckets.before import Before, index_of
from worker.buckets.blobs import LIST, Blobs
from worker.buckets.counts import Counts
from worker.buckets.flat import KEPT
from worker.buckets.outgoing import Outgoing
from worker.buckets.progress import Progress, expected
from worker.contract import FAILED
from worker.databases import Streams
from worker.errors import Failed
from worker.job import Job

READERS = 8
RECENT = timedelta(days=7)
"""How old a set may be for a bucket that it has and MinIO has not to be named."""


@dataclass
class Buckets:
    """The result for each bucket."""

    saved: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)
    counted: dict[str, str] = field(default_factory=dict)
    """The reasons of incomplete buckets without the names of objects: the manifest is not encrypted."""

    @property
    def reasons(self) -> dict[str, str]:
        """Why each bucket is not saved completely, for the manifest."""
        return {name: f"{error.what}: {error.why}" for name, error in self.failed.items()} | self.counted


def settings_of(bucket: str) -> str:
    return f"buckets/{bucket}.settings"


def prefixes_of(bucket: str) -> str:
    """The stream with the prefixes that limit the keys of a set; absent if it has all keys."""
    return f"buckets/{bucket}.prefixes"


def wanted(job: Job, there: Iterable[str]) -> list[str]:
    """The buckets that a set must hold: all, or those that the inventory names; never one with sets or with displaced objects."""
    configuration = job.config[COMPONENT]
    return [
        bucket
        for bucket in there
        if bucket not in configuration["without"]
        and not bucket.startswith((KEPT, probing.PROBE))
        and (not configuration["names"] or bucket in configuration["names"])
    ]


def save(job: Job, writer: sets.PartWriter, streams: Streams, there: Sequence[sets.Summary]) -> Buckets:
    """Saves each bucket, then users and policies, last the list of all contents that the set needs."""
    buckets, minio = Buckets(), client.connect(job.config)
    before = Before(job, there)
    blobs = Blobs(job.stack, job.keys, writer, before.blobs())
    names = list[str]()
    with by_itself(job, writer, buckets, *(_known(job, before) or [ALL])):
        names = _names(job, minio, buckets, there)
    with ThreadPoolExecutor(READERS, "read") as readers, ThreadPoolExecutor(job.config["uploads"], "blob") as makers:
        progress = Progress(job.journal, expected(minio, names, before.buckets) if names else {})
        saving = Outgoing(job, minio, blobs, before, progress, readers, makers)
        search = hidden.Search(job, minio, names)
        for name in names:
            with by_itself(job, writer, buckets, name), unless_removed(job, minio, name):
                streams |= _saved(job, writer, saving, name, buckets, search)
        saving.end()
    if names:
        with by_itself(job, writer, buckets, WHO):
            data = minio.ask("GET", "/minio/admin/v3/export-iam").body
            streams[IAM] = tuple(writer.write(IAM, [data]))
    listed = index.packed(blob.as_row() for blob in blobs.list())
    streams[LIST] = tuple(writer.write(LIST, listed))
    return buckets


@contextmanager
def by_itself(job: Job, writer: sets.PartWriter, buckets: Buckets, *names: str) -> Iterator[None]:
    """Records a failure of one bucket, or of several, and goes on, unless no target is left."""
    try:
        yield
    except Failed as error:
        if not writer.alive:
            raise
        buckets.failed |= dict.fromkeys(names, error)
        job.journal.say(f"{', '.join(map(called, names))} could not be saved: {error.what}: {error.why}")


@contextmanager
def unless_removed(job: Job, minio: client.Client, name: str) -> Iterator[None]:
    """Passes over a bucket that somebody has removed since the run began, like an object that was deleted meanwhile."""
    try:
        yield
    except client.Refused as error:
        if error.answer.code != "NoSuchBucket" or name in listing.names(minio):
            raise
        job.note(f"the bucket {name} was removed while the backup ran, and is not in the set")


def _known(job: Job, before: Before) -> list[str]:
    """The buckets that the last set or the inventory names: without MinIO's listing, each of them is not saved."""
    return wanted(job, dict.fromkeys([*before.buckets, *job.config[COMPONENT]["names"]]))


def _names(job: Job, minio: client.Client, buckets: Buckets, there: Sequence[sets.Summary]) -> list[str]:
    """The buckets to save; reports buckets that the inventory or a recent set has and MinIO lacks."""
    steady.wait(minio, job.journal.say)
    listed = listing.names(minio)
    probing.sweep(minio, listed)
    names = wanted(job, listed)
    for name in set(job.config[COMPONENT]["names"]).difference(names):
        buckets.failed[name] = Failed(FAILED, f"there is no bucket {name}", "", "backup.buckets.names")
    for name, newest in gone(there, listed, datetime.now(UTC)).items():
        if name not in buckets.failed:
            job.note(f"the bucket {name} is not there any more: {newest} is the newest set that has it")
    return names


def gone(there: Sequence[sets.Summary], listed: Sequence[str], now: datetime) -> dict[str, str]:
    """The buckets of recent sets that MinIO lacks, each with the newest set that has it."""
    by_age = sorted(there, key=lambda summary: (summary.created, summary.id))
    return {
        name: summary.id
        for summary in by_age
        if summary.valid and summary.manifest and now - summary.created < RECENT
        for name in summary.manifest.buckets
        if name not in listed
    }


def _saved(
    job: Job, writer: sets.PartWriter, saving: Outgoing, name: str, buckets: Buckets, search: hidden.Search
) -> Streams:
    configuration, counts = settings.read(saving.minio, name), Counts()
    rows = tuple(writer.write(index_of(name), index.packed(saving.rows(name, counts, partial(search.of, name)))))
    stored = tuple(writer.write(settings_of(name), [json.dumps(configuration, sort_keys=True).encode()]))
    buckets.saved[name] = _manifest_row(configuration, counts)
    _say(job, name, counts, buckets)
    streams = {index_of(name): rows, settings_of(name): stored}
    # In an encrypted stream: the manifest is not encrypted, and must not contain keys.
    if prefixes := job.config[COMPONENT]["prefixes"].get(name):
        streams[prefixes_of(name)] = tuple(writer.write(prefixes_of(name), [json.dumps(prefixes).encode()]))
    return streams


def _manifest_row(configuration: dict[str, str], counts: Counts) -> dict[str, Any]:
    """The manifest's row of a bucket; it is not encrypted, so it contains no key."""
    return {
        "versioning": settings.versioning(configuration),
        "locks": settings.locks(configuration),
        "versions": counts.versions,
        "markers": counts.markers,
        "bytes": counts.bytes,
        "unreadable": counts.unreadable + counts.accepted,
    }


def _say(job: Job, name: str, counts: Counts, buckets: Buckets) -> None:
    job.journal.say(f"{name}: {counts.summary}")
    if counts.lacking:
        hint = f"inv backup.show {job.run} --bucket {name} has the reason of each; a customer's key is needed for what is under it"
        if counts.hidden:
            hint += "\ndocs/runbook.md, Objects that no listing shows, has what brings those to light"
        hint += "\nwhen these are to stay out of all sets: inv backup --accept-unreadable"
        buckets.failed[name] = Failed(FAILED, "it is not whole", counts.lacking, hint)
        buckets.counted[name] = f"it is not whole: {counts.counted}"
        job.journal.say(f"{name}: {counts.lacking}")

"""Buckets on their way into a set: what an earlier set has is neither read nor stored again. One that fails costs only itself."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Any

from worker import sets
from worker.buckets import COMPONENT, client, index, listing, packs, reading, settings, steady
from worker.buckets.before import Before, index_of
from worker.buckets.blobs import LIST, Blobs
from worker.buckets.flat import KEPT
from worker.buckets.index import Row
from worker.buckets.listing import Version
from worker.contract import FAILED
from worker.databases import Streams
from worker.errors import Failed
from worker.job import Job
from worker.size import human

IAM = "buckets/iam.zip"
ALL = "*"
"""What cannot be saved when it is of no one bucket."""
WINDOW = 64
"""Objects that are on their way at a time; each small one is held in memory."""
READERS = 8
FEW = 5


@dataclass
class Buckets:
    """What became of each bucket."""

    saved: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)


@dataclass
class Counts:
    """What a bucket has, and what of it had to be read."""

    versions: int = 0
    markers: int = 0
    bytes: int = 0
    read: int = 0
    read_bytes: int = 0
    vanished: int = 0
    unreadable: list[str] = field(default_factory=list)


def settings_of(bucket: str) -> str:
    return f"buckets/{bucket}.settings"


def wanted(job: Job, there: Iterable[str]) -> list[str]:
    """The buckets that a set has to hold: all, or those that the inventory names; never one that holds sets, or what a restore displaced."""
    told = job.config[COMPONENT]
    return [
        one
        for one in there
        if one not in told["without"] and not one.startswith(KEPT) and (not told["names"] or one in told["names"])
    ]


def save(job: Job, writer: sets.PartWriter, streams: Streams, there: Sequence[sets.Summary]) -> Buckets:
    """Bucket after bucket, then who may use them; last the list of all contents that the set needs."""
    found, minio = Buckets(), client.connect(job.config)
    before = Before(job, there)
    blobs = Blobs(job.stack, job.keys, writer, before.blobs())
    names = list[str]()
    with by_itself(job, writer, found, ALL):
        names = _names(job, minio, found, before)
    with ThreadPoolExecutor(READERS, "read") as readers, ThreadPoolExecutor(job.config["uploads"], "blob") as makers:
        saving = _Saving(job, minio, blobs, before, readers, makers)
        for name in names:
            with by_itself(job, writer, found, name):
                streams |= _saved(job, writer, saving, name, found)
        saving.end()
    if names:
        with by_itself(job, writer, found, ALL):
            data = minio.ask("GET", "/minio/admin/v3/export-iam").body
            streams[IAM] = tuple(writer.write(IAM, [data]))
    listed = index.packed(one.told() for one in sorted(blobs.used.values(), key=lambda one: one.name))
    streams[LIST] = tuple(writer.write(LIST, listed))
    return found


@contextmanager
def by_itself(job: Job, writer: sets.PartWriter, found: Buckets, name: str) -> Iterator[None]:
    """What goes wrong with one bucket, or with MinIO, is no reason to lose the databases, unless no target is left."""
    try:
        yield
    except Failed as error:
        if not writer.alive:
            raise
        found.failed[name] = error
        job.journal.say(f"the bucket {name} could not be saved: {error.what}: {error.why}")


def _names(job: Job, minio: client.Client, found: Buckets, before: Before) -> list[str]:
    """The buckets to save; one that the inventory names, or the last set has, and that is not there, is told."""
    steady.wait(minio, job.journal.say)
    names = wanted(job, listing.names(minio))
    for name in set(job.config[COMPONENT]["names"]).difference(names):
        found.failed[name] = Failed(FAILED, f"there is no bucket {name}", "", "backup.buckets.names")
    for name in (one for one in before.buckets if one not in names):
        job.journal.say(f"the bucket {name} of the last set is not there any more")
    return names


def _saved(job: Job, writer: sets.PartWriter, saving: _Saving, name: str, found: Buckets) -> Streams:
    configuration, counts = settings.read(saving.minio, name), Counts()
    rows = tuple(writer.write(index_of(name), index.packed(saving.rows(name, counts))))
    told = tuple(writer.write(settings_of(name), [json.dumps(configuration, sort_keys=True).encode()]))
    found.saved[name] = _told(configuration, counts)
    _say(job, name, counts, found)
    return {index_of(name): rows, settings_of(name): told}


def _told(configuration: dict[str, str], counts: Counts) -> dict[str, Any]:
    """What the manifest says of a bucket; it is not encrypted, so it names no key."""
    return {
        "versioning": settings.versioning(configuration),
        "locks": settings.locks(configuration),
        "versions": counts.versions,
        "markers": counts.markers,
        "bytes": counts.bytes,
        "unreadable": len(counts.unreadable),
    }


def _say(job: Job, name: str, counts: Counts, found: Buckets) -> None:
    gone = f"; {counts.vanished} were deleted meanwhile" if counts.vanished else ""
    job.journal.say(
        f"{name}: {counts.versions} version{'s' * (counts.versions != 1)} of {human(counts.bytes)},"
        f" {counts.markers} delete marker{'s' * (counts.markers != 1)};"
        f" {counts.read} were new, {human(counts.read_bytes)}{gone}"
    )
    if counts.unreadable:
        some = ", ".join(counts.unreadable[:FEW]) + (" and more" if len(counts.unreadable) > FEW else "")
        why = f"{len(counts.unreadable)} of its objects cannot be read, all others are in the set: {some}"
        found.failed[name] = Failed(FAILED, "it is not whole", why, "objects under a customer's key need that key")
        job.journal.say(f"{name}: {why}")


def _apart(prefixes: Sequence[str]) -> list[str]:
    """In the order of keys, and none within another: each object is listed once."""
    found = list[str]()
    for one in sorted(prefixes, key=str.encode):
        if not found or not one.startswith(found[-1]):
            found.append(one)
    return found


class _Saving:
    """Versions on their way: known ones are passed on, small ones go into packs, large ones go part by part."""

    def __init__(
        self,
        job: Job,
        minio: client.Client,
        blobs: Blobs,
        before: Before,
        readers: ThreadPoolExecutor,
        makers: ThreadPoolExecutor,
    ) -> None:
        self._job, self.minio, self._blobs, self._before = job, minio, blobs, before
        self._readers, self._makers = readers, makers
        self._room = BoundedSemaphore(job.config["uploads"])
        self._stored = list[Future[str]]()
        self._pack = packs.Pack(self._pack_name, self._store)
        self._done = 0

    def rows(self, bucket: str, counts: Counts) -> Iterator[Row]:
        """The rows of a bucket's index, in the order of its listing."""
        told, pending = self._job.config[COMPONENT], deque[tuple[Row, Future[Any] | None]]()
        known = self._before.rows(bucket)
        for prefix in _apart(told["prefixes"].get(bucket, [""])):
            for versions in listing.by_key(listing.versions(self.minio, bucket, prefix), told["versions"]):
                for version, row in known.matched(versions):
                    pending.append(self._begun(bucket, version, row))
                    while len(pending) >= WINDOW:
                        yield from self._settled(bucket, *pending.popleft(), counts)
        while pending:
            yield from self._settled(bucket, *pending.popleft(), counts)

    def end(self) -> None:
        """The last pack, and every blob that is still on its way."""
        self._pack.close()
        for one in self._stored:
            one.result()

    def _begun(self, bucket: str, version: Version, known: Row | None) -> tuple[Row, Future[Any] | None]:
        row: Row = {"key": version.key, "id": version.id, "at": version.at}
        row |= {"latest": True} if version.latest else {}
        if version.marker:
            return row | {"marker": True}, None
        row |= {"etag": version.etag, "size": version.size}
        row |= {name: value for name, value in (("tags", version.tags), ("lock", version.lock)) if value}
        if known and self._blobs.kept(known.get("parts", [known.get("pack")])):
            row |= {name: known[name] for name in ("sha256", "headers", "parts", "pack") if name in known}
            if any(row["headers"].get(name, value) != value for name, value in version.metadata.items()):
                return row, self._readers.submit(lambda: {"headers": reading.head(self.minio, bucket, version)})
            return row, None
        if version.size < packs.SMALL:
            return row, self._readers.submit(self._small, bucket, version)
        return row, self._makers.submit(self._large, bucket, version)

    def _settled(self, bucket: str, row: Row, future: Future[Any] | None, counts: Counts) -> Iterator[Row]:
        try:
            found = future.result() if future else {}
        except reading.Vanished:
            if any(
                (one.id, one.etag) == (row["id"], row["etag"]) for one in listing.of_key(self.minio, bucket, row["key"])
            ):
                counts.unreadable.append(row["key"])
                yield row | {"unreadable": "MinIO lists it, and says that it is not there"}
                return
            counts.vanished += 1
            return
        except reading.Unreadable as error:
            counts.unreadable.append(row["key"])
            yield row | {"unreadable": str(error)}
            return
        if (body := found.pop("body", None)) is not None:
            found["pack"] = self._pack.add(found["sha256"], body)
        row |= found
        if "sha256" in found:
            counts.read += 1
            counts.read_bytes += row["size"]
        self._done += row.get("size", 0)
        self._job.journal.progress(self._done, max(self._done, self._before.bytes))
        counts.versions += not row.get("marker")
        counts.markers += bool(row.get("marker"))
        counts.bytes += row.get("size", 0)
        yield row

    def _small(self, bucket: str, version: Version) -> Row:
        head, body = reading.small(self.minio, bucket, version)
        return _row(head) | {"sha256": hashlib.sha256(body).hexdigest(), "body": body}

    def _large(self, bucket: str, version: Version) -> Row:
        for _ in range(reading.ROUNDS):
            whole, parts = hashlib.sha256(), list[str]()
            try:
                for found, piece in reading.pieces(self.minio, bucket, version):
                    head = found
                    whole.update(piece)
                    parts.append(self._blobs.put(piece))
                return _row(head) | {"sha256": whole.hexdigest(), "parts": parts}
            except reading.Replaced:
                continue
        raise Failed(FAILED, f"{bucket}/{version.key} changed each of {reading.ROUNDS} times that it was read")

    def _pack_name(self, number: int) -> str:
        return self._job.keys.name(hashlib.sha256(f"{self._job.run}/{number}".encode()).hexdigest())

    def _store(self, name: str, data: bytearray) -> None:
        """A pack is made and sent while the next one is filled; no more of them wait than the setting allows."""
        for one in self._stored:
            if one.done():
                one.result()
        self._room.acquire()
        self._stored.append(self._makers.submit(self._stored_pack, name, [data]))

    def _stored_pack(self, name: str, box: list[bytearray]) -> str:
        try:
            return self._blobs.put(packs.compressed(box.pop()), name)
        finally:
            self._room.release()


def _row(head: reading.Head) -> Row:
    return {"etag": head.etag, "size": head.size, "at": head.at, "headers": head.headers}

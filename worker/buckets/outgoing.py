"""Saves versions into a set: known ones are only listed, small ones go into packs, large ones are stored in parts."""

from __future__ import annotations

import hashlib
import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any

from worker.buckets import COMPONENT, client, hidden, listing, packs, reading
from worker.buckets.before import Before
from worker.buckets.blobs import Blobs
from worker.buckets.counts import Counts
from worker.buckets.index import Row
from worker.buckets.listing import Version
from worker.buckets.progress import Progress
from worker.job import Job

WINDOW = 64
"""Objects that are read at a time; each small one is held in memory."""
LOST = "MinIO lists it, and says that it is not there"
HIDDEN = "it lies beneath the object {}, which hides it from every listing"


def _apart(prefixes: Sequence[str]) -> list[str]:
    """The prefixes in the order of keys, without those within another: each object is listed once."""
    apart = list[str]()
    for prefix in sorted(prefixes, key=str.encode):
        if not apart or not prefix.startswith(apart[-1]):
            apart.append(prefix)
    return apart


class Outgoing:
    """Makes a row of the index for each version of a bucket, and stores its content."""

    _patience = 20
    """Seconds that a run waits for MinIO to remove expired objects."""

    def __init__(
        self,
        job: Job,
        minio: client.Client,
        blobs: Blobs,
        before: Before,
        progress: Progress,
        readers: ThreadPoolExecutor,
        makers: ThreadPoolExecutor,
    ) -> None:
        self._job, self.minio, self._blobs, self._before, self._progress = job, minio, blobs, before, progress
        self._readers, self._makers = readers, makers
        self._room = BoundedSemaphore(job.config["uploads"])
        self._stored = list[Future[str]]()
        self._pack = packs.Pack(self._pack_name, self._store)
        self._accept = job.request.accept_unreadable

    def rows(self, bucket: str, counts: Counts, unlisted: Callable[[], Mapping[str, str]]) -> Iterator[Row]:
        """The rows of a bucket's index, in the order of its listing; also of the keys that no listing shows, which are waited for."""
        configuration, pending = self._job.config[COMPONENT], deque[tuple[Row, Future[Any] | None]]()
        known = self._before.rows(bucket)
        self._progress.begin(bucket)
        for prefix in _apart(configuration["prefixes"].get(bucket, [""])):
            every = listing.versions(self.minio, bucket, prefix, self._readers)
            listed = listing.by_key(every, configuration["versions"])
            lost = ([version] for version in self._lost(bucket, prefix, unlisted))
            for versions in heapq.merge(listed, lost, key=lambda versions: versions[0].key.encode()):
                for version, row in known.matched(versions):
                    pending.append(self._begun(bucket, version, row))
                    while len(pending) >= WINDOW:
                        yield from self._settled(bucket, *pending.popleft(), counts)
        while pending:
            yield from self._settled(bucket, *pending.popleft(), counts)
        self._progress.end()

    def _lost(self, bucket: str, prefix: str, unlisted: Callable[[], Mapping[str, str]]) -> Iterator[Version]:
        yield from hidden.versions(self.minio, bucket, unlisted(), prefix)

    def end(self) -> None:
        """Stores the last pack, and waits for all blobs."""
        self._pack.close()
        for future in self._stored:
            future.result()

    def _begun(self, bucket: str, version: Version, known: Row | None) -> tuple[Row, Future[Any] | None]:
        row: Row = {"key": version.key, "id": version.id, "at": version.at}
        row |= {"latest": True} if version.latest else {}
        if version.marker:
            return row | {"marker": True}, None
        row |= {"etag": version.etag, "size": version.size}
        row |= {name: value for name, value in (("tags", version.tags), ("lock", version.lock)) if value}
        if self._accept or (known and "accepted" in known):
            row["accepted"] = True  # in case it is unreadable
        if version.beneath:
            return row | {"hidden": True}, self._readers.submit(_refuse, HIDDEN.format(version.beneath))
        if known and "sha256" in known and self._blobs.kept(known.get("parts", [known.get("pack")])):
            row |= {name: known[name] for name in ("sha256", "headers", "parts", "pack") if name in known}
            if any(row["headers"].get(name, value) != value for name, value in version.metadata.items()):
                return row, self._readers.submit(lambda: {"headers": reading.head(self.minio, bucket, version)})
            return row, None
        if version.size < packs.SMALL:
            return row, self._readers.submit(self._small, bucket, version)
        return row, self._makers.submit(self._large, bucket, version)

    def _settled(self, bucket: str, row: Row, future: Future[Any] | None, counts: Counts) -> Iterator[Row]:
        try:
            content = future.result() if future else {}
        except reading.Vanished:
            if self._still_listed(bucket, row):
                yield _unread(row, LOST, counts)
                return
            counts.vanished += 1
            return
        except reading.Unreadable as error:
            yield _unread(row, str(error), counts)
            return
        row.pop("accepted", None)
        if (body := content.pop("body", None)) is not None:
            content["pack"] = self._pack.add(content["sha256"], body)
        row |= content
        if "pack" in row:
            self._blobs.count(row["pack"], row["size"])
        if "sha256" in content:
            counts.read += 1
            counts.read_bytes += row["size"]
        self._progress.add(row.get("size", 0), row.get("size", 0) if "parts" in content else 0)
        counts.versions += not row.get("marker")
        counts.markers += bool(row.get("marker"))
        counts.bytes += row.get("size", 0)
        yield row

    def _still_listed(self, bucket: str, row: Row) -> bool:
        """Whether a version is still listed: an expired object cannot be read, but is listed until MinIO removes it."""
        while any(
            (it.id, it.etag) == (row["id"], row["etag"]) for it in listing.of_key(self.minio, bucket, row["key"])
        ):
            if not self._patience:
                return True
            self._patience -= 1
            time.sleep(1)
        return False

    def _small(self, bucket: str, version: Version) -> Row:
        head, body = reading.small(self.minio, bucket, version)
        return _row(head) | {"sha256": hashlib.sha256(body).hexdigest(), "body": body}

    def _large(self, bucket: str, version: Version) -> Row:
        for _ in range(reading.ROUNDS):
            digest, parts, moved = hashlib.sha256(), list[str](), 0
            try:
                for read, piece in reading.pieces(self.minio, bucket, version):
                    head, piece_digest = read, hashlib.sha256(piece)
                    # Most objects have one piece, which is hashed only once.
                    if parts:
                        digest.update(piece)
                    else:
                        digest = piece_digest.copy()
                    parts.append(self._blobs.put(piece, sha256=piece_digest.hexdigest()))
                    moved += len(piece)
                    self._progress.ahead(len(piece))
                return _row(head) | {"sha256": digest.hexdigest(), "parts": parts}
            except (reading.Replaced, reading.Unreadable, reading.Vanished) as error:
                self._progress.ahead(-moved)
                if not isinstance(error, reading.Replaced):
                    raise
        raise reading.Unreadable(f"it changed each of {reading.ROUNDS} times that it was read")

    def _pack_name(self, number: int) -> str:
        return self._job.keys.name(hashlib.sha256(f"{self._job.run}/{number}".encode()).hexdigest())

    def _store(self, name: str, data: bytearray, held: int) -> None:
        """Compresses and sends a pack while the next one is filled; waits if too many are under way."""
        for future in self._stored:
            if future.done():
                future.result()
        self._room.acquire()
        self._stored.append(self._makers.submit(self._stored_pack, name, [data], held))

    def _stored_pack(self, name: str, box: list[bytearray], held: int) -> str:
        try:
            return self._blobs.put(packs.compressed(box.pop()), name, held)
        finally:
            self._room.release()


def _refuse(why: str) -> Row:
    raise reading.Unreadable(why)


def _unread(row: Row, why: str, counts: Counts) -> Row:
    """A row without content. It says whether that was accepted, also for later sets."""
    counts.not_read(row["key"], why, "accepted" in row)
    counts.hidden += "hidden" in row and "accepted" not in row
    return row | {"unreadable": why}


def _row(head: reading.Head) -> Row:
    return {"etag": head.etag, "size": head.size, "at": head.at, "headers": head.headers}

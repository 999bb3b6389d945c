"""Checks that a target has every content of a set, undamaged; removes contents that no set needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from worker import sets
from worker.buckets import COMPONENT, blobs, index
from worker.buckets.blobs import LIST, Blob
from worker.contract import VERIFY_FAILED
from worker.errors import Failed
from worker.keys import Keys
from worker.manifest import Manifest
from worker.targets import Target

READERS = 2


def needed(target: Target, keys: Keys, manifest: Manifest) -> Iterator[Blob]:
    """The contents that a set needs, by its own list."""
    if parts := manifest.components.get(COMPONENT, {}).get(LIST):
        reader = sets.reader(target, keys, manifest)
        yield from (Blob(**row) for row in index.unpacked(reader.read(parts)))


def read(target: Target, keys: Keys, manifest: Manifest, on_read: Callable[[int], None]) -> None:
    """Fetches, decrypts and compares every content of a set; only those being fetched are in memory."""
    every = list(needed(target, keys, manifest))
    with ThreadPoolExecutor(READERS, "blob") as pool:
        tasks = [pool.submit(_size, target, keys, manifest.stack, blob) for blob in every]
        try:
            for task in tasks:
                on_read(task.result())
        finally:
            pool.shutdown(cancel_futures=True)


def _size(target: Target, keys: Keys, stack: str, blob: Blob) -> int:
    return len(blobs.fetch(target, stack, keys, blob))


def sweep(target: Target, keys: Keys, stack: str, now: datetime, grace: timedelta, known: Collection[str] = ()) -> int:
    """Removes the contents that no set needs. If the needs of one set are unknown, none is removed.

    `known` are the sets that must be there: a target that loses drives may list fewer.
    """
    wanted, listed = set[str](), set[str]()
    for summary in sets.list_sets(target, stack, keys):
        if summary.reason == sets.UNFINISHED:
            continue  # a set that is being made is younger than the grace
        if not summary.valid or not summary.manifest:
            raise Failed(VERIFY_FAILED, f"{target.name}: contents of buckets stay", f"{summary.id} is {summary.reason}")
        wanted |= {blob.name for blob in needed(target, keys, summary.manifest)}
        listed.add(summary.id)
    if lost := sorted(set(known) - listed):
        why = f"{', '.join(lost)} was there in this run, and is not listed now"
        raise Failed(VERIFY_FAILED, f"{target.name}: contents of buckets stay", why, "inv status")
    gone = [entry.key for name, entry in blobs.on(target, stack) if name not in wanted and now - entry.modified > grace]
    for key in gone:
        target.delete(key)
    return len(gone)

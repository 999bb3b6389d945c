"""The contents of objects of a set, from one target: single members of packs, each piece checked."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker.buckets import blobs, packs
from worker.buckets.checking import needed
from worker.buckets.index import Row
from worker.contract import VERIFY_FAILED
from worker.errors import Failed

if TYPE_CHECKING:
    from worker.keys import Keys
    from worker.manifest import Manifest
    from worker.targets import Target

OPEN = 2
"""Packs that are held in memory; successive rows are mostly in the same pack."""


class Contents:
    """Gives the bytes of a row."""

    def __init__(self, target: Target, keys: Keys, manifest: Manifest) -> None:
        self._target, self._keys, self._stack = target, keys, manifest.stack
        self._blobs = {blob.name: blob for blob in needed(target, keys, manifest)}
        self._lock, self._open = threading.Lock(), OrderedDict[str, dict[str, memoryview]]()

    def pieces(self, row: Row) -> Iterator[bytes]:
        """An object in the pieces in which it was saved; Failed is raised at its end if the hash of all differs."""
        digest = hashlib.sha256()
        for piece in (self._fetch(name) for name in row["parts"]) if "parts" in row else [self._member(row)]:
            digest.update(piece)
            yield piece
        if digest.hexdigest() != row["sha256"]:
            raise Failed(VERIFY_FAILED, f"{row['key']} is not what was saved", "its sha256 is another")

    def _member(self, row: Row) -> bytes:
        name = row["pack"]
        with self._lock:
            if name not in self._open:
                self._open[name] = packs.members(self._fetch(name))
                while len(self._open) > OPEN:
                    self._open.popitem(last=False)
            content = self._open[name].get(row["sha256"])
        if content is None:
            raise Failed(VERIFY_FAILED, f"{row['key']} is not in its pack", f"{name} does not have it")
        return bytes(content)

    def _fetch(self, name: str) -> bytes:
        if name not in self._blobs:
            raise Failed(VERIFY_FAILED, "the list of the contents is not that of the index", f"it lacks {name}")
        return blobs.fetch(self._target, self._stack, self._keys, self._blobs[name])

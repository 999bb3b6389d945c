"""Packs of small objects: a tar archive of at most 64 MiB, in which the name of each content is its sha256."""

from __future__ import annotations

import tarfile
from collections.abc import Callable

from worker.buckets.index import zstd
from worker.parts import PLAIN

SMALL = 1 << 20
"""Objects with fewer bytes go into a pack."""
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


class Pack:
    """The pack that is being filled; a full one is passed to `store` with its name, its archive, and the bytes of its contents."""

    def __init__(self, name: Callable[[int], str], store: Callable[[str, bytearray, int], None]) -> None:
        self._name, self._store = name, store
        self._number, self._data, self._members, self._held = 0, bytearray(), set[str](), 0

    def add(self, sha256: str, body: bytes) -> str:
        """The name of the pack that has this content."""
        if len(self._data) + len(body) + 3 * BLOCK + len(END) > PLAIN:
            self.close()
        if sha256 not in self._members:
            entry = tarfile.TarInfo(sha256)
            entry.size = len(body)
            self._data += entry.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % BLOCK)
            self._members.add(sha256)
            self._held += len(body)
        return self._name(self._number)

    def close(self) -> None:
        """Stores the last pack, if any."""
        if self._data:
            self._data += END
            self._store(self._name(self._number), self._data, self._held)
            self._number, self._data, self._held = self._number + 1, bytearray(), 0
            self._members.clear()


def compressed(data: bytearray) -> bytes:
    return zstd(data, "-1")


def members(stored: bytes) -> dict[str, memoryview]:
    """The contents of a pack by their sha256; they are views of one unpacked archive in memory."""
    data, contents, at = zstd(stored, "-d"), dict[str, memoryview](), 0
    view = memoryview(data)
    while at + BLOCK <= len(data) and data[at]:
        entry = tarfile.TarInfo.frombuf(data[at : at + BLOCK], "ascii", "strict")
        at += BLOCK
        contents[entry.name] = view[at : at + entry.size]
        at += entry.size + -entry.size % BLOCK
    return contents

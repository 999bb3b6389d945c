"""Contents on targets, shared by sets: each is stored once, beside the sets, as long as a set needs it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from worker.contract import VERIFY_FAILED
from worker.errors import Failed
from worker.keys import Keys
from worker.parts import PartWriter
from worker.targets import Entry, Missing, Target

LIST = "buckets/blobs.list"
"""The stream of a set that lists the blobs that it needs."""
ALIVE = 0.5


@dataclass(frozen=True)
class Blob:
    """One stored content: its name, and the size and hash after decryption. A pack is also compressed."""

    name: str
    bytes: int
    sha256: str
    held: int = 0
    """For a pack: the bytes of all objects in it."""
    live: int = 0
    """For a pack: the bytes of the objects that the set has."""

    def as_row(self) -> dict[str, Any]:
        return self.__dict__

    @property
    def mostly_dead(self) -> bool:
        """Whether the set needs less than half of a pack: its objects are then packed again, and the pack can be removed."""
        return self.live < self.held * ALIVE


def shelf(stack: str) -> str:
    return f"{stack}/blobs/"


def key(stack: str, name: str) -> str:
    return f"{shelf(stack)}{name[:2]}/{name}"


def on(target: Target, stack: str) -> Iterator[tuple[str, Entry]]:
    """The blobs of a target by name, from its listing."""
    for entry in target.list(shelf(stack)):
        yield entry.key.rpartition("/")[2], entry


class Blobs:
    """The blobs that a set needs, and on which targets each is."""

    def __init__(self, stack: str, keys: Keys, writer: PartWriter, before: Iterable[Blob] = ()) -> None:
        self._stack, self._keys, self._writer = stack, keys, writer
        self._there = {target.name: {name for name, _ in on(target, stack)} for target in writer.alive}
        self._before = {blob.name: blob for blob in before}
        self.used: dict[str, Blob] = {}
        self._live = dict[str, int]()

    def kept(self, names: Iterable[str]) -> bool:
        """Whether an earlier set has these, and every live target holds them; then this set needs them as well."""
        wanted = list(names)
        alive = [self._there[target.name] for target in self._writer.alive]
        if not all(name in self._before and all(name in there for there in alive) for name in wanted):
            return False
        if any(self._before[name].mostly_dead for name in wanted):
            return False
        self.used.update({name: self._before[name] for name in wanted})
        return True

    def count(self, pack: str, size: int) -> None:
        """One more object of the set lies in this pack."""
        self._live[pack] = self._live.get(pack, 0) + size

    def list(self) -> Iterator[Blob]:
        """All blobs that the set needs, by name."""
        for name in sorted(self.used):
            yield replace(self.used[name], live=self._live.get(name, 0))

    def put(self, data: bytes | bytearray, name: str = "", held: int = 0, sha256: str = "") -> str:
        """Stores a content on targets that lack it; gives its name, which by default derives from the content."""
        sha256, size = sha256 or hashlib.sha256(data).hexdigest(), len(data)
        name = name or self._keys.name(sha256)
        if name not in self.used:
            having = [target for target, there in self._there.items() if name in there]
            if len(having) < len(self._there):
                stored = self._keys.encrypt(data)
                # Nobody else uses a pack: free its plain bytes while the encrypted ones are sent.
                del data
                self._writer.send(key(self._stack, name), stored, having=having)
            self.used[name] = Blob(name, size, sha256, held)
        return name


def fetch(target: Target, stack: str, keys: Keys, blob: Blob) -> bytes:
    """The content as it was saved; Failed if it is damaged."""
    where = key(stack, blob.name)
    try:
        data = keys.decrypt(target.get(where))
    except Missing:
        raise damaged(target, where, "it is not there") from None
    except Failed as error:
        if error.code != VERIFY_FAILED:
            raise
        raise damaged(target, where, f"{error.what}: {error.why}") from None
    if len(data) != blob.bytes or hashlib.sha256(data).hexdigest() != blob.sha256:
        raise damaged(target, where, "it decrypts to other bytes than were saved")
    return data


def damaged(target: Target, where: str, why: str) -> Failed:
    hint = "another target may have it whole: --from TARGET"
    return Failed(VERIFY_FAILED, f"{target.name}: {where} is damaged", why, hint)

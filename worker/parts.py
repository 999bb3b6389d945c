"""Streams of bytes as parts: cut, hashed, encrypted and stored on every target at once; read back with checks."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worker.contract import FAILED, VERIFY_FAILED
from worker.errors import Failed
from worker.keys import Keys
from worker.rate import Rate
from worker.targets import LARGEST, Missing, Target

# With age's overhead a part stays below the largest object.
PLAIN = LARGEST - (64 << 10)


@dataclass(frozen=True)
class Part:
    """One stored object: `name` is its key below the set, the rest are its sizes and hashes."""

    name: str
    bytes: int
    plain_bytes: int
    sha256: str
    plain_sha256: str


class PartWriter:
    """Stores streams below `prefix` on all live targets; one that fails is given up.

    Holds at most `ahead` parts in memory, plus one being collected for each stream.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        keys: Keys,
        prefix: str,
        *,
        ahead: int = 2,
        plain_size: int = PLAIN,
        on_stored: Callable[[Part], None] = lambda part: None,
        rate: Rate | None = None,
    ) -> None:
        self.alive, self.dropped = list(targets), dict[str, Failed]()
        self._keys, self._prefix, self._plain_size, self._on_stored = keys, prefix.rstrip("/"), plain_size, on_stored
        self._rate = rate or Rate(0)
        self._lock, self._room = threading.Lock(), threading.BoundedSemaphore(ahead)
        self._makers = ThreadPoolExecutor(ahead, "part")
        self._senders = ThreadPoolExecutor(max(1, ahead * len(self.alive)), "put")

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._makers.shutdown(cancel_futures=True)
        self._senders.shutdown(cancel_futures=True)

    def write(self, stream: str, chunks: Iterable[bytes]) -> list[Part]:
        """The parts of a stream, in order, once all of them are stored; an empty stream has none.

        An error of the producer is raised here: an incomplete stream has no list of parts.
        """
        waiting: list[Future[Part]] = []
        try:
            for number, plain in enumerate(cut(chunks, self._plain_size)):
                self._room.acquire()
                waiting.append(self._makers.submit(self._store, f"{stream}.{number:05d}", [plain]))
                del plain
                for future in waiting:
                    if future.done():
                        future.result()
            return [future.result() for future in waiting]
        finally:
            for future in waiting:
                if future.cancel():
                    self._room.release()

    def put(self, name: str, data: bytes, *, if_absent: bool = False) -> None:
        """Stores one object unchanged on every live target."""
        self.send(f"{self._prefix}/{name}", data, if_absent=if_absent)

    def send(self, key: str, data: bytes, *, if_absent: bool = False, having: Collection[str] = ()) -> None:
        """Stores one object by its full key on every live target, except those `having` it."""
        with self._lock:
            alive = [receiver for receiver in self.alive if receiver.name not in having]
        self._rate.take(len(data))
        sent = [(receiver, self._senders.submit(receiver.put, key, data, if_absent=if_absent)) for receiver in alive]
        for target, future in sent:
            try:
                future.result()
            except Failed as error:
                self.drop(target, error)
        if not self.alive:
            errors = self.dropped.values()
            ways = dict.fromkeys(error.hint for error in errors if error.hint)
            why = "\n".join(f"{error.what}: {error.why}" for error in errors)
            raise Failed(FAILED, "no target is left", why, "\n".join(ways) or "inv status")

    def drop(self, target: Target, error: Failed) -> None:
        """Gives a target up; the first reason is kept."""
        with self._lock:
            self.dropped.setdefault(target.name, error)
            self.alive = [other for other in self.alive if other is not target]

    def _store(self, name: str, box: list[bytearray]) -> Part:
        # The pool keeps the box until the end; emptied, it frees the plain bytes while the part is sent.
        try:
            plain = box.pop()
            size, plain_sha256 = len(plain), hashlib.sha256(plain).hexdigest()
            stored = self._keys.encrypt(plain)
            del plain
            self.put(name, stored)
            part = Part(name, len(stored), size, hashlib.sha256(stored).hexdigest(), plain_sha256)
        finally:
            self._room.release()
        self._on_stored(part)
        return part


class PartReader:
    """Reads a stream from one target; a part is checked completely before any byte of it is passed on."""

    def __init__(self, target: Target, keys: Keys, prefix: str, *, ahead: int = 2) -> None:
        self._target, self._keys, self._prefix, self._ahead = target, keys, prefix.rstrip("/"), ahead

    def read(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """The plain bytes, a part at a time, while the next parts are being fetched."""
        with ThreadPoolExecutor(self._ahead, "get") as pool:
            waiting: deque[Future[bytes]] = deque()
            remaining = iter(parts)
            try:
                for part in remaining:
                    waiting.append(pool.submit(self.fetch, part))
                    if len(waiting) >= self._ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def fetch(self, part: Part) -> bytes:
        """The plain bytes of one part."""
        stored = self.fetch_stored(part)
        try:
            plain = self._keys.decrypt(stored)
        except Failed as error:
            raise self._damaged(part, f"{error.what}: {error.why}") from None
        del stored
        if len(plain) != part.plain_bytes or hashlib.sha256(plain).hexdigest() != part.plain_sha256:
            raise self._damaged(part, "it decrypts to other bytes than were saved")
        return plain

    def fetch_stored(self, part: Part) -> bytes:
        """One part as it is stored, after its size and its hash were compared."""
        try:
            stored = self._target.get(f"{self._prefix}/{part.name}")
        except Missing:
            raise self._damaged(part, "it is not there") from None
        if len(stored) != part.bytes:
            raise self._damaged(part, f"it has {len(stored)} bytes instead of {part.bytes}")
        if hashlib.sha256(stored).hexdigest() != part.sha256:
            raise self._damaged(part, "its bytes are not those that were stored")
        return stored

    def _damaged(self, part: Part, why: str) -> Failed:
        hint = "another target may have it whole: --from TARGET"
        return Failed(VERIFY_FAILED, f"{self._target.name}: {self._prefix}/{part.name} is damaged", why, hint)


def cut(chunks: Iterable[bytes], size: int) -> Iterator[bytearray]:
    """The same bytes in pieces of `size`, the last one shorter."""
    piece = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            taken = view[: size - len(piece)]
            piece += taken
            view = view[len(taken) :]
            if len(piece) == size:
                full, piece = piece, bytearray()
                yield full
                del full
    if piece:
        yield piece

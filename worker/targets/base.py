"""The interface of targets, and what they share: valid keys, retries, and the canary."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

from worker.contract import FAILED, REFUSED, USAGE
from worker.errors import Failed
from worker.size import human

T = TypeVar("T")

# Each object is one request; it is in memory completely, and sent again completely when the connection breaks. Programs like to write
# 64 MiB at a time: as many bytes, and what age and zstd add to them, are one object.
LARGEST = (64 << 20) + (64 << 10)
# The temporary name of an incomplete object; listings include it, so that a sweep finds it.
PARTIAL = ".partial"
CANARY = "canary-"
PAUSES = (0.5, 1.0, 2.0, 4.0)
LONGEST = 60.0
"""Seconds after which there are no more tries: a server may take half a minute for each refusal."""
SEGMENT = re.compile(r"[A-Za-z0-9._@+=,~%-]{1,200}")


class Exists(Failed):
    """A key that had to be absent exists; it was not changed."""


class Missing(Failed):
    """A key that had to exist is absent."""


class Full(Failed):
    """The target has no room for the write."""


class Entry(NamedTuple):
    """One line of a listing; `modified` is the target's own clock, in UTC."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Probe:
    """The result of a probe: whether the target refuses to replace a key, and whether it deletes one."""

    conditional: bool
    deletes: bool


class Room(NamedTuple):
    """The free room, its place, and how to get more."""

    free: int
    place: str
    hint: str


class Target(Protocol):
    """A place for objects by key. Whatever goes wrong is a Failed with the target's name, and none of its secrets."""

    name: str

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """All of `data` is there when this returns, or the key is as before; with `if_absent` it may raise Exists."""

    def get(self, key: str) -> bytes:
        """All of it, or Missing."""

    def stat(self, key: str) -> int | None:
        """The size, or None where there is no such key."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys that begin with the prefix; it never ends early, it fails."""

    def delete(self, key: str) -> None:
        """The key is gone; one that was absent is no error."""

    def probe(self) -> Probe:
        """Writes, reads and deletes a canary; a target that cannot be written or read fails."""

    def silent(self) -> tuple[str, ...]:
        """Endpoints of the target that refuse connections, if it has several."""

    def room(self) -> Room | None:
        """The free room; None if unknown."""

    def check_rules(self) -> None:
        """Refuses a target that would itself delete our objects, or keep us from deleting them."""


def checked(key: str) -> str:
    """The key, if it is valid on every target: plain words between slashes."""
    segments = key.split("/")
    if len(key) > 900 or not all(SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments):
        raise Failed(
            USAGE, f"{key[:200]!r} cannot be the name of an object", why="words of A-Z a-z 0-9 ._@+=,~%- and /"
        )
    if key.endswith(PARTIAL):
        raise Failed(USAGE, f"{key!r} cannot be the name of an object", why=f"{PARTIAL} is for unfinished ones")
    return key


def checked_prefix(prefix: str) -> str:
    if bare := prefix.rstrip("/"):
        checked(bare)
    return prefix


def fits(name: str, key: str, size: int) -> None:
    if size > LARGEST:
        raise Failed(FAILED, f"{name}: {key} is too large", why=f"{size} bytes, an object has at most {LARGEST}")


def full(name: str, size: int, room: Room | None, hint: str = "") -> Full:
    """The error of a target that ran full during a write of so many bytes."""
    why = f"{human(size)} were to be written"
    if room:
        why += f", {human(room.free)} are free in {room.place}"
    return Full(FAILED, f"{name}: it has no room left", why, hint or (room.hint if room else ""))


def with_patience(
    act: Callable[[], T], transient: Callable[[Exception], bool], pauses: tuple[float, ...] = PAUSES
) -> T:
    """Repeats a call after transient failures; raises the last one."""
    begun = time.monotonic()
    for pause in pauses:
        try:
            return act()
        except Exception as error:
            if not transient(error) or time.monotonic() - begun > LONGEST:
                raise
        time.sleep(pause)
    return act()


def probe(target: Target) -> Probe:
    """The canary, the same for every kind of target."""
    key, song = f"{CANARY}{secrets.token_hex(6)}", secrets.token_bytes(64)
    target.put(key, song)
    try:
        if target.get(key) != song or target.stat(key) != len(song):
            raise Failed(REFUSED, f"{target.name}: what was written is not what is read back")
        if not any(entry.key == key for entry in target.list(CANARY)):
            raise Failed(REFUSED, f"{target.name}: what was written does not stand in the listing")
        try:
            target.put(key, song, if_absent=True)
            conditional = False
        except Exists:
            conditional = True
    except BaseException:
        with suppress(Failed):
            target.delete(key)
        raise
    try:
        target.delete(key)
    except Failed:
        # A writer should not be able to delete; the pruner removes the canary.
        return Probe(conditional, deletes=False)
    return Probe(conditional, deletes=True)

"""What every target promises, and what they share: names of keys, and how often luck is tried."""

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

# Each object is one request, is held in memory whole, and is sent again whole when a line breaks.
LARGEST = 64 << 20
# What a key that is being written is called until it is whole; a listing tells of it, so that a sweep finds it.
PARTIAL = ".partial"
CANARY = "canary-"
PAUSES = (0.5, 1.0, 2.0, 4.0)
LONGEST = 60.0
"""Seconds after which nothing is tried again: a server may take half a minute for each refusal."""
SEGMENT = re.compile(r"[A-Za-z0-9._@+=,~%-]{1,200}")


class Exists(Failed):
    """A key that had to be absent is there; it was not touched."""


class Missing(Failed):
    """A key that had to be there is not."""


class Full(Failed):
    """There is no room left for what was to be written."""


class Entry(NamedTuple):
    """One line of a listing; `modified` is the target's own clock, in UTC."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Probe:
    """What a target was seen to do: refuse to replace a key, and delete one."""

    conditional: bool
    deletes: bool


class Room(NamedTuple):
    """What is free, where that is, and what makes more of it."""

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
        """The doors of the target that stay shut, where it has several."""

    def room(self) -> Room | None:
        """What is free there; None where nobody can tell."""

    def check_rules(self) -> None:
        """Refuses a target that would delete our objects, or keep us from deleting them, by itself."""


def checked(key: str) -> str:
    """The key, when it is one that is the same on every target: plain words between slashes."""
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
    """The error of a target that ran full while so many bytes were written to it."""
    why = f"{human(size)} were to be written"
    if room:
        why += f", {human(room.free)} are free in {room.place}"
    return Full(FAILED, f"{name}: it has no room left", why, hint or (room.hint if room else ""))


def with_patience(
    act: Callable[[], T], transient: Callable[[Exception], bool], pauses: tuple[float, ...] = PAUSES
) -> T:
    """Tries again a few times what failed by bad luck; the last failure is the caller's."""
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
        # A writer that may not delete is as it should be; the pruner sweeps the canary.
        return Probe(conditional, deletes=False)
    return Probe(conditional, deletes=True)

"""Folders for the clones of tests: each belongs to one run at a time."""

from __future__ import annotations

import fcntl
import os
from itertools import count
from pathlib import Path
from typing import TextIO

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stowage"
_HELD: dict[str, tuple[Path, TextIO]] = {}


def place(name: str) -> Path:
    """The folder NAME of the cache, or NAME-2 and so on while other runs of the tests have it; it is held until this process ends.

    The same place for the next run, which finds and clears away what a crashed one left. Two runs that shared one would
    remove each other's hosts.
    """
    if name not in _HELD:
        _HELD[name] = next(held for number in count(1) if (held := _hold(name if number == 1 else f"{name}-{number}")))
    return _HELD[name][0]


def _hold(name: str) -> tuple[Path, TextIO] | None:
    CACHE.mkdir(parents=True, exist_ok=True)
    lock = (CACHE / f"{name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return CACHE / name, lock

"""This checkout, and the names that belong to it: two clones on one machine never meet."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from converge.errors import Trouble
from lab.progress import long_work

ROOT = Path(__file__).resolve().parent.parent
INVENTORY = ROOT / "inventory"
EVERY_FAMILY = "stowage-"


def identity(name: str, root: Path = ROOT) -> str:
    """What the container, the volume and the drives of a host are called, on the Engine that all clones share."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name):
        raise Trouble(
            f"{name!r} cannot be the name of a lab host",
            why="a name is at most 20 lower-case letters, digits and -, from a letter",
            hint="inv lab.up --host lab2",
        )
    return f"{family(root)}-{name}"


def family(root: Path = ROOT) -> str:
    """The start of every identity of one checkout."""
    return f"{EVERY_FAMILY}{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"


def cache(*parts: str) -> Path:
    """A place outside the checkout for what is slow to make, by name and version."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(home, "stowage", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(what: str) -> Iterator[None]:
    """Only one lab of this machine at a time does `what`, such as choosing ports and loop devices or building images."""
    with cache(f"{what}.lock").open("w") as lock:
        with long_work(f"waiting for another lab's {what}"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield

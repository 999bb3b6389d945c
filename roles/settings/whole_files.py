"""Files on the operator's machine that a command writes: whole or not at all, and secrets for the operator alone."""

from __future__ import annotations

import os
import secrets as random
from pathlib import Path


def write_whole(path: Path, text: str, mode: int | None = None) -> None:
    """A file is there as it was, or as it is to be, whenever this is cut; a link stays one."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}~")
    kept = target.stat().st_mode & 0o777 if target.exists() else 0o644
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(kept if mode is None else mode)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def new_secret() -> str:
    return random.token_urlsafe(30)


def made_secret(root: Path, name: str) -> str:
    """Make a secret where there is none; return its path, or an empty text where it was there."""
    path = root / name
    if path.exists():
        return ""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, new_secret() + "\n", 0o600)
    return name

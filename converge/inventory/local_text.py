"""Files of this machine that are read whole: regular ones, up to a limit."""

from __future__ import annotations

import stat
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


class Unreadable(Exception):
    """Why a file gives no text."""


def place(base: Path, name: str) -> Path:
    """Where a name leads: from a folder, from the root, or from a home (`~`, `~ana`)."""
    try:
        return base / Path(name).expanduser()
    except RuntimeError:
        raise Unreadable(f"nobody here is named {name.partition('/')[0].lstrip('~')}") from None


def text_of(path: Path, limit: int) -> str:
    """The text of a file. Only a regular one is opened: a pipe may never end, and a device may do more than be read."""
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):
            raise Unreadable(f"it is {KINDS.get(stat.S_IFMT(kind), 'no file')}, not a file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from None
    if len(content) > limit:
        raise Unreadable(f"it is larger than {limit >> 10} KiB")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4]:
        raise Unreadable("it is UTF-16 text, not UTF-8")
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise Unreadable("it is not text (UTF-8)") from None

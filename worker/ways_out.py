"""What to type after a failed restore or drill: never a command that would fail again."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from worker.contract import Request
from worker.quoting import listed

IMAGE = "name an image that has it under images in the inventory, inv deploy, then the same again"
BY_WORDS = (
    ("No space left on device", "inv restore.cleanup, or a larger filesystem, then the same again"),
    ('role "', "CREATE ROLE for the one that is named, then the same again"),
    ("locale", IMAGE),
    ("could not access file", IMAGE),
    ("is not available", IMAGE),
    ("server closed the connection", "inv status, then the same again"),
    ("terminating connection", "inv status, then the same again"),
)
"""Messages of PostgreSQL or its tools, and their remedy."""
BY_HAND = "docs/restore-by-hand.md says how to load the set without Stowage, and leave out what does not work"


def command(set_id: str, request: Request, databases: Sequence[str] = ()) -> str:
    """The command of this restore, or of some databases of its set."""
    parts = ["inv restore", "FILE" if request.local or request.folder else set_id]
    if request.stack:
        parts += ["--of-stack", shlex.quote(request.stack)]
    if names := databases or request.databases:
        parts += ["--database", listed(names)]
    if request.new_name and not databases:
        parts += ["--as", shlex.quote(request.new_name)]
    if request.no_tablespaces:
        parts.append("--no-tablespaces")
    return " ".join(parts)


def ways_out(
    set_id: str,
    request: Request,
    names: Collection[str],
    failed: Collection[str],
    why: str,
    differs: bool = False,
) -> str:
    """The commands, a line each: to remove the cause, to avoid it, to restore the other databases, and to restore by hand."""
    same = command(set_id, request)
    lines = list(dict.fromkeys(way for text, way in BY_WORDS if text in why))
    if "ablespace" in why and not request.no_tablespaces:
        lines.append(f"{same} --no-tablespaces, which puts all tables where the server keeps its others")
    if differs:
        lines.append(f"{same} --accept-differences, which shows them and asks")
    if others := [name for name in names if name not in failed]:
        lines.append(f"{command(set_id, request, others)}, for what did not fail")
    return "\n".join([*lines, BY_HAND])

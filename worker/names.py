"""Names for a restored database: PostgreSQL accepts nearly any, but some are surely a mistake."""

from __future__ import annotations

import re

from worker.contract import RESTORE_REFUSED
from worker.errors import Failed

OURS = re.compile(r"__(?:r|old|undone)_[0-9a-f]{6}$")
"""The endings of names of databases that a restore makes."""
SERVERS_OWN = ("postgres", "template0", "template1")


def must_fit(name: str) -> None:
    """Refuses a name for a restored database that belongs to the server, ends like ours, or cannot be typed."""
    if name in SERVERS_OWN:
        what, why = f"{name} belongs to the server, and is never replaced", ""
    else:
        what, why = f"{name!r} can be no name of a restored database", _wrong(name)
        if not why:
            return
    raise Failed(RESTORE_REFUSED, what, why, "the same with another name: --as NAME")


def _wrong(name: str) -> str:
    if OURS.search(name):
        return "restores name so what they load or keep, and restore.cleanup drops that"
    if name != name.strip() or not name.isprintable():
        return "it begins or ends with a blank, or has a character that no screen shows"
    return "it begins with -, as the flags of commands do" if name.startswith("-") else ""

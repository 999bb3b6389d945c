"""Names that a restored database may get: PostgreSQL takes nearly any, and some of them nobody could mean."""

from __future__ import annotations

import re

from worker.contract import RESTORE_REFUSED
from worker.errors import Failed

OURS = re.compile(r"__(?:r|old|undone)_[0-9a-f]{6}$")
"""How the databases end that a restore makes beside others."""
SERVERS_OWN = ("postgres", "template0", "template1")


def must_fit(name: str) -> None:
    """Refuses a name for a restored database that is the server's, that ends like ours, or that nobody could type again."""
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

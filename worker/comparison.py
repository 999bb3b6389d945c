"""Where a database differs from what its set says, thing by thing, so that a person can accept one and no other."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from worker import postgres, snapshots
from worker.postgres import Row


class Difference(NamedTuple):
    """One thing that is other than in the set: its name, which stays the same in each try, and how it differs."""

    what: str
    how: str

    def __str__(self) -> str:
        return f"{self.what}: {self.how}"


def differences(wanted: Row, found: Row) -> list[Difference]:
    """Where two contents differ; versions of extensions are the image's matter."""
    rows = []
    for what in ("rows", "sequences"):
        for name in sorted({*wanted[what], *found[what]}):
            before, after = wanted[what].get(name, "absent"), found[what].get(name, "absent")
            if before != after:
                rows.append(Difference(f"{what} of {name}", f"{before} in the set, {after} here"))
    before, after = wanted["large_objects"], found["large_objects"]
    if before != after:
        rows.append(Difference("large objects", f"{before} in the set, {after} here"))
    if missing := sorted({*wanted["extensions"]} - {*found["extensions"]}):
        rows.append(Difference("extensions missing", ", ".join(missing)))
    return rows


def compared(session: postgres.Connection, wanted: Row) -> list[Difference]:
    """Where the database of a session, just loaded, differs from what its set says.

    A sequence goes back to its place first: what is made anew, such as a materialised view, may have counted on it.
    """
    found = snapshots.contents(session)
    moved = {name: place for name, place in wanted["sequences"].items() if place != found["sequences"].get(name, place)}
    for name, place in moved.items():
        if place is not None:
            session.execute("SELECT setval(%s::regclass, %s)", (name, place))
    if moved:
        found["sequences"] = snapshots.sequences(session)
    return differences(wanted, found)


def not_accepted(found: Iterable[Difference], accepted: Collection[str]) -> list[Difference]:
    """Those that nobody has accepted by name."""
    return [one for one in found if one.what not in accepted]


def told(found: Collection[Difference], most: int = 8) -> str:
    """The first of them, a line each, and how many more there are."""
    lines = [str(one) for one in found][:most]
    return "\n".join([*lines, *([f"and {len(found) - most} more"] if len(found) > most else [])])

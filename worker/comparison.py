"""The differences of a database from its set, one by one, so that a person can accept single ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from worker import postgres, snapshots
from worker.postgres import Row


class Difference(NamedTuple):
    """One difference from the set: its name, which is the same in each try, and how it differs."""

    what: str
    how: str

    def __str__(self) -> str:
        return f"{self.what}: {self.how}"


def differences(wanted: Row, actual: Row) -> list[Difference]:
    """The differences of two contents; versions of extensions are ignored, as the image decides them."""
    rows = []
    for what in ("rows", "sequences"):
        for name in sorted({*wanted[what], *actual[what]}):
            before, after = wanted[what].get(name, "absent"), actual[what].get(name, "absent")
            if before != after:
                rows.append(Difference(f"{what} of {name}", f"{before} in the set, {after} here"))
    before, after = wanted["large_objects"], actual["large_objects"]
    if before != after:
        rows.append(Difference("large objects", f"{before} in the set, {after} here"))
    if missing := sorted({*wanted["extensions"]} - {*actual["extensions"]}):
        rows.append(Difference("extensions missing", ", ".join(missing)))
    return rows


def compared(session: postgres.Connection, wanted: Row) -> list[Difference]:
    """The differences of a freshly loaded database from its set.

    Sequences are reset first: the refresh of a materialised view, for example, may have advanced them.
    """
    actual = snapshots.contents(session)
    moved = {
        name: place for name, place in wanted["sequences"].items() if place != actual["sequences"].get(name, place)
    }
    for name, place in moved.items():
        if place is not None:
            session.execute("SELECT setval(%s::regclass, %s)", (name, place))
    if moved:
        actual["sequences"] = snapshots.sequences(session)
    return differences(wanted, actual)


def not_accepted(differing: Iterable[Difference], accepted: Collection[str]) -> list[Difference]:
    """The differences that nobody has accepted by name."""
    return [difference for difference in differing if difference.what not in accepted]


def describe(differing: Collection[Difference], most: int = 8) -> str:
    """The first differences, a line each, and how many more there are."""
    lines = [str(difference) for difference in differing][:most]
    return "\n".join([*lines, *([f"and {len(differing) - most} more"] if len(differing) > most else [])])

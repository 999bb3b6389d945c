"""The swap of a service's folders: two renames each, on the host, while the service is stopped; the same for an undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from worker import host
from worker.errors import Failed

if TYPE_CHECKING:
    from worker.job import Job
    from worker.records import Record


class Swap(NamedTuple):
    """The live folder, its name after the swap, and the folder that takes its place."""

    live: str
    aside: str
    incoming: str


def swaps(record: Record, undoing: bool) -> list[Swap]:
    aside, incoming = ("undone", "old") if undoing else ("old", "r")
    return [Swap(folder, record.beside(folder, aside), record.beside(folder, incoming)) for folder in record.folders]


def swap(job: Job, record: Record, undoing: bool = False) -> None:
    for names in swaps(record, undoing):
        host.swap(job, *names)


def settled(job: Job, record: Record, remaining: list[str]) -> str:
    """Settles an interrupted run; gives its new phase. If all folders are swapped they stay so.

    Otherwise all are put back, and loaded ones are removed. Those that cannot be removed are added to `remaining`.
    """
    undoing, moved = record.phase == "undoing", record.phase in ("swapping", "undoing")
    rows = swaps(record, undoing)
    there = host.there(job, [path for row in rows for path in row]) if moved else set()
    if moved and all(row.live in there and row.aside in there and row.incoming not in there for row in rows):
        return "undone" if undoing else "done"
    for row in rows if moved else ():
        host.take_back(job, *row)
    if undoing:
        return "done"
    for row in rows:
        try:
            host.remove(job, row.incoming)
        except Failed as error:
            remaining.append(f"{error.what}, which a failed restore had loaded: {error.why}")
            job.journal.say(remaining[-1])
    return "failed"


def kept(record: Record) -> list[str]:
    """The folders that a restore and its undo have kept; those that a failed one had loaded."""
    kinds = ("r",) if record.phase == "failed" else ("old", "undone")
    return [record.beside(folder, kind) for folder in record.folders for kind in kinds]

"""Differences of a restored database from its set that a person accepts: only those that were shown, by name."""

from __future__ import annotations

from collections.abc import Container

from worker import comparison, sets
from worker.comparison import Difference
from worker.contract import RESTORE_FAILED, RESTORE_REFUSED
from worker.errors import Failed
from worker.job import Job
from worker.records import Record
from worker.ways_out import command, ways_out


def must_be_the_set(job: Job, manifest: sets.Manifest, record: Record) -> None:
    """Fails if anything differs from the set that was not shown and accepted."""
    accepted = job.request.accept
    failed = dict[str, list[Difference]]()
    for name, differences in record.differs.items():
        if wrong := comparison.not_accepted(differences, accepted.get(name, ())):
            failed[name] = wrong
        for difference in differences:
            if difference not in wrong:
                record.accepted.append(f"{name}: {difference}")
                job.journal.say(f"{name}, accepted: {difference}")
    if not failed:
        return
    why = "\n".join(comparison.describe(wrong) for wrong in failed.values())
    raise Failed(
        RESTORE_FAILED,
        f"{', '.join(failed)} would not be what the set says",
        why,
        ways_out(manifest.id, job.request, record.differs, failed, why, differs=True),
    )


def acceptable(job: Job, manifest: sets.Manifest, names: Container[str]) -> dict[str, list[Difference]]:
    """The differences that the last failed restore of this set found: only these can be accepted."""
    for record in reversed(Record.all()):
        differs = {name: rows for name, rows in record.differs.items() if rows and name in names}
        if differs and record.set == manifest.id and record.phase == "failed":
            return differs
    raise Failed(
        RESTORE_REFUSED,
        "there is nothing to accept",
        "no restore of this set has failed because something differs",
        command(manifest.id, job.request),
    )

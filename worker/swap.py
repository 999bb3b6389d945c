"""The swap of names in one transaction, its undo, and the end of what both have kept."""

from __future__ import annotations

from worker import configuration, containers, postgres
from worker.errors import OK, RESTORE_REFUSED, SWAP_FAILED, Failed
from worker.job import Job
from worker.postgres import Row
from worker.records import Record, open_again, take_back


def swap(job: Job, session: postgres.Connection, record: Record, scratch: dict[str, str], kept: dict[str, str]) -> int:
    """All names change in one transaction, with nobody in the databases; then what depends on them is started and asked."""
    oids = postgres.oids(session)
    there = [name for name in scratch if name in oids]
    record.live = {name: oids[name] for name in there}
    record.kept = {kept[name]: name for name in there}
    with job.journal.step("stop"):
        record.stopped = [
            name for name in job.config["dependents"] if containers.docker("ps", "-q", "-f", f"name=^{name}$")
        ]
        record.phase = "swapping"
        record.save()
        containers.stop(record.stopped)
    try:
        with job.journal.step("swap"), postgres.closed(session, there):
            postgres.rename(session, {name: kept[name] for name in there} | {two: one for one, two in scratch.items()})
    except BaseException:
        take_back(session, record)
        raise
    try:
        with job.journal.step("health"):
            for name in scratch:
                with job.server.connect(name) as inside:
                    inside.execute("SELECT 1")
    except Failed as error:
        raise Failed(
            SWAP_FAILED, "the swap is done, but a database does not answer", error.why, "inv restore.undo"
        ) from None
    with job.journal.step("start"):
        containers.start(record.stopped)
        record.stopped, record.phase = [], "done"
        record.save()
    for name in there:
        job.journal.say(f"{name} is the set's; what it was is kept as {kept[name]}")
    return OK


def undo(job: Job) -> int:
    """The last restore backwards; what it had brought is kept as well."""
    record = next((one for one in reversed(Record.all()) if one.phase == "done" and one.kept), None)
    if not record:
        raise Failed(RESTORE_REFUSED, "there is no restore to undo", hint="inv history")
    with job.server.connect() as session:
        oids = postgres.oids(session)
        if gone := [kept for kept, name in record.kept.items() if oids.get(kept) != record.live[name]]:
            raise Failed(RESTORE_REFUSED, f"{gone[0]} is not there any more", "it was cleaned up or renamed")
        names = list(record.kept.values())
        if found := postgres.obstacles(session, names):
            raise Failed(RESTORE_REFUSED, "the databases cannot be renamed", "; ".join(found))
        away = {name: postgres.beside(name, "undone", record.run[-6:]) for name in names}
        with job.journal.step("undo"):
            record.stopped = [
                name for name in job.config["dependents"] if containers.docker("ps", "-q", "-f", f"name=^{name}$")
            ]
            record.phase = "undoing"
            record.save()
            try:
                containers.stop(record.stopped)
                with postgres.closed(session, names):
                    postgres.rename(session, away | record.kept)
            finally:
                open_again(session, record)
    for name in names:
        job.journal.say(f"{name} is what it was; what the restore had brought is kept as {away[name]}")
    return OK


def leftovers(job: Job) -> list[Row]:
    """The databases that restores and undos have kept, with their size."""
    found = []
    with job.server.connect() as session:
        here = {one["name"]: one["bytes"] for one in postgres.databases(session)}
    for record in Record.all():
        for name in [*record.kept, *(postgres.beside(one, "undone", record.run[-6:]) for one in record.kept.values())]:
            if name in here:
                found.append({"name": name, "bytes": here[name], "restored": record.at})
    return found


def cleanup(job: Job) -> int:
    """Drops what restores have kept, and nothing else."""
    with job.journal.step("cleanup"), job.server.connect() as session:
        for one in leftovers(job):
            postgres.drop(session, one["name"])
            job.journal.say(f"dropped {one['name']}")
        configuration.clear()
        for record in Record.all():
            if record.phase in ("done", "undone", "failed"):
                record.phase = "cleaned"
                record.save()
    return OK

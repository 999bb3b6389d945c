"""Databases, folders and buckets that restores and undos have kept, and their cleanup."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress

from worker import configuration, folder_swap, host, postgres
from worker.buckets import takeback
from worker.contract import OK, RESTORE_FAILED
from worker.errors import Failed
from worker.job import Job
from worker.postgres import Row
from worker.records import Record


def find(job: Job) -> list[Row]:
    """The databases and folders that restores and undos have kept, or could not drop, with their size."""
    rows, here = list[Row](), dict[str, int]()
    if job.has_postgres:
        with job.server.connect() as session:
            here = {database["name"]: database["bytes"] for database in postgres.databases(session)}
    for record in Record.all():
        undropped = list(record.scratch) if record.phase == "failed" else []
        for name in [*record.kept, *_brought(record), *undropped]:
            if name in here:
                rows.append({"name": name, "bytes": here[name], "restored": record.at, "folder": False})
    at = {path: record.at for record in Record.all() for path in folder_swap.kept(record)}
    sizes = host.sizes(job, list(at))
    rows += [
        {
            "name": f"the way back of the bucket {name}",
            "bytes": size,
            "restored": past.at,
            "folder": False,
            "bucket": name,
            "run": past.run,
        }
        for past in Record.all()
        for name, size in takeback.leftovers(job, past).items()
    ]
    return rows + [{"name": path, "bytes": size, "restored": at[path], "folder": True} for path, size in sizes.items()]


def ours() -> set[str]:
    """The databases that restores and undos have made or kept. They allow no connections, and need no backup."""
    return {name for record in Record.all() for name in (*record.kept, *_brought(record), *record.scratch)}


def scratch() -> set[str]:
    """The databases that restores have loaded and not yet swapped, or could not drop: they need no backup."""
    return {name for record in Record.all() for name in record.scratch}


def _brought(record: Record) -> Iterator[str]:
    """The names of databases that an undo keeps. A name that is too long was never undone."""
    for name in record.kept.values():
        with suppress(Failed):
            yield postgres.beside(name, "undone", record.run[-6:])


def _session(job: Job) -> AbstractContextManager[postgres.Connection | None]:
    """A connection to the server, if the stack has one."""
    return job.server.connect() if job.has_postgres else nullcontext()


def cleanup(job: Job) -> int:
    """Drops only what restores have kept. One that cannot be dropped does not stop the others."""
    failed, stuck = dict[str, Failed](), set[str]()
    with job.journal.step("cleanup"), _session(job) as session:
        for row in find(job):
            try:
                if "bucket" in row:
                    record = next(record for record in Record.all() if record.run == row["run"])
                    takeback.forget(job, record, row["bucket"])
                elif row["folder"]:
                    host.remove(job, row["name"])
                elif session:
                    postgres.drop(session, row["name"])
                job.journal.say(f"dropped {row['name']}")
            except Failed as error:
                failed[row["name"]] = error
                stuck.add(row.get("run", ""))
        configuration.clear()
        for record in Record.all():
            record.left = [name for name in record.left if name in failed]
            # The way back of a bucket is found by its record.
            gone = record.phase in ("done", "undone") and record.run not in stuck
            record.phase = "cleaned" if gone else record.phase
            record.save()
    if failed:
        why = "\n".join(error.why or error.what for error in failed.values())
        ways = [way for error in failed.values() for way in error.hint.splitlines()]
        what = f"{', '.join(failed)} could not be dropped"
        raise Failed(RESTORE_FAILED, what, why, "\n".join([*ways, "then inv restore.cleanup"]))
    return OK

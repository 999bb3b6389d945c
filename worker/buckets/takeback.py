"""The way back of a restore of a bucket: exactly what it made is deleted, what it displaced is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from worker.buckets import inserting, listing, quiet, settings
from worker.buckets.client import Client, connect, path
from worker.buckets.flat import kept_bucket, put_back
from worker.buckets.live import at_once
from worker.buckets.made import Line
from worker.contract import OK, RESTORE_REFUSED
from worker.errors import Failed

if TYPE_CHECKING:
    from worker.job import Job
    from worker.records import Record

THREADS = 8


def settled(job: Job, record: Record) -> list[str]:
    """Brings a restore that failed, or an undo, to its end; gives what is left for a person to do."""
    minio, left = connect(job.config), list[str]()
    undoing = record.phase == "undoing"
    with ThreadPoolExecutor(THREADS, "undo") as pool:
        for line in at_once(pool, _tasks(minio, record)):
            if line:
                left.append(line)
    quiet.put_on(minio, record.bucket, record.held)
    if record.made_bucket:
        minio.ask("DELETE", path(record.bucket), may_fail=True)
    if not left:
        drop_kept(minio, record)
        record.made.remove()
    record.held, record.phase = {}, "undone" if undoing else "failed"
    record.save()
    for line in left:
        job.journal.say(line)
    return left


def _tasks(minio: Client, record: Record) -> Iterator[Callable[[], str]]:
    for line in record.made.lines():
        yield partial(_taken_back, minio, record, line)


def _taken_back(minio: Client, record: Record, line: Line) -> str:
    """One version; nothing when it is as it was, else why it is not."""
    try:
        if "etag" in line:
            return put_back(minio, record, line)
        if line.get("lock", {}).get("hold") == "ON":
            inserting.let_go(minio, record.bucket, line["key"], line["id"])
        inserting.delete(minio, record.bucket, line["key"], line["id"])
    except Failed as error:
        if not hasattr(error, "answer"):
            raise
        return f"{record.bucket}/{line['key']}, version {line.get('id', 'null')}, stays: {error.why}"
    return ""


def undo(job: Job, record: Record) -> int:
    """The last restore backwards; what writers have added since stays on top."""
    minio = connect(job.config)
    with job.journal.step("undo"):
        if record.bucket not in listing.names(minio):
            raise Failed(RESTORE_REFUSED, f"the bucket {record.bucket} is not there any more", "", "inv backup.list")
        record.held = quiet.acting(settings.read(minio, record.bucket))
        record.phase = "undoing"
        record.save()
        quiet.take_off(minio, record.bucket, record.held)
        settled(job, record)
    job.journal.say(f"the bucket {record.bucket} has no version of the restore any more")
    return OK


def drop_kept(minio: Client, record: Record) -> None:
    """Objects that were displaced, in a bucket of their own."""
    kept = kept_bucket(record.run)
    if kept in listing.names(minio):
        for one in listing.versions(minio, kept):
            inserting.delete(minio, kept, one.key, "")
        minio.ask("DELETE", path(kept))


def leftover(job: Job, record: Record) -> int | None:
    """The bytes of what a restore of a bucket displaced; None where nothing is kept of it, not even what it made."""
    if not record.made.path.exists() or record.phase not in ("done", "undone", "failed"):
        return None
    minio, kept = connect(job.config), kept_bucket(record.run)
    return sum(one.size for one in listing.versions(minio, kept)) if kept in listing.names(minio) else 0


def forget(job: Job, record: Record) -> None:
    """What it displaced goes, and the list of what it made: after that there is no undo."""
    drop_kept(connect(job.config), record)
    record.made.remove()

"""Takes a restore of buckets back: deletes exactly what it made, and puts displaced objects back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from worker.buckets import accounts, anew, configured, inserting, listing, quiet, settings
from worker.buckets.client import Client, connect, path
from worker.buckets.flat import put_back
from worker.buckets.live import at_once
from worker.buckets.made import Line
from worker.contract import OK, RESTORE_FAILED, RESTORE_REFUSED, SWAP_FAILED
from worker.errors import Failed

if TYPE_CHECKING:
    from worker.job import Job
    from worker.records import Record

THREADS = 8


def all_of(job: Job, record: Record) -> list[str]:
    """Takes back every bucket of a failed restore, or of an undo; one that cannot be taken back does not stop the others.

    Gives what is left for a person to do.
    """
    remaining, failed = list[str](), dict[str, Failed]()
    minio = connect(job.config)
    if record.accounts:
        accounts.remove(minio, record.accounts)
    for name in record.buckets:
        try:
            remaining += of_bucket(job, minio, record, name)
        except Failed as error:
            failed[name] = error
    if failed:
        why = "\n".join(f"{error.what}: {error.why}" if error.why else error.what for error in failed.values())
        what = f"what a restore has made in {', '.join(failed)} is not taken back"
        raise Failed(RESTORE_FAILED, what, why, "inv status, then inv backup.settle")
    return remaining


def of_bucket(job: Job, minio: Client, record: Record, name: str) -> list[str]:
    """Takes one bucket back; versions that could not be deleted are reported, and stay in the list of what was made."""
    state, made, remaining = record.buckets[name], record.made(name), list[str]()
    if name not in listing.names(minio):
        return []
    if state.get("configured"):
        configured.take_away(minio, name, state["configured"])
    if record.phase == "undoing":
        # An undo also restores the parts that wait for the cleanup, unless somebody has set others.
        state["held"] = state.get("waiting", {}) | quiet.acting(settings.read(minio, name)) | state["held"]
        record.save()
        quiet.take_off(minio, name, state["held"])
    with ThreadPoolExecutor(THREADS, "undo") as pool:
        total = sum(1 for _ in made.lines())
        for done, line in enumerate(at_once(pool, _tasks(job, minio, record, name)), 1):
            job.journal.progress(done, total, pieces="versions")
            if line:
                remaining.append(line)
    quiet.put_on(minio, name, state["held"])
    if state["made"]:
        minio.ask("DELETE", path(name), may_fail=True)
    if not remaining:
        drop_kept(minio, state["kept"])
        made.remove()
    state["held"] = state["waiting"] = state["configured"] = {}
    record.save()
    for line in remaining:
        job.journal.say(line)
    return remaining


def _tasks(job: Job, minio: Client, record: Record, bucket: str) -> Iterator[Callable[[], str]]:
    for line in anew.confirmed(record.made(bucket).lines()):
        yield partial(_taken_back, minio, bucket, record.buckets[bucket]["kept"], line, job.journal.piece)


def _taken_back(minio: Client, bucket: str, kept: str, line: Line, begins: Callable[[], None] = lambda: None) -> str:
    """Takes one version back; gives why it could not, or nothing."""
    begins()
    try:
        if "number" in line:
            return anew.in_doubt(minio, bucket, line)
        if "etag" in line:
            return put_back(minio, bucket, kept, line)
        if line["id"] == listing.NULL and "put" in line and not _is_ours(minio, bucket, line):
            return f"{bucket}/{line['key']} was written anew since the restore, and stays"
        if line.get("lock", {}).get("hold") == "ON":
            inserting.let_go(minio, bucket, line["key"], line["id"])
        inserting.delete(minio, bucket, line["key"], line["id"])
    except Failed as error:
        if not hasattr(error, "answer"):
            raise
        return f"{bucket}/{line['key']}, version {line.get('id', 'null')}, stays: {error.why}"
    return ""


def _is_ours(minio: Client, bucket: str, line: Line) -> bool:
    """Whether the object without an id is the restored one, or absent: an application may have replaced it."""
    there = [version for version in listing.of_key(minio, bucket, line["key"]) if version.id == listing.NULL]
    return all((version.etag, version.at) == (line["put"], line["at"]) for version in there)


def undo(job: Job, record: Record) -> int:
    """Undoes the last restore, of objects alone; later versions of applications stay on top."""
    gone = gone_since(job, record)
    with job.journal.step("undo"):
        if len(gone) == len(record.buckets):
            raise Failed(RESTORE_REFUSED, f"the bucket {gone[0]} is not there any more", "", "inv backup.list")
        record.phase = "undoing"
        record.save()
        try:
            all_of(job, record)
        except Failed as error:
            raise error.coded(SWAP_FAILED) from None
        record.phase = "undone"
        record.save()
    report(job, record, gone)
    return OK


def gone_since(job: Job, record: Record) -> list[str]:
    """The buckets of a restore that somebody has removed afterwards."""
    there = listing.names(connect(job.config)) if record.buckets else []
    return [name for name in record.buckets if name not in there]


def report(job: Job, record: Record, gone: list[str]) -> None:
    """What an undo did to each bucket."""
    for name in record.buckets:
        how = (
            "is not there any more: there was nothing to undo"
            if name in gone
            else "has no version of the restore any more"
        )
        job.journal.say(f"the bucket {name} {how}")


def drop_kept(minio: Client, kept: str) -> None:
    """Deletes the bucket of displaced objects."""
    if kept in listing.names(minio):
        for version in listing.versions(minio, kept):
            inserting.delete(minio, kept, version.key, "")
        minio.ask("DELETE", path(kept))


def leftovers(job: Job, record: Record) -> dict[str, int]:
    """The bytes of displaced objects, by bucket; a bucket of which nothing is kept is left out."""
    names = [name for name, state in record.buckets.items() if state.get("waiting") or record.made(name).path.exists()]
    if not names or record.phase not in ("done", "undone", "failed"):
        return {}
    minio, sizes = connect(job.config), dict[str, int]()
    there = listing.names(minio)
    for name in names:
        kept = record.buckets[name]["kept"]
        sizes[name] = sum(version.size for version in listing.versions(minio, kept)) if kept in there else 0
    return sizes


def forget(job: Job, record: Record, bucket: str) -> None:
    """Deletes displaced objects and the list of what was made, after which there is no undo; restores the waiting parts."""
    minio, state = connect(job.config), record.buckets[bucket]
    if state.get("waiting") and bucket in listing.names(minio):
        now = settings.read(minio, bucket)
        quiet.put_on(minio, bucket, {part: text for part, text in state["waiting"].items() if part not in now})
    drop_kept(minio, state["kept"])
    record.made(bucket).remove()
    state["waiting"] = {}
    record.save()

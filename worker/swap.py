"""The swap of names in one transaction, and its undo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import psycopg

from worker import containers, folder_swap, obstacles, postgres
from worker.buckets import accounts, takeback
from worker.contract import OK, RESTORE_FAILED, RESTORE_REFUSED, SWAP_FAILED
from worker.errors import Failed
from worker.job import Job
from worker.postgres import Row
from worker.records import Record
from worker.settling import end, settle

AFTER = "inv status; inv restore.undo swaps back"
NEXT = "inv backup: the next run puts this right before it begins"


class Objects(Protocol):
    """The objects that belong to the databases; they become current while the databases are closed."""

    def __bool__(self) -> bool: ...
    def show(self, together: bool) -> None: ...
    def ended(self) -> int: ...


def swap(
    job: Job,
    session: postgres.Connection,
    record: Record,
    scratch: dict[str, str],
    kept: dict[str, str],
    objects: Objects | None = None,
) -> int:
    """Renames all closed databases in one transaction and makes objects current; then starts and checks dependent containers.
    A failure before all objects are current takes everything back."""
    oids = postgres.oids(session)
    there = [name for name in scratch if name in oids]
    record.live = {name: oids[name] for name in there}
    record.kept = {kept[name]: name for name in there}
    try:
        with job.journal.step("stop"):
            stop(job, record, "swapping", job.config["dependents"])
        with job.journal.step("swap"), postgres.closed(session, there):
            if record.buckets:
                postgres.empty(session, list(scratch.values()))
            postgres.rename(
                session,
                {name: kept[name] for name in there} | {scratch_name: live for live, scratch_name in scratch.items()},
            )
        if record.buckets and objects:
            objects.show(together=True)
            record.phase = "current"
            record.save()
            for name in scratch:
                postgres.open_for_all(session, name, True)
    except BaseException as error:
        session.close()
        taken_back(job, record, error, committed="done")
        raise
    wrong = _after(job, record, list(scratch))
    for name in there:
        job.journal.say(f"{name} is what was restored; what it was is kept as {kept[name]}")
    ended = OK
    try:
        ended = objects.ended() if objects else OK
    except Failed as error:
        if not wrong:
            raise
        wrong.append(message(error))
    if wrong:
        raise Failed(SWAP_FAILED, "the swap is done, but something is wrong after it", "\n".join(wrong), AFTER)
    return ended


def stop(job: Job, record: Record, phase: str, names: Sequence[str]) -> None:
    """Stops the running containers; their names are recorded on disk before."""
    record.stopped = [name for name in names if containers.running(name)]
    record.phase = phase
    record.save()
    containers.stop(record.stopped)


def taken_back(job: Job, record: Record, error: BaseException, committed: str) -> None:
    """Returns when the swap is taken back; else raises Failed with the state."""
    try:
        settle(job, record)
    except BaseException as again:
        why = f"{message(error)}\nit could not be taken back: {message(again)}"
        raise Failed(SWAP_FAILED, _between(record), why, NEXT) from None
    if committed and record.phase == committed:
        # The connection may break after the commit, before its answer.
        raise Failed(SWAP_FAILED, "the names were changed, but the run did not go on", message(error), AFTER) from None
    if isinstance(error, psycopg.Error):
        # Opening the databases on the dead connection failed as well, and hides the first error.
        why = message(error.__context__ or error)
        raise Failed(
            RESTORE_FAILED, "PostgreSQL failed within the swap", why, "inv status, then the same again"
        ) from None


def _after(job: Job, record: Record, names: list[str]) -> list[str]:
    """The error after the commit. It does not take the swap back, and must not read as if it did."""
    wrong = []
    try:
        with job.journal.step("health"):
            for name in names:
                with job.server.connect(name) as inside:
                    inside.execute("SELECT 1")
    except BaseException as error:
        wrong.append(message(error))
    try:
        with job.journal.step("start"):
            wrong += end(job, record, "done")
    except BaseException as error:
        wrong.append(f"what depends on the databases may be stopped; the next run starts it: {message(error)}")
    return wrong


def _between(record: Record) -> str:
    if record.buckets:
        beside = ", databases be closed, and what depends on them stopped" if record.has_databases else ""
        names = ", ".join(record.buckets)
        return f"versions that the restore made may still stand in {names}, parts of their settings be off{beside}"
    if record.folders:
        return f"{', '.join(record.folders)} may be away under another name, and {record.service} stopped"
    return "databases may still be closed, and what depends on them stopped"


def cleared(job: Job, record: Record) -> None:
    """Drops what was loaded; if that fails, the restore's error is still the one to report."""
    try:
        settle(job, record)
    except (Failed, psycopg.Error, OSError) as error:
        job.journal.say(f"what was loaded is still there, and the next run drops it: {error}")


def message(error: BaseException) -> str:
    if isinstance(error, Failed):
        return f"{error.what}: {error.why}" if error.why else error.what
    return "stopped, as somebody asked" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def undoable(job: Job) -> Row:
    """The plan of an undo; nothing is changed."""
    record = _newest()
    number = record.run[-6:]
    rows = [
        {"name": name, "kept": kept, "away": postgres.beside(name, "undone", number)}
        for kept, name in record.kept.items()
    ]
    rows += [
        {"name": row.live, "kept": row.incoming, "away": row.aside} for row in folder_swap.swaps(record, undoing=True)
    ]
    return {
        "run": record.run,
        "set": record.set,
        "restored": record.at,
        "databases": rows,
        "buckets": list(record.buckets),
        "accounts": accounts.lines(record.accounts),
    }


def _newest() -> Record:
    """The newest restore that replaced something; refused if it cannot be undone.

    Never an older one: a person who types undo now does not mean that.
    """
    came = ("swapping", "done", "undoing", "undone", "cleaned")
    records = [
        candidate
        for candidate in Record.all()
        if candidate.phase in came and (candidate.kept or candidate.folders or candidate.buckets)
    ]
    record = records[-1] if records else Record("", "", "")
    if record.phase in ("swapping", "done", "undoing"):
        return record
    reason = "was undone already" if record.phase == "undone" else "was cleaned up: what it had replaced was dropped"
    raise Failed(
        RESTORE_REFUSED,
        "there is no restore to undo",
        f"the newest, of {record.set}, begun {moment(record.at)}, {reason}" if record.run else "there was none yet",
        "inv restore.cleanup says what earlier restores have kept",
    )


def moment(at: str) -> str:
    return f"{at[:16].replace('T', ' ')} UTC"


def undo(job: Job) -> int:
    """Undoes the last restore; the restored databases are kept as well."""
    record = _newest()
    if job.request.of not in ("", record.run):
        raise Failed(
            RESTORE_REFUSED,
            f"the newest restore is that of {record.set}, begun {moment(record.at)}",
            "it is not the one that was shown",
            "inv restore.undo",
        )
    if record.buckets and not record.kept:
        return takeback.undo(job, record)
    if record.folders:
        from worker import folder_restore  # imported here, as it imports this module

        return folder_restore.undo(job, record)
    gone_buckets = takeback.gone_since(job, record)
    with job.server.connect() as session:
        oids = postgres.oids(session)
        if gone := [kept for kept, name in record.kept.items() if oids.get(kept) != record.live[name]]:
            raise Failed(RESTORE_REFUSED, f"{gone[0]} is not there any more", "it was cleaned up or renamed")
        names = list(record.kept.values())
        if held := obstacles.find(session, names):
            ways = "\n".join([*obstacles.ways(held, session.info.user), "then the same again"])
            raise Failed(RESTORE_REFUSED, "the databases cannot be renamed", "; ".join(obstacles.describe(held)), ways)
        away = {name: postgres.beside(name, "undone", record.run[-6:]) for name in names}
        try:
            with job.journal.step("undo"):
                stop(job, record, "undoing", job.config["dependents"])
                with postgres.closed(session, names):
                    postgres.rename(session, away | record.kept)
        except BaseException as error:
            session.close()
            taken_back(job, record, error, committed="undone")
            raise
    try:
        wrong = settle(job, record)
    except BaseException as error:
        why = f"{_between(record)}: {message(error)}"
        raise Failed(SWAP_FAILED, "the undo is done, but something is wrong after it", why, NEXT) from None
    for name in names:
        job.journal.say(f"{name} is what it was; what the restore had brought is kept as {away[name]}")
    takeback.report(job, record, gone_buckets)
    if wrong:
        raise Failed(SWAP_FAILED, "the undo is done, but something is wrong after it", "\n".join(wrong), "inv status")
    return OK

"""Settles interrupted runs: scratch databases are dropped, closed databases are opened, containers that were stopped start."""

from __future__ import annotations

import time
from contextlib import suppress

import psycopg
from psycopg import sql

from worker import answering, containers, folder_swap, postgres
from worker.buckets import takeback
from worker.contract import OK, RESTORE_FAILED
from worker.errors import Failed
from worker.job import Job
from worker.records import Record

PACKED = "packed"
CUT = dict.fromkeys(("begun", "loaded", "swapping", "current"), "the restore") | {
    "undoing": "the undo of",
    "packing": "the backup",
}
"""The phases that no record may stay in, and what was interrupted."""
ENDS = dict.fromkeys(("begun", "loaded", "swapping"), "failed") | {"current": "done", "undoing": "undone"}
"""The final phase of an interrupted restore of objects alone."""
PATIENCE, PAUSE = 60, 2
"""Seconds for a server to come back, and seconds between two tries."""


def recover(job: Job) -> None:
    """Settles what interrupted runs left. The caller holds the lock, so no other run is active."""
    containers.remove()
    job.sweep()
    for record in Record.all():
        if record.phase in CUT:
            what = CUT[record.phase]
            _stopped_for_good(job, record.stopped)
            settle(job, record)
            how = "what it had stopped is started" if record.phase == PACKED else record.phase
            job.journal.say(f"{what} {record.run} had been cut: {how}")
        elif record.left:
            _dropped_at_last(job, record)


def _dropped_at_last(job: Job, record: Record) -> None:
    """Drops what could not be dropped before; the reasons have been reported."""
    with suppress(Failed, psycopg.Error), job.server.connect() as session:
        _drop(session, record)
        record.save()


def must_be_settled(job: Job) -> int:
    """Fails while something of interrupted runs remains, and says what a person has to do."""
    if not (records := [record for record in Record.all() if record.left]):
        return OK
    with job.server.connect() as session:
        stuck = {name: why for record in records for name, why in _drop(session, record).items()}
    if not stuck:
        return OK
    why = "\n".join(error.why for error in stuck.values())
    ways = [way for error in stuck.values() for way in error.hint.splitlines()]
    what = f"{', '.join(stuck)}, which a failed restore had loaded, could not be dropped"
    raise Failed(RESTORE_FAILED, what, why, "\n".join([*ways, "then inv backup.settle"]))


def _stopped_for_good(job: Job, names: list[str]) -> None:
    """Stops the containers again: Docker continues the stop of a killed run, and a start before its end would do nothing."""
    if running := [name for name in names if containers.docker("ps", "-q", "-f", f"name=^{name}$")]:
        job.journal.say(
            f"{', '.join(running)}: a stop of a run that was cut may not be over; ended, then started again"
        )
        with suppress(Failed):  # a container that cannot be stopped is started like the others
            containers.stop(running)


def settle(job: Job, record: Record) -> list[str]:
    """Settles one record, on a new connection: that of the swap may be dead.

    Waits for a server that restarts. Gives what is left for a person to do.
    """
    if record.phase not in CUT:
        return []
    if record.phase == "packing":
        return end(job, record, PACKED)
    if record.folders:
        stuck = list[str]()
        phase = folder_swap.settled(job, record, stuck)
        return stuck + end(job, record, phase)
    remaining = list[str]()
    phase = _of_databases(job, record, remaining) if record.has_databases else ENDS[record.phase]
    if phase in ("failed", "undone") and (record.buckets or record.accounts):
        remaining += takeback.all_of(job, record)
    return remaining + end(job, record, phase)


def _of_databases(job: Job, record: Record, remaining: list[str]) -> str:
    """Settles the names of databases; gives the new phase."""
    decide = {"undoing": open_again, "current": open_restored}.get(record.phase, take_back)
    until, waits = time.monotonic() + PATIENCE, False
    while True:
        try:
            with job.server.connect() as session:
                phase = decide(session, record, remaining)
            break
        except (Failed, psycopg.OperationalError, psycopg.InterfaceError):
            if time.monotonic() > until:
                raise
            if not waits:
                job.journal.say(f"PostgreSQL does not answer; it is asked again for {PATIENCE} s")
            waits = True
            time.sleep(PAUSE)
    for line in remaining:
        job.journal.say(line)
    return phase


def end(job: Job, record: Record, phase: str) -> list[str]:
    """Starts stopped containers, saves the phase, and waits until they answer. One that does not is reported: it must
    not block every later run, which could not start it either.
    """
    silent, stopped = containers.start(record.stopped), record.stopped
    record.stopped, record.phase = [], phase
    if phase == PACKED:
        record.path.unlink(missing_ok=True)  # the record only had containers
    else:
        record.save()
    lines = [
        f"{name} was stopped and does not start, mend it, then `docker start {name}` on the host: {why}"
        for name, why in silent.items()
    ]
    # Services whose folders were copied or restored are asked by those who stopped them.
    if phase != PACKED and not record.folders:
        lines += answering.silent(job, [name for name in stopped if name not in silent])
    for line in lines:
        job.journal.say(line)
    return lines


def take_back(session: postgres.Connection, record: Record, remaining: list[str]) -> str:
    """Opens closed databases and drops loaded ones, unless the names have changed; gives the new phase.

    If objects belong to it and are not current yet, the names change back: the restored databases were never open.
    What cannot be dropped is added to `remaining`, with the reason: it must not block the live databases or later runs.
    """
    oids = postgres.oids(session)
    if record.phase == "swapping" and _swapped(oids, record):
        if not record.buckets:
            return "done"
        postgres.empty(session, list(record.scratch.values()))
        away = {name: scratch for scratch, name in record.scratch.items()}
        postgres.rename(session, away | record.kept)
        oids = postgres.oids(session)
    for name in record.live:
        if oids.get(name) == record.live[name]:
            postgres.open_for_all(session, name, True)
    remaining += [
        f"{name}, which a failed restore had loaded, could not be dropped: {error.why}; inv backup.settle says what ends that"
        for name, error in _drop(session, record).items()
    ]
    _drop_roles(session, record.roles)
    return "failed"


def _drop(session: postgres.Connection, record: Record) -> dict[str, Failed]:
    """Drops what a restore had loaded; gives what could not be dropped, why, and the remedy."""
    stuck = dict[str, Failed]()
    for name in record.scratch:
        try:
            postgres.drop(session, name)
        except (Failed, psycopg.Error) as error:
            if session.broken or session.closed:
                raise
            stuck[name] = error if isinstance(error, Failed) else Failed(RESTORE_FAILED, name, str(error).strip())
    record.left = list(stuck)
    return stuck


def _swapped(oids: dict[str, int], record: Record) -> bool:
    """Whether the swap was committed. Absent scratch names are no proof: a take-back may have been interrupted, too."""
    return (
        not set(record.scratch) & set(oids)
        and set(record.scratch.values()) <= set(oids)
        and all(oids[name] != oid for name, oid in record.live.items())
    )


def open_again(session: postgres.Connection, record: Record, remaining: list[str]) -> str:
    """Opens the databases with the live names, whether or not the swap happened."""
    oids = postgres.oids(session)
    for name in record.live:
        if name in oids:
            postgres.open_for_all(session, name, True)
    return "undone" if all(oids.get(name) == oid for name, oid in record.live.items()) else "done"


def open_restored(session: postgres.Connection, record: Record, remaining: list[str]) -> str:
    """Opens the restored databases, which were closed until the objects were current."""
    oids = postgres.oids(session)
    for name in record.scratch.values():
        if name in oids:
            postgres.open_for_all(session, name, True)
    return "done"


def _drop_roles(session: postgres.Connection, names: list[str]) -> None:
    """Drops roles that the failed restore had made; a role that owns something stays.

    A role that granted a membership can only be dropped after the member.
    """
    pending = list(names)
    while stuck := [name for name in pending if not _drop_role(session, name)]:
        if len(stuck) == len(pending):
            return
        pending = stuck


def _drop_role(session: postgres.Connection, name: str) -> bool:
    try:
        session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    except psycopg.Error:
        return False
    return True

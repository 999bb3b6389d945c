"""What restores made and moved, on disk before it happens, so that the next run can clear away what a cut one left.

Scratch databases go, databases that were closed are opened, containers that were stopped start.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from worker import containers, postgres
from worker.job import STATE, Job

RECORDS = STATE / "restores"


@dataclass
class Record:
    """What a restore made and moved, by name and oid; on disk before it happens."""

    run: str
    set: str
    at: str
    scratch: dict[str, str] = field(default_factory=dict)
    """Final name by scratch name."""
    live: dict[str, int] = field(default_factory=dict)
    """The oid of every database that is replaced."""
    kept: dict[str, str] = field(default_factory=dict)
    """Final name by the name under which the replaced database is kept."""
    stopped: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    phase: str = "begun"
    """begun, loaded, swapping, done, undoing, undone, cleaned, or failed"""

    def save(self) -> None:
        RECORDS.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = RECORDS / f"{self.run}.json"
        unfinished = path.with_suffix(".new")
        with unfinished.open("w") as file:
            json.dump(self.__dict__, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync(RECORDS)

    @classmethod
    def all(cls) -> list[Record]:
        """The oldest first."""
        return [cls(**json.loads(path.read_text())) for path in sorted(RECORDS.glob("*.json"))]


def sync(folder: Path) -> None:
    """A new name is lost in a power cut until its directory is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recover(job: Job) -> None:
    """Brings to an end what a cut run left. The lock says that none is running."""
    containers.remove()
    job.sweep()
    for record in Record.all():
        if record.phase in ("begun", "loaded", "swapping"):
            with job.server.connect() as session:
                take_back(session, record)
            job.journal.say(f"the restore {record.run} had been cut: {record.phase}")
        elif record.phase == "undoing":
            with job.server.connect() as session:
                open_again(session, record)
            job.journal.say(f"the undo of {record.run} had been cut: {record.phase}")


def take_back(session: postgres.Connection, record: Record) -> None:
    oids = postgres.oids(session)
    # The swap is one transaction, and after it no scratch name is left.
    if record.phase == "swapping" and not set(record.scratch) & set(oids):
        record.phase = "done"
    else:
        for name in record.scratch:
            postgres.drop(session, name)
        for name in record.live:
            if oids.get(name) == record.live[name]:
                postgres.open_for_all(session, name, True)
        _drop_roles(session, record.roles)
        record.phase = "failed"
    containers.start(record.stopped)
    record.stopped = []
    record.save()


def open_again(session: postgres.Connection, record: Record) -> None:
    """The names changed, or they did not; either way the databases that have them were closed."""
    oids = postgres.oids(session)
    for name in record.live:
        if name in oids:
            postgres.open_for_all(session, name, True)
    record.phase = "undone" if all(oids.get(name) == oid for name, oid in record.live.items()) else "done"
    containers.start(record.stopped)
    record.stopped = []
    record.save()


def _drop_roles(session: postgres.Connection, names: list[str]) -> None:
    """Roles that only the failed restore had made; one that owns something by now stays."""
    for name in names:
        with suppress(psycopg.Error):
            session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

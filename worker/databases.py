"""Saves all databases of a server into a set, some at a time. One failure costs one database."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from worker import containers, leftovers, omissions, postgres, roles, sets, snapshots
from worker.contract import FAILED, INCOMPLETE
from worker.dumps import AT_ONCE, MOMENTS, Dump, dump_of, groups
from worker.errors import Failed
from worker.job import Job
from worker.postgres import Row
from worker.quoting import ident, on_host
from worker.size import human

GLOBALS, ROLES = "pg/globals.sql", "pg/roles.json"
LOCKS = "max_locks_per_transaction"
WAYS_OUT = (
    (
        LOCKS,
        "postgres: {settings: {max_locks_per_transaction: 1024}} in the inventory, inv postgres",
    ),
    ("invalid database", "a DROP DATABASE of it was cut off; once more, on the host: {drop}"),
    ("remaining connection slots", "raise postgres.settings.max_connections"),
    ("too many clients", "raise postgres.settings.max_connections"),
)
"""Messages of PostgreSQL or its tools, and their remedy."""
Streams = dict[str, tuple[sets.Part, ...]]


@dataclass
class Databases:
    """The result for each database."""

    server: Row = field(default_factory=dict)
    saved: dict[str, Row] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    omitted: list[Row] = field(default_factory=list)


def incomplete(failed: Mapping[str, Failed]) -> Failed:
    """The error for a set that lacks these databases, folders and buckets. A reason that many share is said once."""
    sharing = dict[str, list[str]]()
    for name, error in failed.items():
        sharing.setdefault(f"{error.what}: {error.why}", []).append(name)
    why = "\n".join(f"{', '.join(names)}: {reason}" for reason, names in sharing.items())
    hints = dict.fromkeys(error.hint for error in failed.values() if error.hint)
    return Failed(
        INCOMPLETE, f"the set was published without {', '.join(failed)}", why, "; ".join(hints) or "inv backup"
    )


def save(job: Job, writer: sets.PartWriter, streams: Streams, previous: sets.Manifest | None) -> Databases:
    """Saves every database with counts of the same snapshot; the snapshots of a server are at most seconds apart."""
    tools, databases, scratch = job.tools(FAILED), Databases(), leftovers.scratch()
    with job.server.connect() as session:
        every = [database for database in postgres.databases(session) if database["name"] not in scratch]
        catalog = {database["name"]: database for database in every if database["open"]}
        server = session.execute(
            "SELECT version() AS version, system_identifier::text AS system FROM pg_control_system()"
        ).fetchone()
        who = session.execute(roles.QUERY).fetchall()
        databases.omitted = omissions.find(session)
    databases.server = {**(server or {}), "major": job.postgres["major"]}
    kept = leftovers.ours()
    job.closed = databases.closed = {
        database["name"]: "it lets nobody in (ALLOW_CONNECTIONS false)"
        for database in every
        if not database["open"] and database["name"] not in kept
    }
    for name, why in databases.closed.items():
        job.journal.say(f"{name} is left out: {why}")
    for line in omissions.lines(omissions.names(databases.omitted)):
        job.journal.say(f"a restore leaves out {line}")
    names, saving = list(catalog), _Saving(job, writer, tools, streams, databases)
    for at in range(0, len(names), MOMENTS):
        saving.save({name: catalog[name] for name in names[at : at + MOMENTS]})
    for name in dict.fromkeys([*databases.saved, *(previous.databases if previous else ())]):
        now, last = (_dumped(saved, name) for saved in (databases.saved, previous.databases if previous else {}))
        if name not in databases.failed and (error := shrunk(job, now, last, previous, "its dump")):
            databases.saved.pop(name, None)
            databases.failed[name] = error
    for name, error in databases.failed.items():
        streams.pop(dump_of(name), None)
        job.journal.say(f"{name} could not be saved: {error.what}: {error.why}")
    if catalog and not databases.saved:
        lacking = incomplete(databases.failed)
        raise Failed(FAILED, "no database could be saved", lacking.why, lacking.hint)
    with job.journal.step("globals"):
        # Into a file: the log would mix its warnings into the statements, and lose bytes that are no text.
        path = job.staging / "globals.sql"
        tools.call("globals", "pg_dumpall", "--globals-only", "-f", str(path))
        texts = {GLOBALS: path.read_bytes(), ROLES: json.dumps(who, default=str).encode()}
        texts[omissions.STREAM] = omissions.packed(databases.omitted)
        for stream, content in texts.items():
            streams[stream] = tuple(writer.write(stream, [content]))
    return databases


@dataclass(frozen=True)
class _Saving:
    """Saves databases and records the result for each."""

    job: Job
    writer: sets.PartWriter
    tools: containers.Tools
    streams: Streams
    databases: Databases

    def save(self, catalog: dict[str, Row]) -> None:
        """Dump some databases; those that found the server's lock table full again, each alone.

        A database with very many tables fills the lock table for all others.
        """
        self._together(catalog)
        failed = self.databases.failed
        crowded = [name for name in catalog if name in failed and LOCKS in failed[name].hint]
        for name in crowded if len(catalog) > 1 else ():
            self.job.journal.say(f"{name}: the server had no room for more locks, dumping it again, alone")
            del failed[name]
            self._together({name: catalog[name]})

    def _together(self, catalog: dict[str, Row]) -> None:
        """Dump databases as of one moment, verify the dumps, and store them."""
        moments: dict[str, snapshots.Snapshot] = {}
        with self.job.journal.step("snapshot"):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                opened = {name: pool.submit(snapshots.snapshot, self.job.server, name) for name in catalog}
            for name, moment in opened.items():
                with self._by_itself(name):
                    moments[name] = moment.result()
            self.job.journal.say(f"{len(moments)} databases as they are now")
        try:
            for group in groups({name: catalog[name]["bytes"] for name in moments}):
                self._dump([Dump(self.job, self.tools, catalog[name], moments[name]) for name in group])
        finally:
            for held in moments.values():
                held.close()

    def _dump(self, dumps: list[Dump]) -> None:
        failed = self.databases.failed
        with ThreadPoolExecutor(min(AT_ONCE, len(dumps))) as pool:
            with self.job.journal.step("dump"):
                self.job.journal.say(f"dumping {', '.join(dump.name for dump in dumps)}")
                made = {dump: pool.submit(dump.make) for dump in dumps}
                for dump, written in made.items():
                    with self._by_itself(dump.name):
                        written.result()
                    if dump.name in failed:  # frees room for the others
                        shutil.rmtree(dump.folder, ignore_errors=True)
            with self.job.journal.step("check"):
                sent = {dump: pool.submit(dump.check, self.writer) for dump in dumps if dump.name not in failed}
                for dump, stored in sent.items():
                    with self._by_itself(dump.name):
                        self.streams[dump_of(dump.name)], contents = stored.result()
                        self.databases.saved[dump.name] = dump.database | contents

    def _by_itself(self, name: str) -> AbstractContextManager[None]:
        return by_itself(name, self.writer, self.databases, self.job.server.user)


@contextmanager
def by_itself(name: str, writer: sets.PartWriter, databases: Databases, user: str = "postgres") -> Iterator[None]:
    """Records the failure of one database and goes on, unless no target is left."""
    try:
        yield
    except (Failed, psycopg.Error, OSError, UnicodeError) as error:
        if not writer.alive:
            raise
        why = f"{error.what}: {error.why}".removesuffix(": ") if isinstance(error, Failed) else str(error).strip()
        hint = next((way for text, way in WAYS_OUT if text in why), error.hint if isinstance(error, Failed) else "")
        # libpq repeats the address of a refused connection four times; the last line has the reason.
        why = why.rpartition("FATAL:  ")[2].partition("\nHINT:")[0] or type(error).__name__
        drop = on_host(user, f"DROP DATABASE {ident(name)}")
        databases.failed[name] = Failed(FAILED, "it could not be dumped", why, hint.replace("{drop}", drop))


def _dumped(databases: Mapping[str, Mapping[str, Any]], name: str) -> int:
    return int(databases.get(name, {}).get("dump_bytes", 0))


def shrunk(job: Job, now: int, before: int, previous: sets.Manifest | None, what: str) -> Failed | None:
    """The failure of something that is gone, or lost half of its bytes since the last set, unless that was accepted."""
    if job.request.accept_shrink or before <= 1 << 20 or now >= before / 2:
        return None
    loss = f"{what} is less than half of the last one" if now else f"{what} is gone, or empty"
    why = f"{human(now)}, {human(before)} in {previous.id if previous else ''}"
    return Failed(FAILED, loss, why, "when that is right: inv backup --accept-shrink")

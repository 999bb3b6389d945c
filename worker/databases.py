"""All databases of a server in one set, some at a time. One that fails costs only itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from worker import containers, omissions, postgres, roles, sets, swap
from worker.dumps import AT_ONCE, MOMENTS, Dump, dump_of, groups
from worker.errors import FAILED, INCOMPLETE, Failed
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
"""What PostgreSQL or its tools say, and what mends it."""
Streams = dict[str, tuple[sets.Part, ...]]


@dataclass
class Databases:
    """What became of each database. One that fails costs only itself."""

    server: Row = field(default_factory=dict)
    saved: dict[str, Row] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    omitted: list[Row] = field(default_factory=list)

    def incomplete(self) -> Failed:
        names = ", ".join(self.failed)
        why = "\n".join(f"{name}: {error.what}: {error.why}" for name, error in self.failed.items())
        hints = dict.fromkeys(error.hint for error in self.failed.values() if error.hint)
        return Failed(INCOMPLETE, f"the set was published without {names}", why, "; ".join(hints) or "inv backup")


def save(job: Job, writer: sets.PartWriter, streams: Streams, previous: sets.Manifest | None) -> Databases:
    """Database after database, each with its counts from the very same moment; those of a server at most seconds apart."""
    tools, found, scratch = job.tools(FAILED), Databases(), swap.scratch()
    with job.server.connect() as session:
        every = [one for one in postgres.databases(session) if one["name"] not in scratch]
        catalog = {one["name"]: one for one in every if one["open"]}
        told = session.execute(
            "SELECT version() AS version, system_identifier::text AS system FROM pg_control_system()"
        ).fetchone()
        who = session.execute(roles.FOUND).fetchall()
        found.omitted = omissions.found(session)
    found.server = {**(told or {}), "major": job.config["postgres"]["major"]}
    kept = swap.ours()
    job.closed = found.closed = {
        one["name"]: "it lets nobody in (ALLOW_CONNECTIONS false)"
        for one in every
        if not one["open"] and one["name"] not in kept
    }
    for name, why in found.closed.items():
        job.journal.say(f"{name} is left out: {why}")
    for line in omissions.lines(omissions.names(found.omitted)):
        job.journal.say(f"a restore leaves out {line}")
    names = list(catalog)
    for at in range(0, len(names), MOMENTS):
        _some(job, writer, tools, {name: catalog[name] for name in names[at : at + MOMENTS]}, streams, found)
    for name in dict.fromkeys([*found.saved, *(previous.databases if previous else ())]):
        if name not in found.failed and (error := _shrunk(job, name, found.saved.get(name), previous)):
            found.saved.pop(name, None)
            found.failed[name] = error
    for name, error in found.failed.items():
        streams.pop(dump_of(name), None)
        job.journal.say(f"{name} could not be saved: {error.what}: {error.why}")
    if catalog and not found.saved:
        raise Failed(FAILED, "no database could be saved", found.incomplete().why, found.incomplete().hint)
    with job.journal.step("globals"):
        # Into a file: its warnings would stand between the statements, and bytes that are no text would be lost.
        path = job.staging / "globals.sql"
        tools.call("globals", "pg_dumpall", "--globals-only", "-f", str(path))
        texts = {GLOBALS: path.read_bytes(), ROLES: json.dumps(who, default=str).encode()}
        texts[omissions.STREAM] = omissions.packed(found.omitted)
        for stream, content in texts.items():
            streams[stream] = tuple(writer.write(stream, [content]))
    return found


def _some(
    job: Job,
    writer: sets.PartWriter,
    tools: containers.Tools,
    catalog: dict[str, Row],
    streams: Streams,
    found: Databases,
) -> None:
    """Some databases; those that had no room in the server's table of locks once more, each alone.

    One with too many tables fills that table for all who need locks at the same time.
    """
    _together(job, writer, tools, catalog, streams, found)
    crowded = [name for name in catalog if name in found.failed and LOCKS in found.failed[name].hint]
    for name in crowded if len(catalog) > 1 else ():
        job.journal.say(f"{name}: the server had no room for more locks, dumping it again, alone")
        del found.failed[name]
        _together(job, writer, tools, {name: catalog[name]}, streams, found)


def _together(
    job: Job,
    writer: sets.PartWriter,
    tools: containers.Tools,
    catalog: dict[str, Row],
    streams: Streams,
    found: Databases,
) -> None:
    """Some databases as they are at one moment, dumped, read to their end and stored."""
    moments: dict[str, postgres.Snapshot] = {}
    with job.journal.step("snapshot"):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            opened = {name: pool.submit(postgres.snapshot, job.server, name) for name in catalog}
        for name, moment in opened.items():
            with by_itself(name, writer, found, job.server.user):
                moments[name] = moment.result()
        job.journal.say(f"{len(moments)} databases as they are now")
    try:
        for group in groups({name: catalog[name]["bytes"] for name in moments}):
            dumps = [Dump(job, tools, catalog[name], moments[name]) for name in group]
            with ThreadPoolExecutor(min(AT_ONCE, len(dumps))) as pool:
                with job.journal.step("dump"):
                    job.journal.say(f"dumping {', '.join(group)}")
                    made = {one: pool.submit(one.make) for one in dumps}
                    for one, dumped in made.items():
                        with by_itself(one.name, writer, found, job.server.user):
                            dumped.result()
                        if one.name in found.failed:  # the others need the room
                            shutil.rmtree(one.folder, ignore_errors=True)
                with job.journal.step("check"):
                    sent = {one: pool.submit(one.check, writer) for one in dumps if one.name not in found.failed}
                    for one, stored in sent.items():
                        with by_itself(one.name, writer, found, job.server.user):
                            streams[dump_of(one.name)], contents = stored.result()
                            found.saved[one.name] = one.database | contents
    finally:
        for held in moments.values():
            held.close()


@contextmanager
def by_itself(name: str, writer: sets.PartWriter, found: Databases, user: str = "postgres") -> Iterator[None]:
    """What goes wrong with one database is that one's failure, unless there is no target left to write to."""
    try:
        yield
    except (Failed, psycopg.Error, OSError, UnicodeError) as error:
        if not writer.alive:
            raise
        why = f"{error.what}: {error.why}".removesuffix(": ") if isinstance(error, Failed) else str(error).strip()
        hint = next((way for words, way in WAYS_OUT if words in why), error.hint if isinstance(error, Failed) else "")
        # Of a connection that is refused libpq says four times where to; what counts comes last, and its hint is ours.
        why = why.rpartition("FATAL:  ")[2].partition("\nHINT:")[0] or type(error).__name__
        drop = on_host(user, f"DROP DATABASE {ident(name)}")
        found.failed[name] = Failed(FAILED, "it could not be dumped", why, hint.replace("{drop}", drop))


def _shrunk(job: Job, name: str, now: Row | None, previous: sets.Manifest | None) -> Failed | None:
    """A database that is gone, or lost half of its dump since the last set, is a fault until somebody says that it is none."""
    before = previous.databases.get(name, {}).get("dump_bytes", 0) if previous else 0
    size = now["dump_bytes"] if now else 0
    if job.request.get("accept_shrink") or before <= 1 << 20 or size >= before / 2:
        return None
    what = "its dump is less than half of the last one" if now else "it is gone, or lets nobody in"
    why = f"{human(size)}, {human(before)} in {previous.id if previous else ''}"
    return Failed(FAILED, what, why, "when that is right: inv backup --accept-shrink")

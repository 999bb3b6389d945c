"""One set: snapshots of all databases, their dumps, the globals, the deployed configuration; the manifest last.

Nothing exists before its manifest does. A target that dies on the way does not stop the others.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from worker import configuration, containers, finish, locks, omissions, postgres, retention, roles, sets, swap, tar
from worker.errors import COPY_FAILED, FAILED, INCOMPLETE, OK, REFUSED, RETENTION_FAILED, Failed
from worker.job import Job
from worker.postgres import Row
from worker.quoting import connection, ident, on_host
from worker.size import human
from worker.targets import Target

STEPS = ("preflight", "snapshot", "dump", "check", "globals", "config", "publish", "retention")
# Whether all of it can be read, what is in it, and where its sequences are. A program takes longer to start than a small
# database to be read.
CHECK = """pg_restore -v -f /dev/null "$1" || exit
if LC_ALL=C grep -aq '^pg_restore: executing SEQUENCE SET ' "$2"; then
  pg_restore -l "$1" | LC_ALL=C grep -a ' SEQUENCE SET ' | pg_restore -L /dev/stdin -f - "$1"
fi
"""
ENTRIES = ("pg_restore: creating ", "pg_restore: processing data ", "pg_restore: executing ")
ATTEMPTS = 3
# What a session of pg_dump says when it comes too late for its leader's lock.
NO_LOCK = "could not obtain lock on relation"
COMPONENTS = ("postgres", "config")
GLOBALS, ROLES = "pg/globals.sql", "pg/roles.json"
SKEW = timedelta(seconds=60)
SMALL, AT_ONCE = 256 << 20, 4
"""Bytes of databases that are staged together, and how many of those are dumped at a time."""
MOMENTS = 20
"""Databases whose snapshots are held at once: each is a session, and a server has a hundred."""
Streams = dict[str, tuple[sets.Part, ...]]


def run(job: Job) -> int:
    """Makes a set on every target that takes it; the exit code says on how many it is."""
    begun = datetime.now(UTC)
    finish.ping(job, "/start")
    only = job.request.get("only") or list(COMPONENTS)
    with job.journal.step("preflight"):
        previous = _preflight(job, only)
    writer = sets.PartWriter(job.alive, job.keys, sets.folder(job.stack, job.run), ahead=job.config["uploads"])
    components: dict[str, Streams] = {}
    found = _Databases()
    files: list[Row] = []
    with writer:
        if "postgres" in only:
            components["postgres"] = {}
            found = _postgres(job, writer, components["postgres"], previous)
        if "config" in only:
            with job.journal.step("config"):
                files, components["config"] = configuration.packed(job, writer)
    for name, error in writer.dropped.items():
        _died(job, name, error)
    manifest = sets.Manifest(
        id=job.run,
        stack=job.stack,
        host=job.config["host"],
        created=begun,
        finished=datetime.now(UTC),
        only=() if set(only) >= set(job.config["components"]) else tuple(sorted(only)),
        versions={"worker": job.config["version"], "commit": job.request.get("commit", "")},
        images={"postgres": job.config["postgres"]["image"]},
        server=found.server,
        components=components,
        databases=found.saved,
        failed={name: f"{error.what}: {error.why}" for name, error in found.failed.items()},
        closed=found.closed,
        omitted=omissions.names(found.omitted),
        config=tuple(files),
        previous=sets.hash_of(previous.canonical()) if previous else "",
    )
    with job.journal.step("publish"):
        data = manifest.signed(job.keys)
        _on_each(job, lambda target: sets.publish(target, data))
        job.journal.say("published on " + ", ".join(one.name for one in job.alive))
    with job.journal.step("retention"):
        _take_away(job, writer.dropped)
        retained = _retention(job)
    if found.failed:
        raise found.incomplete()
    if job.dead:
        raise _lacks_copies(job)
    return OK if retained else RETENTION_FAILED


def _lacks_copies(job: Job) -> Failed:
    """What is told of a set that is not on every target; why it is not stands with the targets themselves."""
    lacking = ", ".join(job.dead)
    what = f"the set is on {', '.join(one.name for one in job.alive)}, and not on {lacking}"
    ways = [f"{name}: {way}" for name, way in job.ways.items()]
    return Failed(COPY_FAILED, what, hint="\n".join([*ways, f"then, for a set that is on {lacking}, too: inv backup"]))


@dataclass
class _Databases:
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


def _preflight(job: Job, only: list[str]) -> sets.Manifest | None:
    """Everything that can be refused is refused here, before anything is written. Gives the last good set's manifest."""
    containers.remove()
    if job.keys.decrypt(job.keys.encrypt(b"canary")) != b"canary":
        raise Failed(REFUSED, "the backup identity does not decrypt what it encrypts")
    _on_each(job, lambda target: target.probe())
    _on_each(job, lambda target: target.check_rules(), REFUSED)
    found = _claimed(job)
    if job.config["single_copy"]:
        job.journal.say("DEGRADED: the only copy is in the stack itself, and is lost with it")
    # Also one that failed its check: what is published now would be older, and so never the newest.
    if ahead := [
        one.id for one in found if one.valid and one.manifest and one.manifest.created > datetime.now(UTC) + SKEW
    ]:
        raise Failed(REFUSED, "the clock is behind the newest set", f"{ahead[-1]} is from the future", "timedatectl")
    last = sets.latest(found)
    previous = last.manifest if last else None
    if "postgres" in only:
        with job.server.connect() as session:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND pid <> pg_backend_pid()",
                (postgres.WORKER,),
            )
            sizes = {one["name"]: one["bytes"] for one in postgres.databases(session) if one["open"]}
            most = max((sum(sizes[name] for name in group) for group in _groups(sizes)), default=0)
            ours = str(session.info.server_version // 10000)
        theirs = job.tools(REFUSED).call("version", "pg_dump", "--version").split()[2].split(".")[0]
        if ours != theirs:
            raise Failed(REFUSED, f"PostgreSQL is {ours}, the tools of its image are {theirs}", hint="inv deploy")
        _on_each(job, lambda target: _must_have_room(target, previous, sum(sizes.values())), REFUSED)
        free = shutil.disk_usage(job.staging).free
        if free < most:
            raise Failed(
                REFUSED,
                "there is no room to stage the largest databases",
                f"those that are dumped at once have {human(most)}, {human(free)} are free in {job.config['staging']}",
                "set backup.staging to a directory on a larger filesystem",
            )
    return previous


def _must_have_room(target: Target, previous: sets.Manifest | None, most: int) -> None:
    """A target that has less room than the last set took is not begun to be filled; databases may have become smaller."""
    wanted = min(most, sum(one.bytes for one in previous.parts)) if previous else 0
    if wanted and (room := target.room()) and room.free < wanted:
        why = f"the last one took {human(wanted)}, {human(room.free)} are free in {room.place}"
        raise Failed(REFUSED, f"{target.name}: it has no room for a set", why, room.hint)


def _claimed(job: Job) -> list[sets.Summary]:
    """The sets of all targets. One that cannot be listed is given up; one whose sets are somebody else's ends the run."""
    taken, found, refused = bool(job.request.get("take_over")), list[sets.Summary](), list[Failed]()

    def claim(target: Target) -> None:
        try:
            sets.claim(target, job.stack, job.keys, job.config["host"], taken)
        except Failed as error:
            if error.code != REFUSED:
                raise
            refused.append(error)
            return
        for one in target.silent():
            job.journal.say(f"{target.name}: {one} does not answer; the others do")
        found.extend(sets.list_sets(target, job.stack, job.keys))

    _on_each(job, claim)
    if refused:
        raise refused[0]
    return found


def _postgres(job: Job, writer: sets.PartWriter, streams: Streams, previous: sets.Manifest | None) -> _Databases:
    """Database after database, each with its counts from the very same moment; those of a server at most seconds apart."""
    tools, found, scratch = job.tools(FAILED), _Databases(), swap.scratch()
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


LOCKS = "max_locks_per_transaction"


def _some(
    job: Job,
    writer: sets.PartWriter,
    tools: containers.Tools,
    catalog: dict[str, Row],
    streams: Streams,
    found: _Databases,
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
    found: _Databases,
) -> None:
    """Some databases as they are at one moment, dumped, read to their end and stored."""
    moments: dict[str, postgres.Snapshot] = {}
    with job.journal.step("snapshot"):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            opened = {name: pool.submit(postgres.snapshot, job.server, name) for name in catalog}
        for name, moment in opened.items():
            with _by_itself(name, writer, found, job.server.user):
                moments[name] = moment.result()
        job.journal.say(f"{len(moments)} databases as they are now")
    try:
        for group in _groups({name: catalog[name]["bytes"] for name in moments}):
            dumps = [_Dump(job, tools, catalog[name], moments[name]) for name in group]
            with ThreadPoolExecutor(min(AT_ONCE, len(dumps))) as pool:
                with job.journal.step("dump"):
                    job.journal.say(f"dumping {', '.join(group)}")
                    made = {one: pool.submit(one.make) for one in dumps}
                    for one, dumped in made.items():
                        with _by_itself(one.name, writer, found, job.server.user):
                            dumped.result()
                        if one.name in found.failed:  # the others need the room
                            shutil.rmtree(one.folder, ignore_errors=True)
                with job.journal.step("check"):
                    sent = {one: pool.submit(one.check, writer) for one in dumps if one.name not in found.failed}
                    for one, stored in sent.items():
                        with _by_itself(one.name, writer, found, job.server.user):
                            streams[dump_of(one.name)], contents = stored.result()
                            found.saved[one.name] = one.database | contents
    finally:
        for held in moments.values():
            held.close()


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


@contextmanager
def _by_itself(name: str, writer: sets.PartWriter, found: _Databases, user: str = "postgres") -> Iterator[None]:
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


def _groups(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Small databases together, as long as there is room for all of them; the others one by one."""
    group, room = list[str](), SMALL
    for name, size in sizes.items():
        if size >= SMALL:
            yield [name]
            continue
        if size > room or len(group) == MOMENTS:
            yield group
            group, room = [], SMALL
        group.append(name)
        room -= size
    if group:
        yield group


@dataclass(eq=False)
class _Dump:
    """One database on its way: dumped and counted from the very same moment, then read to its end while it is stored."""

    job: Job
    tools: containers.Tools
    database: Row
    moment: postgres.Snapshot
    contents: Row = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.database["name"])

    @property
    def folder(self) -> Path:
        return self.job.staging / f"dump-{self.moment.name}"

    @property
    def log(self) -> str:
        return self.moment.name.lower()

    def make(self) -> None:
        """Dumps and counts, of a later snapshot when somebody wanted a table for himself meanwhile.

        What was emptied before pg_dump came to it is empty in the dump, whatever it was in the snapshot.
        """
        for left in reversed(range(ATTEMPTS)):
            try:
                self._dump()
                trouble = ", ".join(self.moment.rewritten()[:3])
                trouble = f"{trouble} was emptied or written anew during its dump" if trouble else ""
            except Failed as error:
                if locks.TIMEOUT in error.why:
                    raise locks.locked(self.job.server, self.name) from None
                if NO_LOCK not in error.why:
                    raise
                trouble = "somebody wanted a table for himself during its dump"
            self.moment.close()
            if not trouble:
                return
            said = f"{self.database['name']}: {trouble}"
            if not left:
                raise Failed(FAILED, said, f"{ATTEMPTS} times", "a backup.schedule at which that does not run")
            self.job.journal.say(f"{said}: dumped again")
            shutil.rmtree(self.folder, ignore_errors=True)
            time.sleep(1)
            self.moment = postgres.snapshot(self.job.server, self.database["name"])

    def _dump(self) -> None:
        told = self.job.config["postgres"]
        compress = "zstd:1" if told["major"] >= 16 else "1"
        # Each more is a session that has to begin.
        jobs = told["jobs"] if self.database["bytes"] >= SMALL else 1
        moving = ["--load-via-partition-root"] if self.moment.moving() else []
        dump = self.tools.start(
            f"dump-{self.log}",
            *("pg_dump", "-Fd", "-j", str(jobs), "-Z", compress, f"--lock-wait-timeout={postgres.PATIENCE}s"),
            *(
                *moving,
                f"--snapshot={self.moment.name}",
                "-f",
                str(self.folder),
                "-d",
                connection(self.database["name"]),
            ),
        )
        tell = locks.saying(self.job.server, self.name, self.job.journal.say)

        def dumping() -> bool:
            tell()
            return dump.poll() is None

        try:
            self.contents = self.moment.contents(dumping)
        except BaseException:
            with suppress(Failed):  # it fails for the same reason
                self.tools.finish(f"dump-{self.log}", dump)
            raise
        self.tools.finish(f"dump-{self.log}", dump)

    def check(self, writer: sets.PartWriter) -> tuple[tuple[sets.Part, ...], Row]:
        """Reading it to its end finds what listing does not: a dump that was cut, or whose bytes changed."""
        name, size = self.database["name"], sum(one.stat().st_size for one in self.folder.iterdir())
        log = str(self.job.staging / f"check-{self.log}.log")
        check = self.tools.start(f"check-{self.log}", "sh", "-c", CHECK, "sh", str(self.folder), log)
        parts = writer.write(dump_of(name), _shown(self.job, tar.pack(self.folder.parent, self.folder.name), size))
        said = self.tools.finish(f"check-{self.log}", check, postgres.codec(self.database["encoding"]))
        entries = sum(line.startswith(ENTRIES) for line in said.splitlines())
        self.contents["sequences"] = postgres.places(said)
        if not entries and self.contents["rows"]:
            raise Failed(
                FAILED, f"the dump of {name} is empty", f"the database has {len(self.contents['rows'])} tables"
            )
        shutil.rmtree(self.folder)
        found = {"contents": self.contents, "entries": entries, "dump_bytes": size}
        return tuple(parts), {**found, "snapshot": self.moment.name, "position": self.moment.position}


def dump_of(name: str) -> str:
    """The stream that holds a database: a directory of pg_dump's in a tar archive."""
    return f"pg/{sets.word(name)}.tar"


def _shown(job: Job, chunks: Iterator[bytes], expected: int) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        job.journal.progress(done, max(done, expected))


def _on_each(job: Job, do: Callable[[Any], object], code: int = FAILED) -> None:
    """Does something with every target that lives, at once; the last one that dies ends the run."""
    with ThreadPoolExecutor(max(1, len(job.alive))) as pool:
        asked = {one.name: pool.submit(do, one) for one in job.alive}
    for name, future in asked.items():
        error = future.exception()
        if isinstance(error, Failed):
            _died(job, name, error)
        elif error:
            raise error
    if not job.alive:
        # Why, stands with each target: job.dead is told with the end.
        ways = "\n".join(f"{name}: {way}" for name, way in job.ways.items())
        raise Failed(code, "no target takes a backup", hint=ways or "inv status")


def _died(job: Job, name: str, error: Failed) -> None:
    if error.hint:
        job.ways[name] = error.hint
    job.dead[name] = error.words(name)
    job.journal.say(f"the target {name} is given up: {job.dead[name]}")


def _shrunk(job: Job, name: str, now: Row | None, previous: sets.Manifest | None) -> Failed | None:
    """A database that is gone, or lost half of its dump since the last set, is a fault until somebody says that it is none."""
    before = previous.databases.get(name, {}).get("dump_bytes", 0) if previous else 0
    size = now["dump_bytes"] if now else 0
    if job.request.get("accept_shrink") or before <= 1 << 20 or size >= before / 2:
        return None
    what = "its dump is less than half of the last one" if now else "it is gone, or lets nobody in"
    why = f"{human(size)}, {human(before)} in {previous.id if previous else ''}"
    return Failed(FAILED, what, why, "when that is right: inv backup --accept-shrink")


def _take_away(job: Job, dropped: Iterable[str]) -> None:
    """What had arrived on a target that was given up is no set, and takes room that the next one needs."""
    for name in dropped:
        with suppress(Failed):
            if gone := retention.take_away(job.pruner(name), job.stack, job.run):
                job.journal.say(f"{name}: {gone} parts of this set had arrived, and were taken away")


def _retention(job: Job) -> bool:
    """Old sets of every target, also of one that was too full for this one; what goes wrong here leaves the new set as it is."""
    pruners, found, well = dict[str, Target](), dict[str, list[sets.Summary]](), True
    for name in job.targets:
        try:
            pruners[name] = job.pruner(name)
            found[name] = list(sets.list_sets(pruners[name], job.stack, job.keys))
        except Failed as error:
            well = _stays(job, name, error)
    for name, there in sets.sharing_drills(found).items():
        try:
            _remove_old(job, pruners[name], there)
        except Failed as error:
            well = _stays(job, name, error)
    return well


def _remove_old(job: Job, pruner: Target, there: list[sets.Summary]) -> None:
    now, days = datetime.now(UTC), job.config["retention"]["days"]
    decided = retention.plan(there, now, days, allow_many=bool(job.request.get("allow_many")))
    gone = retention.carry_out(pruner, job.stack, decided)
    retention.sweep_canaries(pruner, now)
    job.journal.say(f"{pruner.name}: {gone.sets} old sets removed, {len(decided.keep)} kept")


def _stays(job: Job, name: str, error: Failed) -> bool:
    job.journal.say(f"{name}: old sets stay: {error.what}: {error.why}")
    return False

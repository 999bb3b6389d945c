"""Restore beside, compare, swap in one transaction; undo is the same swap backwards.

The live databases are not touched before every byte of the set was verified, loaded beside them and counted. What they
were is kept under another name until `restore.cleanup`. Each run writes down what it makes, so that the next one can
clear away after a cut: scratch databases go, databases that were closed are opened, containers that were stopped start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from worker import containers, postgres, sets
from worker.backup import ROLES, dump_of
from worker.errors import OK, RESTORE_FAILED, RESTORE_REFUSED, SWAP_FAILED, Failed
from worker.job import STATE, Job
from worker.postgres import Row

STEPS = ("preflight", "fetch", "roles", "load", "compare", "stop", "swap", "health", "start", "undo", "cleanup")
RECORDS = STATE / "restores"
LOCAL = "local"
"""The set of a file that somebody made by hand."""


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

    @classmethod
    def all(cls) -> list[Record]:
        """The oldest first."""
        return [cls(**json.loads(path.read_text())) for path in sorted(RECORDS.glob("*.json"))]


def recover(job: Job) -> None:
    """Brings to an end what a cut run left. The lock says that none is running."""
    containers.remove()
    job.sweep()
    for record in Record.all():
        if record.phase in ("begun", "loaded", "swapping"):
            with job.server.connect() as session:
                _recover(session, record)
            job.journal.say(f"the restore {record.run} had been cut: {record.phase}")
        elif record.phase == "undoing":
            with job.server.connect() as session:
                _recover_undo(session, record)
            job.journal.say(f"the undo of {record.run} had been cut: {record.phase}")


def _recover(session: postgres.Connection, record: Record) -> None:
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


def _recover_undo(session: postgres.Connection, record: Record) -> None:
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


def plan(job: Job) -> Row:
    """What a restore would do, for the person who is asked; nothing is changed."""
    manifest, where = find(job)
    with job.server.connect() as session:
        here = {one["name"]: one for one in postgres.databases(session)}
        names = _chosen(job, manifest)
        rows = [
            {
                "name": name,
                "to": to,
                "bytes": manifest.databases[name].get("bytes", 0),
                "rows": sum(manifest.databases[name]["contents"]["rows"].values())
                if _counted(manifest, name)
                else None,
                "replaces": here[to]["bytes"] if to in here else None,
                "kept": postgres.beside(to, "old", "NUMBER"),
                "sessions": postgres.sessions(session, [to]),
            }
            for name, to in names.items()
        ]
        obstacles = postgres.obstacles(session, list(names.values()))
    return {
        "set": manifest.id,
        "from": where,
        "created": manifest.created.isoformat(timespec="seconds"),
        "complete": manifest.complete,
        "host": manifest.host,
        "stack": manifest.stack,
        "databases": rows,
        "obstacles": obstacles,
        "dependents": job.config["dependents"],
        "free": _free(job),
    }


def _free(job: Job) -> dict[str, int]:
    found = os.statvfs(job.config["staging"])
    return {job.config["staging"]: found.f_bavail * found.f_frsize}


def find(job: Job) -> tuple[sets.Manifest, str]:
    """The set that was asked for, and the target on which it is; the first target that has it whole."""
    if job.request.get("local"):
        return _by_hand(job), LOCAL
    wanted, source = job.request["set"], job.request.get("from", "")
    if source and source not in job.targets:
        raise Failed(RESTORE_REFUSED, f"there is no target {source}", f"targets are {', '.join(job.targets)}")
    stack = job.request.get("stack") or job.stack
    said = []
    for target in [job.targets[source]] if source else job.targets.values():
        try:
            there = [one for one in sets.list_sets(target, stack, job.keys)]
            found = sets.latest(there) if wanted == "latest" else next((one for one in there if one.id == wanted), None)
        except Failed as error:
            said.append(f"{target.name}: {error.what} {error.why}".strip())
            continue
        if found and found.valid and found.manifest:
            return found.manifest, target.name
        said.append(f"{target.name}: {found.reason + ', ' + found.why if found else 'it is not there'}")
    raise Failed(RESTORE_REFUSED, f"no target has the set {wanted}", "; ".join(said), "inv backup.list")


def _by_hand(job: Job) -> sets.Manifest:
    """A dump that somebody made: what belongs to its database is taken from the live one of that name, or from the server."""
    (name,) = job.request["databases"]
    with job.server.connect() as session:
        here = {one["name"]: one for one in postgres.databases(session)}
    now = datetime.now(UTC)
    like = here.get(name) or {**here["postgres"], "comment": None, "rights": [], "has_rights": False, "settings": []}
    row = {**like, "bytes": Path(job.request["local"]).stat().st_size, "template": False}
    return sets.Manifest(LOCAL, job.stack, job.config["host"], now, now, server={"major": 0}, databases={name: row})


def _counted(manifest: sets.Manifest, name: str) -> bool:
    return "contents" in manifest.databases[name]


def all_of(manifest: sets.Manifest) -> list[str]:
    """What a restore brings back unless somebody names databases: `postgres` and templates belong to the server."""
    return [name for name, one in manifest.databases.items() if name != "postgres" and not one["template"]]


def _chosen(job: Job, manifest: sets.Manifest) -> dict[str, str]:
    """The databases to restore, and the name that each gets. `postgres` and templates hold nothing unless they are named."""
    asked = job.request.get("databases") or []
    for name in asked:
        if name not in manifest.databases:
            known = ", ".join(manifest.databases) or "none"
            raise Failed(RESTORE_REFUSED, f"the set has no database {name}", f"it has {known}")
    names = asked or all_of(manifest)
    if job.request.get("as"):
        if len(names) != 1:
            raise Failed(
                RESTORE_REFUSED, "--as is for one database", f"the set has {', '.join(names)}", "add --database NAME"
            )
        return {names[0]: job.request["as"]}
    return {name: name for name in names}


def run(job: Job) -> int:
    """Restores; any failure before the swap leaves the live databases exactly as they were."""
    record = Record(job.run, job.request["set"], datetime.now(UTC).isoformat(timespec="seconds"))
    number = job.run[-6:]
    with job.journal.step("preflight"):
        manifest, source = find(job)
        record.set = manifest.id
        names = _chosen(job, manifest)
        scratch = {name: postgres.beside(to, "r", number) for name, to in names.items()}
        kept = {to: postgres.beside(to, "old", number) for to in names.values()}
        session = job.server.connect()
        _refuse(session, manifest, list(names.values()))
        _must_have_room(job, manifest, list(names))
    try:
        with job.journal.step("fetch"):
            try:
                fetch(job, manifest, source, list(names))
                if not job.request.get("databases"):
                    _read_the_rest(job, manifest, source, list(names))
            except Failed as error:
                raise error.coded(RESTORE_REFUSED) from None
        record.scratch = {scratch[name]: to for name, to in names.items()}
        record.save()
        with job.journal.step("roles"):
            record.roles = postgres.merge_roles(session, roles(job, manifest, source))
            record.save()
        tools = job.tools(RESTORE_FAILED)
        for place, name in enumerate(names):
            with job.journal.step("load"):
                load(job, session, manifest, name, scratch[name], place, tools)
        with job.journal.step("compare"):
            for name in names:
                _compare(job, manifest, name, scratch[name])
        record.phase = "loaded"
        record.save()
    except BaseException:
        _recover(session, record)
        raise
    return _swap(job, session, record, {to: scratch[name] for name, to in names.items()}, kept)


def _refuse(session: postgres.Connection, manifest: sets.Manifest, names: list[str]) -> None:
    ours, theirs = session.info.server_version // 10000, int(manifest.server.get("major", 0))
    if ours < theirs:
        raise Failed(
            RESTORE_REFUSED,
            f"the set is of PostgreSQL {theirs}, the server is {ours}",
            "a dump does not go back to an older server",
            f"name an image of PostgreSQL {theirs}",
        )
    if found := postgres.obstacles(session, names):
        raise Failed(
            RESTORE_REFUSED, "the live databases cannot be renamed", "; ".join(found), "end these, then restore"
        )
    have = {one["name"] for one in session.execute("SELECT name FROM pg_available_extensions").fetchall()}
    wanted = {name for one in manifest.databases.values() for name in one.get("contents", {}).get("extensions", {})}
    if missing := sorted(wanted - have):
        raise Failed(
            RESTORE_REFUSED, f"the image lacks the extensions {', '.join(missing)}", hint="name an image that has them"
        )


def _must_have_room(job: Job, manifest: sets.Manifest, names: list[str]) -> None:
    """All dumps are staged at once. A file that somebody sent is there already."""
    if manifest.id == LOCAL:
        return
    needed = sum(part.plain_bytes for name in names for part in manifest.components["postgres"][dump_of(name)])
    free = shutil.disk_usage(job.staging).free
    if free < needed:
        raise Failed(
            RESTORE_REFUSED,
            "there is no room to stage the set",
            f"its dumps have {needed} bytes, {job.config['staging']} has {free} free",
            "set backup.staging to a directory on a larger filesystem",
        )


def fetch(job: Job, manifest: sets.Manifest, source: str, names: list[str]) -> None:
    """Every part is read to its end, and its hashes compared, before anything is touched."""
    if manifest.id == LOCAL:
        path = job.staging / "set-0"
        path.mkdir(mode=0o700)
        os.replace(job.request["local"], path / "dump")
        job.hand_over(path, path / "dump")
        # It has no checksum: what can be known is that it can be read to its end.
        job.tools(RESTORE_REFUSED).call("check", "pg_restore", "-f", "/dev/null", str(path / "dump"), network=False)
        return
    for name in names:
        job.journal.say(f"fetching {name}")
        folder = job.staging / f"set-{names.index(name)}"
        folder.mkdir(mode=0o700)
        _untar(job, manifest, source, dump_of(name), folder)
        (dump,) = folder.iterdir()
        job.hand_over(folder, dump, *dump.iterdir())


def _read_the_rest(job: Job, manifest: sets.Manifest, source: str, names: list[str]) -> None:
    """A set of which any byte is wrong is not restored from, unless somebody names the databases that they want of it."""
    reader, taken = _reader(job, manifest, source), {dump_of(name) for name in names}
    for streams in manifest.components.values():
        for parts in (parts for stream, parts in streams.items() if stream not in taken):
            for _ in reader.read(parts):
                pass


def _untar(job: Job, manifest: sets.Manifest, source: str, name: str, folder: Path) -> None:
    reader = _reader(job, manifest, source)
    parts = manifest.components["postgres"][name]
    total, done = sum(one.plain_bytes for one in parts), 0
    argv = ["tar", "-C", str(folder), "--no-same-owner", "-xf", "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as tar:
        assert tar.stdin and tar.stderr
        # When tar ends early, it says why.
        with suppress(BrokenPipeError):
            for chunk in reader.read(parts):
                tar.stdin.write(chunk)
                done += len(chunk)
                job.journal.progress(done, total)
        with suppress(BrokenPipeError):
            tar.stdin.close()
        said = tar.stderr.read().decode(errors="replace")
    if tar.returncode:
        raise Failed(RESTORE_FAILED, f"unpacking {name} failed", said[-500:])


def roles(job: Job, manifest: sets.Manifest, source: str) -> list[Row]:
    """The roles of a set; a dump made by hand has none."""
    if manifest.id == LOCAL:
        return []
    parts = manifest.components["postgres"][ROLES]
    return list(json.loads(b"".join(_reader(job, manifest, source).read(parts))))


def _reader(job: Job, manifest: sets.Manifest, source: str) -> sets.PartReader:
    return sets.PartReader(job.targets[source], job.keys, sets.folder(manifest.stack, manifest.id))


def load(
    job: Job,
    session: postgres.Connection,
    manifest: sets.Manifest,
    name: str,
    scratch: str,
    number: int,
    tools: containers.Tools,
) -> None:
    """A fetched dump into a new database, with what belongs to the database itself."""
    job.journal.say(f"loading {name} as {scratch}")
    like = manifest.databases[name]
    postgres.create(session, scratch, like)
    (dump,) = (job.staging / f"set-{number}").iterdir()
    begun = time.monotonic()
    tools.call(
        "load",
        *("pg_restore", "-j", str(job.config["postgres"]["jobs"]), "--exit-on-error"),
        *("-d", postgres.connection(scratch), str(dump)),
    )
    job.journal.say(f"loaded {name} in {time.monotonic() - begun:.1f} s")
    postgres.dress(session, scratch, like)
    tools.call("analyze", "vacuumdb", "--analyze-only", "-q", "-d", postgres.connection(scratch))


def _compare(job: Job, manifest: sets.Manifest, name: str, scratch: str) -> None:
    if not _counted(manifest, name):
        return
    with job.server.connect(scratch) as inside:
        found = postgres.contents(inside)
    if wrong := postgres.differences(manifest.databases[name]["contents"], found):
        raise Failed(RESTORE_FAILED, f"{name} is not what the set says", "\n".join(wrong[:8]))


def _swap(job: Job, session: postgres.Connection, record: Record, scratch: dict[str, str], kept: dict[str, str]) -> int:
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
        _recover(session, record)
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
    record = next((one for one in reversed(Record.all()) if one.phase == "done"), None)
    if not record or not record.kept:
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
                _recover_undo(session, record)
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
        for record in Record.all():
            if record.phase in ("done", "undone", "failed"):
                record.phase = "cleaned"
                record.save()
    return OK

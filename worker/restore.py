"""Restore beside, compare, and only then swap.

The live databases are not touched before every byte of the set was verified, loaded beside them and counted. What they
were is kept under another name until `restore.cleanup`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from worker import configuration, containers, postgres, sets, tar
from worker.backup import ROLES, dump_of
from worker.errors import OK, RESTORE_FAILED, RESTORE_REFUSED, Failed
from worker.job import Job
from worker.postgres import Row
from worker.records import Record, take_back
from worker.swap import swap

STEPS = ("preflight", "fetch", "roles", "load", "compare", "stop", "swap", "health", "start", "undo", "cleanup")
GROWTH = 1.3
"""What a database may need while it is loaded, to what it has in the end."""
LOCAL = "local"
"""The set of a file that somebody made by hand."""


def plan(job: Job) -> Row:
    """What a restore would do, for the person who is asked; nothing is changed."""
    manifest, where = find(job)
    names = _chosen(job, manifest)
    rows, obstacles = _databases(job, manifest, names) if _has_databases(manifest) else ([], [])
    found = {
        "set": manifest.id,
        "from": where,
        "created": manifest.created.isoformat(timespec="seconds"),
        "complete": manifest.complete,
        "host": manifest.host,
        "stack": manifest.stack,
        "databases": rows,
        "obstacles": obstacles,
        "dependents": job.config["dependents"] if rows else [],
        "free": _free(job),
    }
    if manifest.config and not job.request.get("databases"):
        found["files"] = len(manifest.config)
        found["differ"] = configuration.differences(job, manifest)
    return found


def _databases(job: Job, manifest: sets.Manifest, names: dict[str, str]) -> tuple[list[Row], list[str]]:
    """What becomes of each database, and what forbids it."""
    with job.server.connect() as session:
        here = {one["name"]: one for one in postgres.databases(session)}
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
        return rows, postgres.obstacles(session, list(names.values()))


def _free(job: Job) -> dict[str, int]:
    places = {job.config["staging"], job.config["postgres"]["data"]}
    return {place: shutil.disk_usage(place).free for place in sorted(places)}


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


def _has_databases(manifest: sets.Manifest) -> bool:
    """A set may be of the configuration alone."""
    return manifest.id == LOCAL or "postgres" in manifest.components


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
        if not _has_databases(manifest):
            return _configuration_alone(job, manifest, source)
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
            wanted = roles(job, manifest, source)
            record.roles = postgres.missing_roles(session, wanted)
            record.save()
            postgres.merge_roles(session, wanted)
        tools = job.tools(RESTORE_FAILED)
        for place, name in enumerate(names):
            with job.journal.step("load"):
                load(job, session, manifest, name, scratch[name], place, tools)
        with job.journal.step("compare"):
            for name in names:
                _compare(job, manifest, name, scratch[name])
        if not job.request.get("databases"):
            configuration.lay_beside(job, manifest, source)
        record.phase = "loaded"
        record.save()
    except BaseException:
        take_back(session, record)
        raise
    return swap(job, session, record, {to: scratch[name] for name, to in names.items()}, kept)


def _configuration_alone(job: Job, manifest: sets.Manifest, source: str) -> int:
    """A set without databases: there is nothing to swap."""
    with job.journal.step("fetch"):
        configuration.lay_beside(job, manifest, source)
    return OK


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
    # A server whose disk is full stops for everybody.
    data, wanted = job.config["postgres"]["data"], sum(manifest.databases[name]["bytes"] for name in names)
    if (free := shutil.disk_usage(data).free) < wanted * GROWTH:
        raise Failed(
            RESTORE_REFUSED,
            "there is no room beside the live databases",
            f"the set's have {wanted} bytes, {data} has {free} free",
            "inv restore.cleanup drops what earlier restores have kept; or restore one at a time: --database NAME",
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
        tar.unpack(
            job,
            sets.reader(job.targets[source], job.keys, manifest),
            manifest.components["postgres"][dump_of(name)],
            folder,
            "--no-same-owner",
        )
        (dump,) = folder.iterdir()
        job.hand_over(folder, dump, *dump.iterdir())


def _read_the_rest(job: Job, manifest: sets.Manifest, source: str, names: list[str]) -> None:
    """A set of which any byte is wrong is not restored from, unless somebody names the databases that they want of it."""
    reader, taken = sets.reader(job.targets[source], job.keys, manifest), {dump_of(name) for name in names}
    for streams in manifest.components.values():
        for parts in (parts for stream, parts in streams.items() if stream not in taken):
            for _ in reader.read(parts):
                pass


def roles(job: Job, manifest: sets.Manifest, source: str) -> list[Row]:
    """The roles of a set; a dump made by hand has none."""
    if manifest.id == LOCAL:
        return []
    reader = sets.reader(job.targets[source], job.keys, manifest)
    return list(json.loads(b"".join(reader.read(manifest.components["postgres"][ROLES]))))


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

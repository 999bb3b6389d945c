"""Restore beside, compare, and only then swap.

The live databases are not touched before every byte of the set was verified, loaded beside them and counted. What they
were is kept under another name until `restore.cleanup`.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
from collections.abc import Container
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psycopg

from worker import acceptance, by_hand, comparison, configuration, obstacles, omissions, postgres, sets, tar
from worker import roles as role_rows
from worker.backup import ROLES, dump_of
from worker.comparison import Difference
from worker.errors import OK, RESTORE_FAILED, RESTORE_REFUSED, Failed
from worker.job import Job
from worker.loading import load
from worker.names import SERVERS_OWN, must_fit
from worker.postgres import Row
from worker.quoting import listed
from worker.records import Record, settle
from worker.room import Need, must_be_there
from worker.swap import swap
from worker.targets import Target
from worker.ways_out import command, ways_out

STEPS = ("preflight", "fetch", "roles", "load", "compare", "stop", "swap", "health", "start", "undo", "cleanup")
GROWTH = 1.3
"""What a database may need while it is loaded, to what it has in the end."""
ABSENT = "it is not there"
LOCAL = "local"
"""The set of a file that somebody made by hand."""


def plan(job: Job) -> Row:
    """What a restore would do, for the person who is asked; nothing is changed."""
    manifest, where, warnings = find(job)
    names = _chosen(job, manifest)
    warnings = warnings + left_out(manifest, names)
    rows, held = _databases(job, manifest, names) if _has_databases(manifest) else ([], [])
    warnings += not_brought_back(job, manifest, where)
    if manifest.id == LOCAL:
        said = by_hand.listing(job, manifest.databases[rows[0]["name"]]["encoding"])
        by_hand.must_have_tables(said)
        rows = [
            one | {"lost": by_hand.lost(job, one["to"], said) if one["replaces"] is not None else []} for one in rows
        ]
    found = {
        "set": manifest.id,
        "from": where,
        "created": manifest.created.isoformat(timespec="seconds"),
        "complete": manifest.complete,
        "host": manifest.host,
        "stack": manifest.stack,
        "databases": rows,
        "obstacles": obstacles.told(held),
        "ways": obstacles.ways(held, job.server.user),
        "warnings": warnings,
        "dependents": job.config["dependents"] if rows else [],
        "free": _free(job),
    }
    if job.request.get("accept"):
        found["accept"] = acceptance.acceptable(job, manifest, names)
    if manifest.config and not job.request.get("databases"):
        found["files"] = len(manifest.config)
        found["differ"] = configuration.differences(job, manifest)
    return found


def _databases(job: Job, manifest: sets.Manifest, names: dict[str, str]) -> tuple[list[Row], list[Row]]:
    """What becomes of each database, and what forbids it."""
    with job.server.connect() as session:
        here = {one["name"]: one for one in postgres.databases(session)}
        _, kept = _beside(names, here, "NUMBER")
        rows = [
            {
                "name": name,
                "to": to,
                "bytes": manifest.databases[name].get("bytes", 0),
                "rows": sum(manifest.databases[name]["contents"]["rows"].values())
                if _counted(manifest, name)
                else None,
                "replaces": here[to]["bytes"] if to in here else None,
                "kept": kept[to],
                "sessions": postgres.sessions(session, [to]),
            }
            for name, to in names.items()
        ]
        return rows, obstacles.found(session, list(names.values()))


def _beside(names: dict[str, str], here: Container[str], number: str) -> tuple[dict[str, str], dict[str, str]]:
    """The scratch name of each database, and the name under which what it replaces is kept."""
    for to in names.values():
        # The longest name of all comes with an undo, which is too late to learn that it does not fit.
        if to in here:
            postgres.beside(to, "undone", number)
    scratch = {name: postgres.beside(to, "r", number) for name, to in names.items()}
    return scratch, {to: postgres.beside(to, "old", number) for to in names.values()}


def _free(job: Job) -> dict[str, int]:
    places = {job.config["staging"], job.config["postgres"]["data"]}
    return {place: shutil.disk_usage(place).free for place in sorted(places)}


def places(job: Job) -> list[Target]:
    """The target that somebody names, or all of them."""
    source = job.request.get("from", "")
    if source and source not in job.targets:
        near = difflib.get_close_matches(source, job.targets, 1, 0)
        why = f"targets are {', '.join(job.targets)}"
        raise Failed(RESTORE_REFUSED, f"there is no target {source}", why, f"--from {near[0]}" if near else "")
    return [job.targets[source]] if source else list(job.targets.values())


class Absent(Failed):
    """All targets that were asked have answered, and none has the set."""


class Found(NamedTuple):
    """A set, the target to read it from, and what a person has to know of the others."""

    manifest: sets.Manifest
    source: str
    warnings: list[str]


def find(job: Job) -> Found:
    """The set that was asked for, and the first target that has it whole; the latest is that of all of them."""
    if job.request.get("local"):
        return Found(_by_hand(job), LOCAL, [])
    wanted = job.request["set"]
    stack = job.request.get("stack") or job.stack
    said, dead = dict[str, list[str]](), list[str]()
    newest, broken = dict[str, sets.Summary](), list[tuple[str, sets.Summary]]()
    listed = dict[str, list[sets.Summary]]()
    for target in places(job):
        try:
            listed[target.name] = list(sets.list_sets(target, stack, job.keys))
        except Failed as error:
            dead.append(f"{target.name} could not be asked: {error.words(target.name)}")
    for name, there in sets.sharing_drills(listed).items():
        broken += [(name, one) for one in there if _suspect(one) and wanted in ("latest", one.id)]
        asked = job.request.get("databases") or ()
        found = (
            sets.latest(there, asked) if wanted == "latest" else next((one for one in there if one.id == wanted), None)
        )
        if found and found.valid and found.manifest:
            newest[name] = found
            continue
        said.setdefault(f"{found.reason}, {found.why}" if found else ABSENT, []).append(name)
    if not newest:
        what = f"no set of the stack {stack} is to be had" if wanted == "latest" else f"no target has the set {wanted}"
        why = "\n".join(dead + [f"{', '.join(names)}: {one}" for one, names in said.items()])
        kind = Absent if list(said) == [ABSENT] and not dead else Failed
        raise kind(RESTORE_REFUSED, what, why, "inv backup.list")
    # A target that was away for a night has a latest of its own, which is an older one. Of equals, the first.
    name = max(newest, key=lambda one: sets.preference(newest[one]))
    chosen = newest[name]
    assert chosen.manifest
    if chosen.check and chosen.doubtful:
        dead.append(f"{chosen.id} failed its check on {name}, {chosen.check.at:%Y-%m-%d %H:%M} UTC: {chosen.check.why}")
    broken = [(target, one) for target, one in broken if (target, one.id) != (name, chosen.id)]
    return Found(chosen.manifest, name, dead + _passed_over(chosen, broken))


def _suspect(one: sets.Summary) -> bool:
    return not one.valid or one.doubtful


def _passed_over(chosen: sets.Summary, suspect: list[tuple[str, sets.Summary]]) -> list[str]:
    """The sets that would have been taken, and are none to restore from or failed their check: newer ones, or the same on
    another target.

    When nobody can read when a set was made, its name says it.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for target, one in suspect:
        # `latest` never means a set of a part of the stack, whole or not.
        if one.id == chosen.id or (one.created > chosen.created and (not one.manifest or one.manifest.complete)):
            found.setdefault(one.id, {}).setdefault(_fault(target, one), []).append(target)
    return [
        f"{id} is {'newer' if id != chosen.id else 'this set'}, and "
        + "; ".join(fault.format(targets=", ".join(targets)) for fault, targets in faults.items())
        for id, faults in sorted(found.items())
    ]


def _fault(target: str, one: sets.Summary) -> str:
    """What is wrong with a set, with room for the targets on which it is so."""
    what, why = one.reason, one.why
    if one.valid and one.check:
        what, why = "failed its check", (one.check.why.splitlines() or [""])[0].removeprefix(f"{target}: ")
    return f"{what} on {{targets}}, {why.replace('{', '{{').replace('}', '}}')}"


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


def left_out(manifest: sets.Manifest, names: Container[str]) -> list[str]:
    """What a restore of these databases does not bring back, and why."""
    lacking = manifest.left_out
    said = [
        f"the set does not have {', '.join(name for name, one in lacking.items() if one == why)}: {why}"
        for why in dict.fromkeys(lacking.values())
    ]
    filled = [name for name, one in manifest.databases.items() if name in SERVERS_OWN and one.get("entries")]
    said += [
        f"what is in {name} comes back only beside: --database {listed([name])} --as NAME"
        for name in filled
        if name not in names
    ]
    templates = [name for name, one in manifest.databases.items() if one["template"] and name not in SERVERS_OWN]
    return said + [
        f"{name} is a template, and comes back only by name: --database {listed([name])}"
        for name in templates
        if name not in names
    ]


def not_brought_back(job: Job, manifest: sets.Manifest, source: str) -> list[str]:
    """What the set knows of the server and its roles, this server does not have just so, and a restore leaves as it is."""
    if not (rows := omissions.fetched(job, manifest, source)):
        return []
    with job.server.connect() as session:
        lacking = omissions.lacking(session, rows)
        differ = role_rows.differences(session, roles(job, manifest, source))
    return [f"a restore leaves out {line}" for line in omissions.lines(omissions.names(lacking))] + [
        f"the role {name} stays as it is here; the set has other {', '.join(what)}" for name, what in differ.items()
    ]


def _chosen(job: Job, manifest: sets.Manifest) -> dict[str, str]:
    """The databases to restore, and the name that each gets. `postgres` and templates hold nothing unless they are named."""
    asked = job.request.get("databases") or []
    for name in asked:
        if name not in manifest.databases:
            known = ", ".join(manifest.databases) or "none"
            near = difflib.get_close_matches(name, manifest.databases, 1, 0)
            hint = f"--database {listed(near)}" if near else ""
            raise Failed(RESTORE_REFUSED, f"the set has no database {name}", f"it has {known}", hint)
        if not job.request.get("as") and name in SERVERS_OWN:
            raise Failed(
                RESTORE_REFUSED,
                f"{name} belongs to the server, and is never replaced",
                "the server needs it to let anybody in, and to make new databases",
                f"{command(manifest.id, job.request, [name])} --as NAME, which restores it beside",
            )
    if job.request.get("as"):
        must_fit(job.request["as"])
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
        manifest, source, _ = find(job)
        record.set = manifest.id
        names = _chosen(job, manifest)
        if not _has_databases(manifest):
            return _configuration_alone(job, manifest, source)
        session = job.server.connect()
        scratch, kept = _beside(names, postgres.oids(session), number)
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
            record.roles = role_rows.missing(session, wanted)
            record.save()
            _merge_roles(job, session, wanted)
        for place, name in enumerate(names):
            with job.journal.step("load"):
                record.differs[name] = _load(job, session, manifest, names, name, scratch[name], place)
        with job.journal.step("compare"):
            for name in names:
                record.differs[name] += _compared(job, manifest, name, scratch[name])
            record.save()
            acceptance.must_be_the_set(job, manifest, record)
        if not job.request.get("databases"):
            configuration.lay_beside(job, manifest, source)
        omissions.lay_beside(job, manifest, source, configuration.BESIDE)
        record.phase = "loaded"
        record.save()
    except BaseException:
        session.close()
        _cleared(job, record)
        raise
    return swap(job, session, record, {to: scratch[name] for name, to in names.items()}, kept)


def _cleared(job: Job, record: Record) -> None:
    """Drops what was loaded. Where that fails, the error to tell is still that of the restore."""
    try:
        settle(job, record)
    except (Failed, psycopg.Error, OSError) as error:
        job.journal.say(f"what was loaded is still there, and the next run drops it: {error}")


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
    if found := obstacles.found(session, names):
        ways = "\n".join([*obstacles.ways(found, session.info.user), "then the same again"])
        raise Failed(RESTORE_REFUSED, "the live databases cannot be renamed", "; ".join(obstacles.told(found)), ways)
    have = {one["name"] for one in session.execute("SELECT name FROM pg_available_extensions").fetchall()}
    wanted = {name for one in manifest.databases.values() for name in one.get("contents", {}).get("extensions", {})}
    if missing := sorted(wanted - have):
        raise Failed(
            RESTORE_REFUSED, f"the image lacks the extensions {', '.join(missing)}", hint="name an image that has them"
        )


def _must_have_room(job: Job, manifest: sets.Manifest, names: list[str]) -> None:
    """A server whose disk is full stops for everybody."""
    refusal = Failed(
        RESTORE_REFUSED,
        "there is no room for the restore",
        hint="inv restore.cleanup drops what earlier restores have kept; or set backup.staging to a directory on a"
        " larger filesystem; or restore one at a time: --database NAME",
    )
    # All dumps are staged at once.
    dumps = Need(job.staging, dump_bytes(manifest, names), "the dumps of the set")
    data = Path(job.config["postgres"]["data"])
    must_be_there([dumps, Need(data, loaded_bytes(manifest, names), "the databases")], refusal)


def dump_bytes(manifest: sets.Manifest, names: list[str]) -> int:
    """What the dumps need where they are staged; a file that somebody sent is there already."""
    if manifest.id == LOCAL:
        return 0
    return sum(part.plain_bytes for name in names for part in manifest.components["postgres"][dump_of(name)])


def loaded_bytes(manifest: sets.Manifest, names: list[str]) -> int:
    """What the databases may need while they are loaded. Of a file that somebody sent only its own size is known."""
    return int(sum(manifest.databases[name]["bytes"] for name in names) * GROWTH)


def fetch(job: Job, manifest: sets.Manifest, source: str, names: list[str]) -> None:
    """Every part is read to its end, and its hashes compared, before anything is touched."""
    if manifest.id == LOCAL:
        path = job.staging / "set-0"
        path.mkdir(mode=0o700)
        os.replace(job.request["local"], path / "dump")
        job.hand_over(path, path / "dump")
        # It has no checksum: what can be known is that it can be read to its end.
        job.tools(RESTORE_REFUSED).alone("check", "pg_restore", "-f", "/dev/null", str(path / "dump"))
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


def _merge_roles(job: Job, session: postgres.Connection, wanted: list[Row]) -> None:
    try:
        for line in role_rows.merge(session, wanted):
            job.journal.say(line)
    except psycopg.Error as error:
        why = str(error).strip()
        hint = "make the role by hand, as the reason says, then the same again"
        raise Failed(RESTORE_FAILED, "a role of the set cannot be made", why, hint) from None


def _load(
    job: Job,
    session: postgres.Connection,
    manifest: sets.Manifest,
    names: dict[str, str],
    name: str,
    scratch: str,
    place: int,
) -> list[Difference]:
    """A database beside; the failure says how to get the others."""
    tablespaces = not job.request.get("no_tablespaces")
    try:
        return load(job, session, manifest, name, scratch, place, job.tools(RESTORE_FAILED), tablespaces=tablespaces)
    except Failed as error:
        error.hint = error.hint or ways_out(manifest.id, job.request, names, [name], error.why)
        raise


def _compared(job: Job, manifest: sets.Manifest, name: str, scratch: str) -> list[Difference]:
    if not _counted(manifest, name):
        return []
    try:
        with job.server.connect(scratch) as inside:
            return comparison.compared(inside, manifest.databases[name]["contents"])
    except psycopg.Error as error:
        why = str(error).strip()
        raise Failed(
            RESTORE_FAILED, f"{name} cannot be counted", why, ways_out(manifest.id, job.request, [], [], why)
        ) from None

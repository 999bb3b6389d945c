"""Restores databases beside the live ones, compares them, and only then swaps.

The live databases are not changed before the set was verified, loaded beside them and counted. The replaced ones are
kept under another name until `restore.cleanup`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg

from worker import acceptance, comparison, configuration, folder_restore, obstacles, omissions, postgres, sets
from worker import roles as role_rows
from worker.buckets import restoring
from worker.comparison import Difference
from worker.contract import OK, RESTORE_FAILED, RESTORE_REFUSED
from worker.errors import Failed
from worker.fetching import dump_bytes, fetch, loaded_bytes, read_the_rest, roles
from worker.finding import find
from worker.job import Job
from worker.loading import Loaded, load
from worker.plan import beside, chosen, counted, has_databases, without_server
from worker.postgres import Row
from worker.records import Record
from worker.room import Need, must_be_there
from worker.swap import cleared, swap
from worker.ways_out import ways_out


def run(job: Job) -> int:
    """Restores; any failure before the swap leaves the live databases exactly as they were."""
    if job.request.service:
        return folder_restore.run(job)
    if job.request.buckets:
        return restoring.run(job)
    record = Record(job.run, job.request.set, datetime.now(UTC).isoformat(timespec="seconds"))
    number = job.run[-6:]
    with job.journal.step("preflight"):
        manifest, source, _ = find(job)
        record.set = manifest.id
        names = chosen(job, manifest)
        away = without_server(job, manifest)
        if away or not has_databases(manifest):
            return _without_databases(job, manifest, source, record, away)
        session = job.server.connect()
        scratch, kept = beside(names, postgres.oids(session), number)
        _refuse(session, manifest, list(names.values()))
        _must_have_room(job, manifest, list(names))
        objects = restoring.Objects(job, manifest, source, record)
    try:
        with job.journal.step("fetch"):
            job.tools(RESTORE_FAILED).ready()
            try:
                fetch(job, manifest, source, list(names))
                if not job.request.databases:
                    read_the_rest(job, manifest, source, list(names))
            except Failed as error:
                raise error.coded(RESTORE_REFUSED) from None
        if objects:
            objects.insert(ahead=True)
        record.scratch = {scratch[name]: to for name, to in names.items()}
        record.save()
        with job.journal.step("roles"):
            wanted = roles(job, manifest, source)
            record.roles = role_rows.missing(session, wanted)
            record.save()
            _merge_roles(job, session, wanted)
        loaded = dict[str, Loaded]()
        for place, name in enumerate(names):
            with job.journal.step("load"):
                loaded[name] = _load(job, session, manifest, names, name, scratch[name], place)
        with job.journal.step("compare"):
            for name in names:
                record.differs[name] = loaded[name].lost + _compared(job, manifest, name, scratch[name])
            record.save()
            for result in loaded.values():
                result.gathered()
            job.tools(RESTORE_FAILED).close()
            acceptance.must_be_the_set(job, manifest, record)
        if not job.request.databases:
            configuration.lay_beside(job, manifest, source)
        omissions.lay_beside(job, manifest, source, configuration.BESIDE)
        record.phase = "loaded"
        record.save()
    except BaseException:
        session.close()
        cleared(job, record)
        raise
    return swap(job, session, record, {to: scratch[name] for name, to in names.items()}, kept, objects)


def _without_databases(job: Job, manifest: sets.Manifest, source: str, record: Record, away: list[str]) -> int:
    """Restores objects and the configuration of a set. `away` is what is left out, which makes it a partial restore."""
    objects = restoring.Objects(job, manifest, source, record, away)
    with job.journal.step("fetch"):
        configuration.lay_beside(job, manifest, source)
    return objects.alone() if objects else OK


def _refuse(session: postgres.Connection, manifest: sets.Manifest, names: list[str]) -> None:
    ours, theirs = session.info.server_version // 10000, int(manifest.server.get("major", 0))
    if ours < theirs:
        raise Failed(
            RESTORE_REFUSED,
            f"the set is of PostgreSQL {theirs}, the server is {ours}",
            "a dump does not go back to an older server",
            f"name an image of PostgreSQL {theirs}",
        )
    if held := obstacles.find(session, names):
        ways = "\n".join([*obstacles.ways(held, session.info.user), "then the same again"])
        raise Failed(RESTORE_REFUSED, "the live databases cannot be renamed", "; ".join(obstacles.describe(held)), ways)
    have = {row["name"] for row in session.execute("SELECT name FROM pg_available_extensions").fetchall()}
    wanted = {
        name for database in manifest.databases.values() for name in database.get("contents", {}).get("extensions", {})
    }
    if missing := sorted(wanted - have):
        raise Failed(
            RESTORE_REFUSED, f"the image lacks the extensions {', '.join(missing)}", hint="name an image that has them"
        )


def _must_have_room(job: Job, manifest: sets.Manifest, names: list[str]) -> None:
    """Fails without room: a server with a full disk stops for everybody."""
    refusal = Failed(
        RESTORE_REFUSED,
        "there is no room for the restore",
        hint="inv restore.cleanup drops what earlier restores have kept; or set backup.staging to a directory on a"
        " larger filesystem; or restore one at a time: --database NAME",
    )
    # All dumps are staged at once.
    dumps = Need(job.staging, dump_bytes(manifest, names), "the dumps of the set")
    data = Path(job.postgres["data"])
    must_be_there([dumps, Need(data, loaded_bytes(manifest, names), "the databases")], refusal)


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
) -> Loaded:
    """Loads a database beside the live one; the failure says how to restore the others."""
    tablespaces = not job.request.no_tablespaces
    try:
        return load(job, session, manifest, name, scratch, place, job.tools(RESTORE_FAILED), tablespaces=tablespaces)
    except Failed as error:
        error.hint = error.hint or ways_out(manifest.id, job.request, names, [name], error.why)
        raise


def _compared(job: Job, manifest: sets.Manifest, name: str, scratch: str) -> list[Difference]:
    if not counted(manifest, name):
        return []
    try:
        with job.server.connect(scratch) as inside:
            return comparison.compared(inside, manifest.databases[name]["contents"])
    except psycopg.Error as error:
        why = str(error).strip()
        raise Failed(
            RESTORE_FAILED, f"{name} cannot be counted", why, ways_out(manifest.id, job.request, [], [], why)
        ) from None

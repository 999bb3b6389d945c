"""The plan of a restore: the databases to restore, their names, and what is left out."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Container

from worker import acceptance, by_hand, configuration, folder_restore, obstacles, omissions, postgres, sets
from worker import roles as role_rows
from worker.buckets import planning
from worker.contract import RESTORE_REFUSED
from worker.errors import Failed
from worker.fetching import roles
from worker.finding import LOCAL, find, introduced
from worker.job import Job
from worker.names import SERVERS_OWN, must_fit
from worker.postgres import Row
from worker.quoting import listed
from worker.ways_out import command


def plan(job: Job) -> Row:
    """The plan of a restore; nothing is changed."""
    if job.request.service:
        return folder_restore.plan(job)
    if job.request.buckets:
        return planning.plan(job)
    manifest, where, warnings = find(job)
    names = chosen(job, manifest)
    objects = planning.Surveyed(job, manifest, where)
    homeless = planning.without_minio(job, manifest)
    warnings = warnings + left_out(manifest, names, bool(objects or homeless)) + objects.warnings() + homeless
    away = without_server(job, manifest)
    here = has_databases(manifest) and not away
    rows, held = _databases(job, manifest, names) if here else ([], [])
    warnings += away if away else not_brought_back(job, manifest, where)
    if manifest.id == LOCAL:
        contents = by_hand.listing(job, manifest.databases[rows[0]["name"]]["encoding"])
        by_hand.must_have_tables(contents)
        rows = [
            row | {"lost": by_hand.lost(job, row["to"], contents) if row["replaces"] is not None else []}
            for row in rows
        ]
    answer = {
        **introduced(manifest, where),
        "databases": rows,
        "obstacles": obstacles.describe(held),
        "ways": obstacles.ways(held, job.server.user) if held else [],
        "warnings": warnings,
        "objects": objects.rows(),
        "accounts": objects.accounts,
        "dependents": job.config["dependents"] if rows else [],
        "free": _free(job),
    }
    if job.request.show_differences:
        answer["accept"] = acceptance.acceptable(job, manifest, names)
    if manifest.config and not job.request.databases:
        answer["files"] = len(manifest.config)
        answer["differ"] = configuration.differences(job, manifest)
    return answer


def _databases(job: Job, manifest: sets.Manifest, names: dict[str, str]) -> tuple[list[Row], list[Row]]:
    """What would be done to each database, and the obstacles."""
    with job.server.connect() as session:
        here = {database["name"]: database for database in postgres.databases(session)}
        _, kept = beside(names, here, "NUMBER")
        rows = [
            {
                "name": name,
                "to": to,
                "bytes": manifest.databases[name].get("bytes", 0),
                "rows": sum(manifest.databases[name]["contents"]["rows"].values()) if counted(manifest, name) else None,
                "replaces": here[to]["bytes"] if to in here else None,
                "kept": kept[to],
                "sessions": postgres.sessions(session, [to]),
            }
            for name, to in names.items()
        ]
        return rows, obstacles.find(session, list(names.values()))


def beside(names: dict[str, str], here: Container[str], number: str) -> tuple[dict[str, str], dict[str, str]]:
    """The scratch name of each database, and the name under which the replaced one is kept."""
    for to in names.values():
        # Checked now: the longest name is only needed by an undo.
        if to in here:
            postgres.beside(to, "undone", number)
    scratch = {name: postgres.beside(to, "r", number) for name, to in names.items()}
    return scratch, {to: postgres.beside(to, "old", number) for to in names.values()}


def _free(job: Job) -> dict[str, int]:
    places = {job.config["staging"], *([job.postgres["data"]] if job.has_postgres else [])}
    return {place: shutil.disk_usage(place).free for place in sorted(places)}


def has_databases(manifest: sets.Manifest) -> bool:
    """Whether the set has databases."""
    return manifest.id == LOCAL or "postgres" in manifest.components


def without_server(job: Job, manifest: sets.Manifest) -> list[str]:
    """What a restore of a whole set leaves out on a stack without PostgreSQL."""
    asked = job.request
    if job.has_postgres or not has_databases(manifest) or not manifest.buckets:
        return []
    if asked.databases or asked.new_name or asked.local:
        return []
    return [f"the databases {', '.join(all_of(manifest))} stay away: this stack has no PostgreSQL"]


def counted(manifest: sets.Manifest, name: str) -> bool:
    return "contents" in manifest.databases[name]


def all_of(manifest: sets.Manifest) -> list[str]:
    """The databases of a restore without names: not `postgres` and templates, which belong to the server."""
    return [name for name, database in manifest.databases.items() if name != "postgres" and not database["template"]]


def left_out(manifest: sets.Manifest, names: Container[str], objects: bool) -> list[str]:
    """What a restore of these databases, with or without objects, leaves out, and why."""
    lacking = manifest.left_out
    lines = [
        f"the set does not have {', '.join(name for name, reason in lacking.items() if reason == why)}: {why}"
        for why in dict.fromkeys(lacking.values())
    ]
    filled = [name for name, database in manifest.databases.items() if name in SERVERS_OWN and database.get("entries")]
    lines += [
        f"what is in {name} comes back only beside: --database {listed([name])} --as NAME"
        for name in filled
        if name not in names
    ]
    templates = [
        name for name, database in manifest.databases.items() if database["template"] and name not in SERVERS_OWN
    ]
    services = dict.fromkeys(folder["service"] for folder in manifest.folders.values())
    alone = bool(manifest.buckets) and not objects
    lines += (
        [f"the objects of {', '.join(manifest.buckets)} stay as they are: --bucket NAME brings them back"]
        if alone
        else []
    )
    lines += [f"the folders of {name} come back by themselves: --service {name}" for name in services]
    return lines + [
        f"{name} is a template, and comes back only by name: --database {listed([name])}"
        for name in templates
        if name not in names
    ]


def not_brought_back(job: Job, manifest: sets.Manifest, source: str) -> list[str]:
    """Differences of the server and its roles from the set, which a restore leaves as they are."""
    if not (rows := omissions.fetched(job, manifest, source)):
        return []
    with job.server.connect() as session:
        lacking = omissions.lacking(session, rows)
        differ = role_rows.differences(session, roles(job, manifest, source))
    return [f"a restore leaves out {line}" for line in omissions.lines(omissions.names(lacking))] + [
        f"the role {name} stays as it is here; the set has other {', '.join(what)}" for name, what in differ.items()
    ]


def chosen(job: Job, manifest: sets.Manifest) -> dict[str, str]:
    """The databases to restore, and the new name of each. `postgres` and templates only if they are named."""
    asked = job.request.databases
    for name in asked:
        if name not in manifest.databases:
            known = ", ".join(manifest.databases) or "none"
            near = difflib.get_close_matches(name, manifest.databases, 1, 0)
            hint = f"--database {listed(near)}" if near else ""
            raise Failed(RESTORE_REFUSED, f"the set has no database {name}", f"it has {known}", hint)
        if not job.request.new_name and name in SERVERS_OWN:
            raise Failed(
                RESTORE_REFUSED,
                f"{name} belongs to the server, and is never replaced",
                "the server needs it to let anybody in, and to make new databases",
                f"{command(manifest.id, job.request, [name])} --as NAME, which restores it beside",
            )
    if job.request.new_name:
        must_fit(job.request.new_name)
    names = asked or all_of(manifest)
    if job.request.new_name:
        if len(names) != 1:
            raise Failed(
                RESTORE_REFUSED, "--as is for one database", f"the set has {', '.join(names)}", "add --database NAME"
            )
        return {names[0]: job.request.new_name}
    return {name: name for name in names}

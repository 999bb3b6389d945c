"""Read-only questions: the sets on each target, one set, the plan of a restore. They take no lock."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from worker import configuration, finding, folders, leftovers, listing, plan, postgres, sets, snapshots, swap
from worker.buckets import blobs, browsing, checking
from worker.comparison import differences
from worker.contract import RESTORE_REFUSED, Request
from worker.errors import Failed
from worker.job import Job
from worker.manifest import Manifest
from worker.targets import Target


def answer(request: Request) -> dict[str, Any]:
    """The answer to `{"ask": "list" | "show" | "diff" | "plan" | "undo" | "leftovers" | "pin" | "unpin", ...}`."""
    job = Job.asked(request)
    answers = {"list": _list, "show": _show, "diff": _diff, "plan": plan.plan, "undo": swap.undoable}
    return {**answers, "leftovers": _leftovers, "pin": _pin, "unpin": _unpin}[request.ask](job)


def _list(job: Job) -> dict[str, Any]:
    """Every set with its targets, and the targets that do not answer."""
    rows: dict[str, dict[str, Any]] = {}
    dead, keys = {}, job.keys  # an identity that is not there is no fault of a target
    for target in finding.places(job):
        try:
            for summary in sets.list_sets(target, job.request.stack or job.stack, keys):
                row = rows.setdefault(summary.id, _row(summary))
                if summary.manifest and row["seconds"] is None:
                    # The targets before this one could not say what is in it.
                    row |= _row(summary) | {key: row[key] for key in ("targets", "checks", "pinned")}
                row["targets"][target.name] = summary.reason or "whole"
                row["pinned"] = row["pinned"] or summary.pinned
                if summary.check:
                    row["checks"][target.name] = summary.check.as_row()
        except Failed as error:
            dead[target.name] = error.one_line(target.name)
    return {"sets": sorted(rows.values(), key=lambda entry: str(entry["id"]), reverse=True), "dead": dead}


def _row(summary: sets.Summary) -> dict[str, Any]:
    manifest = summary.manifest
    return {
        "id": summary.id,
        "created": summary.created.isoformat(timespec="seconds"),
        "seconds": round((manifest.finished - manifest.created).total_seconds(), 1) if manifest else None,
        "bytes": summary.size,
        "objects": sum(bucket["bytes"] for bucket in manifest.buckets.values()) if manifest else 0,
        "only": list(manifest.only) if manifest else [],
        "failed": sorted(manifest.incomplete) if manifest else [],
        "databases": sorted(manifest.databases) if manifest else [],
        "buckets": sorted(manifest.buckets) if manifest else [],
        "pinned": summary.pinned,
        "checks": {},
        "targets": {},
    }


def _show(job: Job) -> dict[str, Any]:
    manifest, where, _ = finding.find(job)
    databases = {
        name: {
            "owner": database["owner"],
            "bytes": database["bytes"],
            "dump_bytes": database["dump_bytes"],
            "tables": len(database["contents"]["rows"]),
            "rows": sum(database["contents"]["rows"].values()),
            "extensions": database["contents"]["extensions"],
        }
        for name, database in manifest.databases.items()
    }
    return {
        "id": manifest.id,
        "from": where,
        "stack": manifest.stack,
        "host": manifest.host,
        "created": manifest.created.isoformat(timespec="seconds"),
        "finished": manifest.finished.isoformat(timespec="seconds"),
        "only": list(manifest.only),
        "versions": dict(manifest.versions),
        "images": dict(manifest.images),
        "server": dict(manifest.server),
        "databases": databases,
        "folders": {
            name: {key: folder[key] for key in ("here", "files", "bytes", "stopped")}
            for name, folder in manifest.folders.items()
        },
        "buckets": {name: dict(bucket) for name, bucket in manifest.buckets.items()},
        **(browsing.shown(job, manifest, where) if job.request.buckets else {}),
        "left_out": manifest.left_out,
        "omitted": {kind: list(names) for kind, names in manifest.omitted.items()},
        "files": [file["path"] for file in manifest.config],
        "parts": len(manifest.parts),
        "bytes": sum(part.bytes for part in manifest.parts),
        **_where(job, manifest.id),
    }


def _where(job: Job, id: str) -> dict[str, Any]:
    """The targets that have a set, with its newest check on each."""
    row: dict[str, Any] = next((listed for listed in _list(job)["sets"] if listed["id"] == id), {})
    return {"targets": row.get("targets", {}), "checks": row.get("checks", {})}


def _diff(job: Job) -> dict[str, Any]:
    """The differences of a set from the live state: counts of databases, files of the configuration, folders and buckets.

    A server that does not answer costs only what it has: `unread` says why.
    """
    manifest, where, _ = finding.find(job)
    differing, unread, whole = dict[str, dict[str, list[str]]](), dict[str, str](), not job.request.buckets
    comparisons: dict[str, Callable[[], dict[str, list[str]]]] = {
        "databases": lambda: _databases(job, manifest),
        "folders": lambda: _folders(job, manifest, where),
        "buckets": lambda: browsing.differences(job, manifest, where),
    }
    for kind, compare in comparisons.items():
        try:
            differing[kind] = compare() if whole or kind == "buckets" else {}
        except (Failed, psycopg.Error) as error:
            differing[kind], unread[kind] = {}, error.one_line() if isinstance(error, Failed) else str(error).strip()
    return {
        "id": manifest.id,
        "from": where,
        "created": manifest.created.isoformat(timespec="seconds"),
        **differing,
        "unread": unread,
        "number": len(manifest.config) if whole else 0,
        "files": configuration.texts(job, manifest, where) if manifest.config and whole else [],
    }


def _databases(job: Job, manifest: Manifest) -> dict[str, list[str]]:
    """The differences of each database from the live one, by its counts."""
    names = plan.all_of(manifest)
    if names and not job.has_postgres:
        return {name: ["this stack has no PostgreSQL"] for name in names}
    if not names:
        return {}
    differing = dict[str, list[str]]()
    with job.server.connect() as session:
        here = {
            database["name"]
            for database in postgres.databases(session)
            if database["open"] and not database["template"]
        }
    for name in names:
        differing[name] = ["it is gone"]
        if name in here:
            with job.server.connect(name) as inside:
                actual = snapshots.contents(inside)
            differing[name] = [str(row) for row in differences(manifest.databases[name]["contents"], actual)]
    return differing | {name: ["it is new"] for name in sorted(here - {*names, "postgres"})}


def _folders(job: Job, manifest: Manifest, source: str) -> dict[str, list[str]]:
    """The differences of each folder from the live one: by size, time, owner and mode, not by content."""
    differing: dict[str, list[str]] = {}
    for folder in folders.of(job.config):
        if folder.name not in manifest.folders:
            differing[folder.name] = ["the set does not have it"]
        elif not os.path.isdir(folder.here):
            differing[folder.name] = [f"{folder.here} is not there"]
        else:
            wanted, now = folders.listed(job, manifest, source, folder), listing.of_folder(Path(folder.here))
            differing[folder.name] = [str(row) for row in listing.differences(wanted, now)]
    return differing | {
        name: ["the inventory has no backup of it"] for name in manifest.folders if name not in differing
    }


def _leftovers(job: Job) -> dict[str, Any]:
    return {"leftovers": leftovers.find(job), "configuration": configuration.beside()}


def _pin(job: Job) -> dict[str, Any]:
    """Pins the set on every target that has it."""
    targets = _having(job)
    for target in targets:
        sets.add_pin(target, job.stack, job.request.set, job.keys, datetime.now(UTC), job.request.why)
    return {"pinned": [target.name for target in targets]}


def _unpin(job: Job) -> dict[str, Any]:
    targets = [
        target for target in _having(job) if sets.remove_pin(job.pruner(target.name), job.stack, job.request.set)
    ]
    return {"unpinned": [target.name for target in targets]}


def _having(job: Job) -> list[Target]:
    """The targets that have the set; dead targets are skipped."""
    id, targets, reasons = job.request.set, list[Target](), list[str]()
    for target in job.targets.values():
        try:
            if any(summary.id == id for summary in sets.list_sets(target, job.stack, job.keys)):
                targets.append(target)
        except Failed as error:
            reasons.append(f"{target.name}: {error.one_line(target.name)}")
    if not targets:
        raise Failed(RESTORE_REFUSED, f"no target has the set {id}", "\n".join(reasons), "inv backup.list")
    return targets


def stream(request: Request) -> None:
    """Writes a set, encrypted as on its target, as a tar archive to standard output; the manifest is its last member."""
    job = Job.asked(request)
    manifest, where, _ = finding.find(job)
    target, place, stack = job.targets[where], sets.folder(manifest.stack, manifest.id), manifest.stack
    keys = {part.name: f"{place}/{part.name}" for part in manifest.parts}
    # The archive includes contents that the set shares with others.
    contents = (blob.name for blob in checking.needed(target, job.keys, manifest))
    keys |= {blobs.key("", name).lstrip("/"): blobs.key(stack, name) for name in contents}
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        for name, key in (keys | {sets.MANIFEST: f"{place}/{sets.MANIFEST}"}).items():
            data = target.get(key)
            entry = tarfile.TarInfo(f"{manifest.id}/{name}")
            entry.size, entry.mtime = len(data), int(manifest.created.timestamp())
            tar.addfile(entry, io.BytesIO(data))

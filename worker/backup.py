"""One set: snapshots of all databases, their dumps, the globals, buckets, folders of services, the deployed configuration; the manifest last.

A set exists only once its manifest does. A target that fails does not stop the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from worker import configuration, finish, folders, omissions, retention, sets
from worker.buckets import COMPONENT as BUCKETS
from worker.buckets import called, saving
from worker.buckets.saving import Buckets
from worker.contract import OK, RETENTION_FAILED
from worker.copies import died, free, lacks_copies, on_each, writing
from worker.databases import Databases, Streams, incomplete, save
from worker.errors import Failed
from worker.folders import Folders, not_started
from worker.job import Job
from worker.postgres import Row
from worker.preflight import preflight
from worker.rate import Rate


def run(job: Job) -> int:
    """Makes a set on every target that works; the exit code says whether all have it."""
    begun = datetime.now(UTC)
    finish.ping(job, "/start")
    only = job.request.only or list(job.config["components"])
    with job.journal.step("preflight"):
        previous, there = preflight(job, only)
    rate = Rate(job.request.limit_rate or job.config["limit_rate"])
    writer = sets.PartWriter(
        job.alive, job.keys, sets.folder(job.stack, job.run), ahead=job.config["uploads"], rate=rate
    )
    components: dict[str, Streams] = {}
    dumped, services, buckets = Databases(), Folders(), Buckets()
    files: list[Row] = []
    with writing(job, writer):
        if "postgres" in only:
            components["postgres"] = {}
            dumped = save(job, writer, components["postgres"], previous)
        # After the snapshots: an object that a row refers to existed before the row, and exists until it is deleted.
        if BUCKETS in only:
            with job.journal.step("buckets"):
                buckets = saving.save(job, writer, components.setdefault(BUCKETS, {}), there)
        if folders.COMPONENT in only:
            with job.journal.step("folders"):
                services = folders.save(job, writer, components.setdefault(folders.COMPONENT, {}), previous)
        if "config" in only:
            with job.journal.step("config"):
                files, components["config"] = configuration.packed(job, writer)
    for name, error in writer.dropped.items():
        died(job, name, error)
    manifest = sets.Manifest(
        id=job.run,
        stack=job.stack,
        host=job.config["host"],
        created=begun,
        finished=datetime.now(UTC),
        only=() if set(only) >= set(job.config["components"]) else tuple(sorted(only)),
        versions={"worker": job.config["version"], "commit": job.request.commit},
        images={"postgres": job.postgres["image"]} if job.has_postgres else {},
        server=dumped.server,
        components=components,
        databases=dumped.saved,
        failed=_reasons(dumped.failed),
        closed=dumped.closed,
        folders=services.saved,
        failed_folders=_reasons(services.failed),
        buckets=buckets.saved,
        failed_buckets=buckets.reasons,
        omitted=omissions.names(dumped.omitted),
        config=tuple(files),
        previous=sets.hash_of(previous.canonical()) if previous else "",
    )
    with job.journal.step("publish"):
        data = manifest.signed(job.keys)
        on_each(job, lambda target: sets.publish(target, data))
        job.journal.say("published on " + ", ".join(living.name for living in job.alive))
    with job.journal.step("retention"):
        free(job, writer.dropped)
        retained = retention.apply(job)
    failures = {"postgres": dumped.failed, folders.COMPONENT: services.failed, BUCKETS: buckets.failed}
    job.lacking = {name for name, failed in failures.items() if failed}
    if failed := {
        **dumped.failed,
        **services.failed,
        **{called(bucket): why for bucket, why in buckets.failed.items()},
    }:
        raise incomplete(failed)
    if services.silent:
        raise not_started(services.silent)
    if job.dead:
        raise lacks_copies(job)
    return OK if retained else RETENTION_FAILED


def _reasons(failed: Mapping[str, Failed]) -> dict[str, str]:
    return {name: f"{error.what}: {error.why}" for name, error in failed.items()}

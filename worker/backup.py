"""One set: snapshots of all databases, their dumps, the globals, the deployed configuration; the manifest last.

Nothing exists before its manifest does. A target that dies on the way does not stop the others.
"""

from __future__ import annotations

from datetime import UTC, datetime

from worker import configuration, finish, omissions, retention, sets
from worker.copies import died, lacks_copies, on_each, take_away
from worker.databases import Databases, Streams, save
from worker.errors import OK, RETENTION_FAILED
from worker.job import Job
from worker.postgres import Row
from worker.preflight import preflight

STEPS = ("preflight", "snapshot", "dump", "check", "globals", "config", "publish", "retention")
COMPONENTS = ("postgres", "config")


def run(job: Job) -> int:
    """Makes a set on every target that takes it; the exit code says on how many it is."""
    begun = datetime.now(UTC)
    finish.ping(job, "/start")
    only = job.request.get("only") or list(COMPONENTS)
    with job.journal.step("preflight"):
        previous = preflight(job, only)
    writer = sets.PartWriter(job.alive, job.keys, sets.folder(job.stack, job.run), ahead=job.config["uploads"])
    components: dict[str, Streams] = {}
    found = Databases()
    files: list[Row] = []
    with writer:
        if "postgres" in only:
            components["postgres"] = {}
            found = save(job, writer, components["postgres"], previous)
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
        on_each(job, lambda target: sets.publish(target, data))
        job.journal.say("published on " + ", ".join(one.name for one in job.alive))
    with job.journal.step("retention"):
        take_away(job, writer.dropped)
        retained = retention.apply(job)
    if found.failed:
        raise found.incomplete()
    if job.dead:
        raise lacks_copies(job)
    return OK if retained else RETENTION_FAILED

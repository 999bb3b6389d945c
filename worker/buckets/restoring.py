"""Objects of a bucket from a set: put beneath what is there, read back, and only then made current; else all of it is taken back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from worker import swap
from worker.buckets import flat, inserting, listing, probing, quiet, settings
from worker.buckets.beneath import Beneath
from worker.buckets.client import Client, path
from worker.buckets.contents import Contents
from worker.buckets.made import Made
from worker.buckets.pools import Pools
from worker.buckets.survey import Survey, surveyed
from worker.buckets.wanted import Wanted
from worker.contract import OK, RESTORE_FAILED, RESTORE_REFUSED
from worker.errors import Failed
from worker.finding import find, introduced
from worker.job import Job
from worker.records import Record
from worker.size import human

ENABLED, SUSPENDED = "Enabled", "Suspended"


def plan(job: Job) -> dict[str, Any]:
    """What a restore would do, for the person who is asked; nothing is changed."""
    manifest, where, warnings = find(job)
    wanted = Wanted(job, manifest, where)
    found = _checked(wanted)
    return {
        **introduced(manifest, where),
        "databases": [],
        "objects": {
            "bucket": wanted.to,
            "of": wanted.bucket,
            "there": wanted.there,
            "versioned": wanted.versioned,
            "off": sorted(quiet.acting(wanted.now)),
            "kept": flat.KEPT + "NUMBER",
            "exact": job.request.exact,
            **found.told(),
        },
        "obstacles": [],
        "warnings": warnings + found.warnings(wanted.now),
        "dependents": [],
        "free": {},
    }


def _checked(wanted: Wanted) -> Survey:
    """What would be done, after all that can be refused was refused."""
    what = f"the bucket {wanted.to}"
    if wanted.there and wanted.versioning == SUSPENDED:
        why = "an object that is put there has no id, and would replace the one without an id in place"
        raise Failed(RESTORE_REFUSED, f"the versioning of {what} is suspended", why, "--as NAME, a bucket beside it")
    if wanted.job.request.exact and wanted.prefixes and not wanted.start.startswith(tuple(wanted.prefixes)):
        why = f"it has only the keys that begin with {', '.join(wanted.prefixes)}: all others would be hidden"
        hint = f"--exact --prefix {shlex.quote(wanted.prefixes[0])}"
        raise Failed(RESTORE_REFUSED, f"{wanted.manifest.id} does not have all keys of {wanted.bucket}", why, hint)
    found = surveyed(wanted.groups(), wanted.live() if wanted.there else None, wanted.versioned)
    if wanted.start and not found.keys:
        asked = f"--key {wanted.job.request.key}" if wanted.job.request.key else f"--prefix {wanted.job.request.prefix}"
        hint = f"inv backup.show {wanted.manifest.id} --bucket {wanted.bucket}"
        raise Failed(RESTORE_REFUSED, f"nothing in {wanted.bucket} matches {asked}", f"in {wanted.manifest.id}", hint)
    if found.locked and wanted.there and not settings.locks(wanted.now):
        why = f"{found.locked} versions have retention or a legal hold, which a bucket gets only when it is made"
        raise Failed(RESTORE_REFUSED, f"{what} was made without object lock", why, "--as NAME, which is made with it")
    return found


def run(job: Job) -> int:
    """Restores; after any failure the listing of versions is as it was before."""
    record = Record(job.run, job.request.set, datetime.now(UTC).isoformat(timespec="seconds"))
    with job.journal.step("preflight"):
        manifest, source, _ = find(job)
        wanted = Wanted(job, manifest, source)
        found = _checked(wanted)
        record.set, record.bucket = manifest.id, wanted.to
        if wanted.versioned:
            probing.must_take_ids(wanted.minio, job.run)
        contents = Contents(job.targets[source], job.keys, manifest)
        record.made_bucket = not wanted.there
        record.held = quiet.acting(wanted.now)
        record.save()
    try:
        make_bucket(wanted)
        quiet.take_off(wanted.minio, wanted.to, record.held)
        with Pools(job) as pools:
            if wanted.versioned:
                moves = Beneath(wanted.minio, wanted.to, contents, record.made, job.journal.say)
                _versions(wanted, moves, pools, found)
            else:
                _flat(wanted, contents, record.made, pools, found)
        with job.journal.step("lock"):
            lock(wanted.minio, record.bucket, record.made)
            if not wanted.there and wanted.versioning == SUSPENDED:
                quiet.set_part(wanted.minio, wanted.to, "versioning", wanted.saved["versioning"])
            quiet.put_on(wanted.minio, wanted.to, record.held)
    except BaseException as error:
        swap.taken_back(job, record, error, committed="")
        if isinstance(error, Failed):
            raise error.coded(RESTORE_FAILED) from None
        raise
    record.held, record.phase = {}, "done"
    record.save()
    job.journal.say(f"{wanted.to}: {found.insert} versions were put back, {human(found.bytes)}, each read back")
    return OK


def make_bucket(wanted: Wanted) -> None:
    """Where it is not there: as in the set, with versions and with locks."""
    if wanted.there:
        return
    locks = {"x-amz-bucket-object-lock-enabled": "true"} if settings.locks(wanted.saved) else {}
    wanted.minio.ask("PUT", path(wanted.to), headers=locks)
    if wanted.versioned and not locks:
        text = wanted.saved["versioning"].replace(f">{SUSPENDED}<", f">{ENABLED}<")
        quiet.set_part(wanted.minio, wanted.to, "versioning", text)


def _versions(wanted: Wanted, beneath: Beneath, pools: Pools, found: Survey) -> None:
    job = wanted.job
    with job.journal.step("insert"):
        live = wanted.live()
        pools.all(((rows, partial(beneath.insert, rows, live.of(key))) for key, rows in wanted.groups()), found.bytes)
    with job.journal.step("current"):
        live = wanted.live()
        pools.all(((), partial(beneath.make_current, rows, live.of(key))) for key, rows in wanted.groups())
        if job.request.exact:
            for some in _born(wanted):
                beneath.hide(some)


def _flat(wanted: Wanted, contents: Contents, made: Made, pools: Pools, found: Survey) -> None:
    job, minio, to = wanted.job, wanted.minio, wanted.to
    with job.journal.step("current"):
        live, do = wanted.live(), partial(flat.replace, minio, contents, made, job.run, to)
        pools.all(((rows, partial(do, rows, live.of(key))) for key, rows in wanted.groups()), found.bytes)
        if job.request.exact:
            for some in _born(wanted):
                flat.remove(minio, made, job.run, to, some[0])


def _born(wanted: Wanted) -> Iterator[list[listing.Version]]:
    """The keys that are there now, and not in the set."""
    groups = wanted.groups()
    key, rows = next(groups, ("", []))
    for some in listing.by_key(listing.versions(wanted.minio, wanted.to, wanted.start)):
        if wanted.job.request.key and some[0].key != wanted.job.request.key:
            continue
        while rows and key.encode() < some[0].key.encode():
            key, rows = next(groups, ("", []))
        gone = not rows or key != some[0].key or bool(rows[0].get("marker"))
        if gone and not some[0].marker:
            yield some


def lock(minio: Client, bucket: str, made: Made) -> None:
    """Retention and legal hold, last: after them a version may not be deleted any more."""
    for line in made.lines():
        if "lock" in line:
            inserting.lock(minio, bucket, line["key"], line["id"], line["lock"])

"""Whether a set could be restored: `cheap` reads every byte of it, `drill` restores it into a throwaway server."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from worker import containers, drill, restore, sets
from worker.errors import OK, VERIFY_FAILED, Failed
from worker.job import Job

STEPS = ("find", "read", "drill", "record")


def run(job: Job) -> int:
    """Checks a set on every target that has it, or on the one that was asked for; records what it found beside it."""
    names = [job.request["from"]] if job.request.get("from") else list(job.targets)
    wrong: list[str] = []
    checked = 0
    for name in names:
        job.request["from"] = name
        with job.journal.step("find"):
            try:
                manifest = restore.find(job).manifest
            except Failed as error:
                wrong.append(f"{error.what}: {error.why}")
                continue
            # A set of the configuration alone has nothing to load.
            drills = bool(job.request.get("drill") and manifest.databases)
            if drills:
                drill.must_have_room(job, manifest)
        begun = time.monotonic()
        failure = ""
        try:
            with job.journal.step("read"):
                _read(job, manifest, name)
            if drills:
                with job.journal.step("drill"):
                    drill.run(job, manifest, name)
            checked += 1
        except Failed as error:
            failure = f"{error.what}: {error.why}"
            wrong.append(f"{manifest.id} on {name}: {failure}")
        took = round(time.monotonic() - begun, 1)
        with job.journal.step("record"):
            more = {"drill": drills, "seconds": took, "why": failure}
            sets.add_verified(
                job.targets[name], manifest.stack, manifest.id, job.keys, datetime.now(UTC), not failure, **more
            )
        if not failure:
            what = (
                "restored in a throwaway server, and every count is right" if more["drill"] else "every byte is right"
            )
            job.journal.say(f"{manifest.id} on {name}: {what} ({took} s)")
    containers.remove(job.run)
    if wrong:
        raise Failed(
            VERIFY_FAILED,
            "a set is not what it should be",
            "\n".join(wrong),
            "inv backup.list, which shows on which target another set, or this one, has passed its check",
        )
    return OK


def _read(job: Job, manifest: sets.Manifest, name: str) -> None:
    """Every part is fetched, decrypted and compared with the manifest."""
    reader = sets.reader(job.targets[name], job.keys, manifest)
    total, done = sum(one.plain_bytes for one in manifest.parts), 0
    for streams in manifest.components.values():
        for parts in streams.values():
            for chunk in reader.read(parts):
                done += len(chunk)
                job.journal.progress(done, total)

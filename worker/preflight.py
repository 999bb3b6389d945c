"""Checks before anything is written: keys, targets, the owner of the sets, the clock, the server, and room."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from worker import postgres, sets
from worker.contract import REFUSED
from worker.copies import on_each
from worker.dumps import groups
from worker.errors import Failed
from worker.job import Job
from worker.size import human
from worker.targets import Target

SKEW = timedelta(seconds=60)


def preflight(job: Job, only: list[str]) -> tuple[sets.Manifest | None, list[sets.Summary]]:
    """Refuses, before anything is written, all that can be refused. Gives the manifest of the last good set, and all sets."""
    if job.keys.decrypt(job.keys.encrypt(b"canary")) != b"canary":
        raise Failed(REFUSED, "the backup identity does not decrypt what it encrypts")
    on_each(job, lambda target: target.probe())
    on_each(job, lambda target: target.check_rules(), REFUSED)
    summaries = _claimed(job)
    if job.config["single_copy"]:
        job.journal.say("DEGRADED: the only copy is in the stack itself, and is lost with it")
    # Also a set that failed its check: a set made now would be older than it, and never the newest.
    must_not_be_ahead(job.stack, summaries, datetime.now(UTC))
    last = sets.latest(summaries)
    previous = last.manifest if last else None
    if "postgres" in only:
        with job.server.connect() as session:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND pid <> pg_backend_pid()",
                (postgres.WORKER,),
            )
            sizes = {
                database["name"]: database["bytes"] for database in postgres.databases(session) if database["open"]
            }
            most = max((sum(sizes[name] for name in group) for group in groups(sizes)), default=0)
            ours = str(session.info.server_version // 10000)
        theirs = job.tools(REFUSED).call("version", "pg_dump", "--version").split()[2].split(".")[0]
        if ours != theirs:
            raise Failed(REFUSED, f"PostgreSQL is {ours}, the tools of its image are {theirs}", hint="inv deploy")
        on_each(job, lambda target: must_have_room(target, previous, sum(sizes.values())), REFUSED)
        free = shutil.disk_usage(job.staging).free
        if free < most:
            raise Failed(
                REFUSED,
                "there is no room to stage the largest databases",
                f"those that are dumped at once have {human(most)}, {human(free)} are free in {job.config['staging']}",
                "set backup.staging to a directory on a larger filesystem",
            )
    return previous, summaries


def must_not_be_ahead(stack: str, summaries: Iterable[sets.Summary], now: datetime) -> None:
    """Refuses while a set is from the future: a set made now would never be the newest."""
    ahead = {summary.id: summary.created for summary in summaries if summary.valid and summary.created > now + SKEW}
    if not ahead:
        return
    id = max(ahead, key=lambda id: ahead[id])
    why = f"{id} says that it was made at {ahead[id]:%Y-%m-%d %H:%M:%S} UTC, and here it is {now:%Y-%m-%d %H:%M:%S}"
    hint = (
        "timedatectl, on the host"
        f"\nif the clock is right, it was wrong then: move {sets.folder(stack, id)}/{sets.MANIFEST} away on every target,"
        " then inv backup"
    )
    raise Failed(REFUSED, "the clock is behind the newest set", why, hint)


def must_have_room(target: Target, previous: sets.Manifest | None, most: int) -> None:
    """Refuses a target with less room than the last set took; databases may have become smaller."""
    wanted = min(most, sum(part.bytes for part in previous.parts)) if previous else 0
    if wanted and (room := target.room()) and room.free < wanted:
        why = f"the last one took {human(wanted)}, {human(room.free)} are free in {room.place}"
        raise Failed(REFUSED, f"{target.name}: it has no room for a set", why, room.hint)


def _claimed(job: Job) -> list[sets.Summary]:
    """The sets of all targets. A target that cannot be listed is given up; one with sets of another host ends the run."""
    taken, summaries, refused = job.request.take_over, list[sets.Summary](), list[Failed]()

    def claim(target: Target) -> None:
        try:
            sets.claim(target, job.stack, job.keys, job.config["host"], taken)
        except Failed as error:
            if error.code != REFUSED:
                raise
            refused.append(error)
            return
        for node in target.silent():
            job.journal.say(f"{target.name}: {node} does not answer; the others do")
        summaries.extend(sets.list_sets(target, job.stack, job.keys))

    on_each(job, claim)
    if refused:
        raise refused[0]
    return summaries

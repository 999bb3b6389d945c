"""Retention: planned from signed manifests, carried out key by key, and refused in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from worker.buckets import checking
from worker.contract import RETENTION_FAILED
from worker.errors import Failed
from worker.job import Job
from worker.manifest import folder
from worker.sets import MANIFEST, UNFINISHED, UNREADABLE, Summary, list_sets, sharing_drills
from worker.targets import Target
from worker.targets.base import CANARY

KEEP_AT_LEAST = 3
MOST = 0.5
# A set without a manifest may still be in the making, but not for longer than this.
GRACE = timedelta(hours=48)
COMPLETE, INCOMPLETE = "all", "incomplete"


@dataclass(frozen=True)
class Plan:
    """What retention would do on one target: sets to remove, leftovers to sweep, and why each other set stays."""

    remove: tuple[Summary, ...] = ()
    sweep: tuple[Summary, ...] = ()
    keep: dict[str, str] = field(default_factory=dict)
    refused: str = ""


@dataclass(frozen=True)
class Removed:
    """What was removed."""

    sets: int = 0
    objects: int = 0
    bytes: int = 0


def plan(
    summaries: Iterable[Summary],
    now: datetime,
    days: int,
    *,
    keep_at_least: int = KEEP_AT_LEAST,
    allow_many: bool = False,
) -> Plan:
    """Decides which sets to remove: only valid ones, and only when equally good ones stay.

    Complete sets are counted separately from sets of each component: a run with --only removes no complete set.
    """
    seen = list(summaries)
    valid = [summary for summary in seen if summary.valid and summary.manifest is not None]
    sweep = [
        summary for summary in seen if summary.reason == UNFINISHED and not summary.pinned and _forsaken(summary, now)
    ]
    keep = {
        summary.id: f"{summary.reason}, retention leaves it alone"
        for summary in seen
        if not summary.valid and summary not in sweep
    }
    keep |= {summary.id: "pinned" for summary in seen if summary.pinned}
    for group in _groups(valid).values():
        for summary, why in _kept(group, now, timedelta(days=days), keep_at_least):
            keep.setdefault(summary.id, why)
    remove = [summary for summary in valid if summary.id not in keep]
    refused = _refused(seen, valid, remove, now, allow_many)
    if refused:
        return Plan(keep=keep, refused=refused)
    return Plan(tuple(_oldest_first(remove)), tuple(_oldest_first(sweep)), keep)


def carry_out(
    target: Target, stack: str, decided: Plan, on_removed: Callable[[str], None] = lambda key: None
) -> Removed:
    """Removes what the plan says, by the exact keys that were listed: of each set the manifest, then its parts."""
    if decided.refused:
        raise Failed(RETENTION_FAILED, f"{target.name}: nothing was removed", why=decided.refused)
    sets = objects = size = 0
    try:
        for summary in (*decided.remove, *decided.sweep):
            manifest = f"{folder(stack, summary.id)}/{MANIFEST}"
            if summary in decided.sweep and target.stat(manifest) is not None:
                # It was finished after the listing.
                continue
            # The manifest first: without it the rest is no backup, even if the removal is interrupted.
            for key in sorted((entry.key for entry in summary.entries), key=lambda key: key != manifest):
                target.delete(key)
                on_removed(key)
                objects += 1
            sets, size = sets + 1, size + summary.size
    except Failed as error:
        raise Failed(RETENTION_FAILED, f"{error.what}, after {objects} objects", error.why, error.hint) from None
    return Removed(sets, objects, size)


def take_away(target: Target, stack: str, id: str) -> int:
    """Removes the parts of a set without a manifest, for the run that made them."""
    above = folder(stack, id)
    if target.stat(f"{above}/{MANIFEST}") is not None:
        return 0
    keys = [entry.key for entry in target.list(f"{above}/")]
    for key in keys:
        target.delete(key)
    return len(keys)


def sweep_contents(job: Job, pruner: Target) -> int:
    """Removes the contents of buckets that no set on a target needs, also those of this run: nobody else writes there."""
    known = {summary.id for summary in list_sets(pruner, job.stack, job.keys) if summary.valid}
    return checking.sweep(pruner, job.keys, job.stack, datetime.now(UTC), timedelta.min, known)


def sweep_canaries(target: Target, now: datetime) -> int:
    """Removes the canaries of probes by writers that may not delete."""
    old = [entry.key for entry in target.list(CANARY) if entry.modified < now - GRACE]
    for key in old:
        target.delete(key)
    return len(old)


def apply(job: Job) -> bool:
    """Removes old sets from every target that answers, also from a full one; a failure here does not affect the new set."""
    pruners, summaries, well = dict[str, Target](), dict[str, list[Summary]](), not job.silent
    for name in job.silent:
        job.journal.say(f"{name}: old sets stay, as it does not answer")
    for name in (name for name in job.targets if name not in job.silent):
        try:
            pruners[name] = job.pruner(name)
            summaries[name] = list(list_sets(pruners[name], job.stack, job.keys))
        except Failed as error:
            well = _stays(job, name, error)
    for name, there in sharing_drills(summaries).items():
        try:
            _remove_old(job, pruners[name], there)
        except Failed as error:
            well = _stays(job, name, error)
    return well


def _remove_old(job: Job, pruner: Target, there: list[Summary]) -> None:
    """Plans and carries out retention on one target."""
    now, days = datetime.now(UTC), job.config["retention"]["days"]
    decided = plan(there, now, days, allow_many=job.request.allow_many)
    gone = carry_out(pruner, job.stack, decided)
    sweep_canaries(pruner, now)
    # Contents are shared: removed after the last set that needs them.
    removed = {summary.id for summary in decided.remove}
    known = {summary.id for summary in there if summary.valid} - removed
    known |= {job.run} if pruner.name not in job.dead else set()
    if gone.sets and (number := checking.sweep(pruner, job.keys, job.stack, now, GRACE, known)):
        job.journal.say(f"{pruner.name}: {number} contents of buckets that no set needs any more were removed")
    job.journal.say(f"{pruner.name}: {gone.sets} old sets removed, {len(decided.keep)} kept")


def _stays(job: Job, name: str, error: Failed) -> bool:
    job.journal.say(f"{name}: old sets stay: {error.what}: {error.why}")
    return False


def _groups(valid: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Groups of sets that can replace each other, newest first: complete ones, those with each component, and incomplete
    ones, which replace no other.
    """
    groups: dict[str, list[Summary]] = {}
    for summary in sorted(valid, key=lambda summary: (summary.created, summary.id), reverse=True):
        assert summary.manifest is not None
        components = [name for name in summary.manifest.components if not summary.manifest.lacks(name)]
        names = [COMPLETE] * summary.complete + [INCOMPLETE] * bool(summary.manifest.incomplete)
        for name in names + [f"with {component}" for component in components]:
            groups.setdefault(name, []).append(summary)
    return groups


def _kept(group: Sequence[Summary], now: datetime, age: timedelta, at_least: int) -> Iterable[tuple[Summary, str]]:
    young = [summary for summary in group if now - summary.created < age]
    yield from ((summary, f"younger than {age.days} days") for summary in young)
    # A set that failed its check replaces no other.
    group = [summary for summary in group if not summary.doubtful] or group
    old = [summary for summary in group if summary not in young]
    # One set of at least the requested age must stay, to cover the time before the oldest young set.
    yield from ((summary, f"the newest that is {age.days} days old") for summary in old[:1])
    yield from ((summary, f"one of the newest {at_least}") for summary in group[:at_least])
    verified = max(
        (summary for summary in group if summary.verified),
        key=lambda summary: (summary.created, summary.id),
        default=None,
    )
    if verified:
        yield verified, "the newest that passed a check"


def _refused(
    seen: Sequence[Summary], valid: Sequence[Summary], remove: Sequence[Summary], now: datetime, allow_many: bool
) -> str:
    unreadable = [summary for summary in seen if summary.reason == UNREADABLE]
    if unreadable:
        return f"{unreadable[0].id} could not be read: {unreadable[0].why}"
    newest = max((_made(summary, now) for summary in seen), default=now)
    if newest > now:
        return f"the newest set is of {newest:%Y-%m-%d %H:%M:%S} UTC, and here it is {now:%Y-%m-%d %H:%M:%S}: check the clock"
    if len(remove) > MOST * len(valid) and not allow_many:
        return f"{len(remove)} of {len(valid)} sets would go, more than {MOST:.0%}; when that is right: inv backup --allow-many"
    return ""


def _forsaken(summary: Summary, now: datetime) -> bool:
    """Whether the set is too old to be in the making, by its name and by the target's clock."""
    return now - max([_made(summary, now), *(entry.modified for entry in summary.entries)]) > GRACE


def _made(summary: Summary, now: datetime) -> datetime:
    """When a set was made. A name has the clock of who typed the command: if that was ahead, the target's clock counts."""
    if summary.manifest or summary.created <= now:
        return summary.created
    return max((entry.modified for entry in summary.entries), default=summary.created)


def _oldest_first(summaries: Iterable[Summary]) -> list[Summary]:
    return sorted(summaries, key=lambda summary: (summary.created, summary.id))

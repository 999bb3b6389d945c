"""Finds the set for a restore or a check, a target that has it complete, and the sets that were skipped."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from worker import folders, postgres, sets
from worker.contract import RESTORE_REFUSED
from worker.errors import Failed
from worker.job import Job
from worker.targets import Target

ABSENT, IN_PARTS = "it is not there", "no set of the whole stack is there"
LOCAL = "local"
"""The name of the set for a dump made by hand."""


def places(job: Job) -> list[Target]:
    """The requested target, or all."""
    source = job.request.source
    if source and source not in job.targets:
        near = difflib.get_close_matches(source, job.targets, 1, 0)
        why = f"targets are {', '.join(job.targets)}"
        raise Failed(RESTORE_REFUSED, f"there is no target {source}", why, f"--from {near[0]}" if near else "")
    return [job.targets[source]] if source else list(job.targets.values())


class Absent(Failed):
    """All requested targets have answered, and none has the set."""


class Choice(NamedTuple):
    """A set, the target to read it from, and warnings about other sets."""

    manifest: sets.Manifest
    source: str
    warnings: list[str]


def find(job: Job) -> Choice:
    """The requested set, and the first target that has it complete; `latest` is the newest on all targets."""
    if job.request.local:
        return Choice(_by_hand(job), LOCAL, [])
    wanted, keys = job.request.set, job.keys  # an identity that is not there is no fault of a target
    stack = job.request.stack or job.stack
    reasons, dead = dict[str, list[str]](), list[str]()
    newest, broken = dict[str, sets.Summary](), list[tuple[str, sets.Summary]]()
    listed = dict[str, list[sets.Summary]]()
    for target in places(job):
        try:
            listed[target.name] = list(sets.list_sets(target, stack, keys))
        except Failed as error:
            dead.append(f"{target.name} could not be asked: {error.one_line(target.name)}")
    for name, there in sets.sharing_drills(listed).items():
        broken += [(name, seen) for seen in there if _suspect(seen) and wanted in ("latest", seen.id)]
        asked = job.request.databases or _folders(job) or _buckets(job)
        summary = (
            sets.latest(there, asked)
            if wanted == "latest"
            else next((seen for seen in there if seen.id == wanted), None)
        )
        if summary and summary.valid and summary.manifest:
            newest[name] = summary
            continue
        reasons.setdefault(_unusable(summary, there if wanted == "latest" else []), []).append(name)
    if not newest:
        what = f"no set of the stack {stack} is to be had" if wanted == "latest" else f"no target has the set {wanted}"
        why = "\n".join(dead + [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()])
        kind = Absent if {*reasons} <= {ABSENT, IN_PARTS} and not dead else Failed
        raise kind(RESTORE_REFUSED, what, why, "inv backup.list")
    # A target that missed the last backup has an older latest set. Of equal ones, the first.
    name = max(newest, key=lambda target_name: sets.preference(newest[target_name]))
    chosen = newest[name]
    assert chosen.manifest
    if chosen.check and chosen.doubtful:
        dead.append(f"{chosen.id} failed its check on {name}, {chosen.check.at:%Y-%m-%d %H:%M} UTC: {chosen.check.why}")
    broken = [(target, seen) for target, seen in broken if (target, seen.id) != (name, chosen.id)]
    return Choice(chosen.manifest, name, dead + _passed_over(chosen, broken))


def _unusable(summary: sets.Summary | None, there: Sequence[sets.Summary]) -> str:
    """Why a target has no set to restore from. For `latest`, `there` are all of its sets."""
    newest = summary or next(iter(there), None)
    if not newest:
        return ABSENT
    if summary or newest.valid:
        return f"{newest.reason}, {newest.why}" if newest.reason else IN_PARTS
    return f"none of {len(there)} sets can be restored from; the newest is {newest.reason}, {newest.why}"


def introduced(manifest: sets.Manifest, source: str) -> dict[str, Any]:
    """The beginning of a plan: the set and its source."""
    return {
        "set": manifest.id,
        "from": source,
        "created": manifest.created.isoformat(timespec="seconds"),
        "complete": manifest.complete,
        "host": manifest.host,
        "stack": manifest.stack,
    }


def _folders(job: Job) -> list[str]:
    """The requested folders: all folders of a service, or one."""
    service, inside = job.request.service, job.request.inside
    return [
        folder.name for folder in folders.of(job.config) if folder.service == service and inside in ("", folder.inside)
    ]


def _buckets(job: Job) -> list[str]:
    return [sets.bucket_named(bucket) for bucket in job.request.buckets]


def _suspect(summary: sets.Summary) -> bool:
    return not summary.valid or summary.doubtful


def _passed_over(chosen: sets.Summary, suspect: list[tuple[str, sets.Summary]]) -> list[str]:
    """The preferred sets that were skipped, as they are damaged or failed their check: newer ones, or the same on
    another target.

    For a set without a readable manifest the time in its name counts.
    """
    by_set: dict[str, dict[str, list[str]]] = {}
    for target, summary in suspect:
        # `latest` never means a set of a part of the stack.
        if summary.id == chosen.id or (
            summary.created > chosen.created and (not summary.manifest or summary.manifest.complete)
        ):
            by_set.setdefault(summary.id, {}).setdefault(_fault(target, summary), []).append(target)
    return [
        f"{id} is {'newer' if id != chosen.id else 'this set'}, and "
        + "; ".join(fault.format(targets=", ".join(targets)) for fault, targets in faults.items())
        for id, faults in sorted(by_set.items())
    ]


def _fault(target: str, summary: sets.Summary) -> str:
    """The fault of a set, with a placeholder for the targets."""
    what, why = summary.reason, summary.why
    if summary.valid and summary.check:
        what, why = "failed its check", (summary.check.why.splitlines() or [""])[0].removeprefix(f"{target}: ")
    return f"{what} on {{targets}}, {why.replace('{', '{{').replace('}', '}}')}"


def _by_hand(job: Job) -> sets.Manifest:
    """A set for a dump made by hand: it takes the properties from the live database of that name, or from the server."""
    (name,) = job.request.databases
    with job.server.connect() as session:
        here = {database["name"]: database for database in postgres.databases(session)}
    now = datetime.now(UTC)
    like = here.get(name) or {**here["postgres"], "comment": None, "rights": [], "has_rights": False, "settings": []}
    row = {**like, "bytes": Path(job.request.local).stat().st_size, "template": False}
    return sets.Manifest(LOCAL, job.stack, job.config["host"], now, now, server={"major": 0}, databases={name: row})

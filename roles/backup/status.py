"""What `inv status` shows of backups: the age of the newest set, its targets, and the next backup."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import field
from typing import TYPE_CHECKING, Any

from converge.record import dataclass
from converge.ui.durations import spoken
from roles.backup import interrupted, runs
from roles.backup.configuration import components
from worker.contract import INCOMPLETE, RUNS, STATE

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


@dataclass
class Backups:
    """Ages are in seconds; None without a set."""

    age: dict[str, float | None] = field(default_factory=dict)
    fresh: float = 0.0
    run: str = ""
    code: int | None = None
    what: str = ""
    lacking: list[str] = field(default_factory=list)
    """What the last set has not, with the reasons."""
    dead: dict[str, str] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    """Databases that cannot be backed up, and why."""
    notes: list[str] = field(default_factory=list)
    """What the last backup had to say although it did not fail for it."""
    next: str = ""
    restored: dict[str, float] = field(default_factory=dict)
    """The last successful restore: how long ago, and how long it took."""
    checked: dict[str, Any] = field(default_factory=dict)
    """The last check: its set, how long ago, its exit code, whether it was a drill."""
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The targets on which the newest check failed: the set, how long ago, why, whether it was a drill."""
    drilled: dict[str, Any] = field(default_factory=dict)
    """The last drill: the same, with its duration, its run, and what was wrong."""
    drill_within: float = 0.0
    """Seconds within which a drill must pass again; 0 if none is scheduled."""
    unfinished: list[str] = field(default_factory=list)
    """What interrupted restores may have left, in words."""
    single_copy: bool = False

    @property
    def stale(self) -> list[str]:
        """The components whose newest set is older than the inventory allows, or that have none."""
        return [name for name, age in self.age.items() if age is None or age > self.fresh]


def has_one(host: Host[Settings]) -> bool:
    return bool(host.settings.backup) and "backup" in host.settings.roles


FEW = 5
LATE = 3 * 86400.0
"""Seconds that a drill may be overdue: one that failed to run waits for the next backup."""
LATEST = 12
"""How many of the newest runs are read: they include the last backup, unless somebody restores all day."""


def facts(host: Host[Settings]) -> str:
    """Shell that reads the ends of the last runs from their journals: a killed run has no other report.

    Empty for a host without backups.
    """
    if not has_one(host):
        return ":"
    return f"""
printf 'last %s\\n' "$(cat {STATE}/last.json 2>/dev/null)"
printf 'next %s\\n' "$(systemctl show -p NextElapseUSecRealtime --value stowage-backup.timer)"
printf 'now %s\\n' "$(date +%s)"
{runs.ACTIVE} | sed 's/.*@\\([^.]*\\)\\..*/active \\1/'
cd {RUNS} 2>/dev/null && for run in $(ls | sort | tail -n {LATEST}); do
printf 'run %s %s %s\\n' "$run" "$(sed -n 's/.*"do": "\\([a-z]*\\)".*/\\1/p' "$run/request.json" 2>/dev/null)" "$(tail -n 1 "$run/journal.jsonl" 2>/dev/null)"
done
for record in {STATE}/restores/*.json; do [ ! -e "$record" ] || printf 'record %s\\n' "$(cat "$record")"; done
"""


def read(host: Host[Settings], lines: Sequence[str]) -> Backups | None:
    """The backups of a host, from its files."""
    settings = host.settings.backup
    if settings is None or not has_one(host):
        return None
    answers: dict[str, list[str]] = {}
    for key, _, rest in (line.partition(" ") for line in lines):
        answers.setdefault(key, []).append(rest)
    last = _json(answers.get("last", [""])[0])
    active = set(answers.get("active", []))
    # By the host's clock, which may differ from the operator's.
    now = float(answers.get("now", [""])[0] or time.time())
    run, end = _last_backup(answers.get("run", []), active)
    end = end or last.get("last", {})
    return Backups(
        age={name: _age(last.get(f"published_{name}"), now) for name in components(host.settings)[::-1]},
        fresh=settings.fresh_hours * 3600.0,
        run=run,
        code=end.get("code"),
        what=end.get("what", ""),
        lacking=end.get("why", "").splitlines() if end.get("code") == INCOMPLETE else [],
        dead=end.get("dead") or {},
        closed=end.get("closed") or {},
        notes=end.get("notes") or [],
        restored=_restored(last.get("restored"), now),
        checked=_checked(last.get("checked"), now),
        drilled=_checked(last.get("drilled"), now),
        failed={
            name: check | {"age": now - check["at"]}
            for name, check in last.get("checks", {}).items()
            if not check["passed"]
        },
        drill_within=settings.drill_days * 86400.0,
        unfinished=[] if active else interrupted.left([_json(record) for record in answers.get("record", [])]),
        next=answers.get("next", [""])[0],
        single_copy=all(target.kind == "stack" for target in settings.targets),
    )


def _json(text: str) -> dict[str, Any]:
    with suppress(ValueError):
        value = json.loads(text)
        return value if isinstance(value, dict) else {}
    return {}


def _last_backup(rows: Sequence[str], active: set[str]) -> tuple[str, dict[str, Any]]:
    """The newest finished backup, and its end. Without an end in its journal it was interrupted, for example by a power cut."""
    for row in reversed(rows):
        run, do, line = (*row.split(" ", 2), "", "")[:3]
        if do != "backup" or run in active:
            continue
        end = _json(line)
        if "code" not in end:
            return run, runs.cut("")
        return run, end | runs.cut(end["cut"]) | {"code": end["code"]} if "cut" in end else end
    return "", {}


def _restored(event: dict[str, Any] | None, now: float) -> dict[str, float]:
    return {"age": now - event["at"], "seconds": event["seconds"]} if event else {}


def _checked(event: dict[str, Any] | None, now: float) -> dict[str, Any]:
    keys = ("code", "drill", "set", "run", "seconds", "what")
    return {"age": now - event["at"], **{key: event.get(key) for key in keys}} if event else {}


def _age(event: dict[str, Any] | None, now: float) -> float | None:
    return now - float(event["at"]) if event else None


def lines(backups: Backups) -> Iterator[str]:
    """Its part of the screen."""
    ages = ", ".join(
        f"{name} {spoken(age) + ' old' if age is not None else 'NONE'}" for name, age in backups.age.items()
    )
    copies = "  SINGLE COPY, in the stack itself" if backups.single_copy else ""
    yield f"  backup     {ages}{copies}"
    yield from (f"  restore    {restore}" for restore in backups.unfinished)
    yield from (f"  backup     not in the last set: {line}" for line in backups.lacking[:FEW])
    for name, why in backups.dead.items():
        yield f"  backup     the target {name} did not take the last set: {why}"
    for why in dict.fromkeys(backups.closed.values()):
        names = ", ".join(name for name, reason in backups.closed.items() if reason == why)
        yield f"  backup     in no set: {names}, {why}"
    yield from (f"  backup     {note}" for note in backups.notes)
    if backups.checked and not backups.checked["drill"]:
        yield f"  backup     the last check, of {_how(backups.checked)}"
    for name, failure in backups.failed.items():
        what = "drill" if failure["drill"] else "check"
        yield f"  backup     the {what} of {failure['set']} on {name} FAILED {spoken(failure['age'])} ago: {_first(failure['why'])}"
    # The failures are above, with the reason for each target.
    if backups.drilled and not (
        backups.drilled["code"] and any(failure["drill"] for failure in backups.failed.values())
    ):
        took = f", and took {spoken(backups.drilled['seconds'])}" if backups.drilled["seconds"] else ""
        yield f"  backup     the last drill, of {_how(backups.drilled)}{took}"
    if backups.restored:
        yield f"  backup     the last restore took {spoken(backups.restored['seconds'])}, {spoken(backups.restored['age'])} ago"
    if backups.next:
        yield f"  backup     the next one {backups.next}"


def _first(why: str) -> str:
    return (why.splitlines() or [""])[0]


def _how(end: dict[str, Any]) -> str:
    return f"{end['set']}, {'FAILED' if end['code'] else 'passed'} {spoken(end['age'])} ago"


def advice(backups: Backups, host: str) -> Iterator[str]:
    """What to do about it."""
    yield from (f"{restore}: inv backup.settle --host {host}" for restore in backups.unfinished)
    if backups.code not in (None, 0):
        what, run = f", {backups.what}" if backups.what else "", f" --run {backups.run}" if backups.run else ""
        yield f"the last backup ended with {backups.code}{what}: inv backup.attach{run} --host {host}"
    if code := backups.drilled.get("code"):
        which = f", of {backups.drilled['set']}, ended with {code}"
        yield f"the last drill{which}, {backups.drilled['what']}: inv backup.attach --run {backups.drilled['run']} --host {host}"
    elif backups.drill_within and backups.drilled and backups.drilled["age"] > backups.drill_within + LATE:
        yield f"no drill for {spoken(backups.drilled['age'])}: inv backup.verify latest --drill --host {host}"
    checks = {name: failure["set"] for name, failure in backups.failed.items() if not failure["drill"]}
    for name, set in checks.items():
        yield (
            f"{set} failed its check on {name}: inv backup --host {host} makes another;"
            f" inv backup.list --host {host} shows where it is whole"
        )
    if backups.checked.get("code") and not backups.checked["drill"] and not checks:
        yield f"the last check of a set failed: inv backup.list --host {host} shows which sets have passed one"
    if backups.code in (None, 0) and backups.stale:
        yield f"there is no fresh backup of {' and '.join(backups.stale)}: inv backup --host {host}"

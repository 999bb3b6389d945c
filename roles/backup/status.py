"""What `inv status` says of backups: how old the newest set is, on which targets it is, and when the next one comes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from converge.ui.durations import spoken
from roles.backup import runs
from roles.backup.configuration import components
from worker.contract import RUNS, STATE

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


@dataclass
class Backups:
    """Ages are in seconds; None where there is no set yet."""

    age: dict[str, float | None] = field(default_factory=dict)
    fresh: float = 0.0
    run: str = ""
    code: int | None = None
    what: str = ""
    dead: dict[str, str] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    """Databases that no backup can have, and why."""
    next: str = ""
    restored: dict[str, float] = field(default_factory=dict)
    """The last restore that ended well: how long ago, and how long it took."""
    checked: dict[str, Any] = field(default_factory=dict)
    """The last check of a set: which, how long ago, its exit code, whether it was a drill."""
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The targets on which the newest check failed: of which set, how long ago, why, whether it was a drill."""
    drilled: dict[str, Any] = field(default_factory=dict)
    """The last drill: the same, with how long it took, in which run, and what was wrong."""
    drill_within: float = 0.0
    """Seconds after which a drill should have passed again; 0 where none is made."""
    unfinished: list[str] = field(default_factory=list)
    """What restores that were cut off may have left, in words."""
    single_copy: bool = False

    @property
    def stale(self) -> list[str]:
        """The components whose newest set is older than the inventory allows, or that have none."""
        return [name for name, age in self.age.items() if age is None or age > self.fresh]


def has_one(host: Host[Settings]) -> bool:
    return bool(host.settings.backup) and "backup" in host.settings.roles


LATE = 3 * 86400.0
"""A drill that the schedule could not make waits for the next backup; so long it may be overdue."""
LATEST = 12
"""The newest runs that are looked at: among them is the last backup, unless somebody restores all day."""


def facts(host: Host[Settings]) -> str:
    """Shell that reads how the last runs ended, from their own journals: whoever was killed has reported nothing else.

    Nothing for a host without backups.
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
    """The backups of a host, from what its files tell."""
    settings = host.settings.backup
    if settings is None or not has_one(host):
        return None
    told: dict[str, list[str]] = {}
    for key, _, rest in (line.partition(" ") for line in lines):
        told.setdefault(key, []).append(rest)
    last = _json(told.get("last", [""])[0])
    active = set(told.get("active", []))
    # By the host's own clock: the operator's may be another.
    now = float(told.get("now", [""])[0] or time.time())
    run, end = _last_backup(told.get("run", []), active)
    end = end or last.get("last", {})
    return Backups(
        age={name: _age(last.get(f"published_{name}"), now) for name in components(host.settings)[::-1]},
        fresh=settings.fresh_hours * 3600.0,
        run=run,
        code=end.get("code"),
        what=end.get("what", ""),
        dead=end.get("dead") or {},
        closed=end.get("closed") or {},
        restored=_restored(last.get("restored"), now),
        checked=_checked(last.get("checked"), now),
        drilled=_checked(last.get("drilled"), now),
        failed={
            name: one | {"age": now - one["at"]} for name, one in last.get("checks", {}).items() if not one["passed"]
        },
        drill_within=settings.drill_days * 86400.0,
        unfinished=[] if active else [*_unfinished(told.get("record", [])), *_left(told.get("record", []))],
        next=told.get("next", [""])[0],
        single_copy=all(one.kind == "stack" for one in settings.targets),
    )


def _json(text: str) -> dict[str, Any]:
    with suppress(ValueError):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    return {}


def _last_backup(rows: Sequence[str], active: set[str]) -> tuple[str, dict[str, Any]]:
    """The newest backup that is over, and its end. One whose journal has no end was cut off, by a power cut, say."""
    for row in reversed(rows):
        run, do, line = (*row.split(" ", 2), "", "")[:3]
        if do != "backup" or run in active:
            continue
        end = _json(line)
        if "code" not in end:
            return run, runs.cut("")
        return run, end | runs.cut(end["cut"]) | {"code": end["code"]} if "cut" in end else end
    return "", {}


def _unfinished(records: Sequence[str]) -> list[str]:
    """The restores that no run has brought to an end, and what they may have left."""
    found = []
    for one in map(_json, records):
        if one.get("phase") == "packing":
            found.append(
                f"{one['run']} was cut off while {', '.join(one['stopped'])} was stopped to be copied, and may be down"
            )
        elif one.get("phase") in ("swapping", "undoing") and one.get("folders"):
            away = f"{', '.join(one['folders'])} may be away, and {one['service']} stopped"
            found.append(f"{one['run']} was cut off in its swap: {away}")
        elif one.get("phase") in ("swapping", "undoing"):
            stopped = f", and {', '.join(one['stopped'])} stopped" if one.get("stopped") else ""
            closed = ", ".join(one.get("live") or one.get("kept") or {})
            found.append(f"{one['run']} was cut off in its swap: {closed} may be closed{stopped}")
        elif one.get("phase") in ("begun", "loaded"):
            scratch = ", ".join(one.get("scratch") or {})
            found.append(
                f"{one['run']} was cut off while it loaded{': ' + scratch + ' is of no use' if scratch else ''}"
            )
    return found


def _left(records: Sequence[str]) -> list[str]:
    """What failed restores had loaded, and could not drop."""
    stuck = [name for one in map(_json, records) for name in one.get("left", [])]
    return [f"{', '.join(stuck)}, which a failed restore had loaded, could not be dropped"] if stuck else []


def _restored(told: dict[str, Any] | None, now: float) -> dict[str, float]:
    return {"age": now - told["at"], "seconds": told["seconds"]} if told else {}


def _checked(told: dict[str, Any] | None, now: float) -> dict[str, Any]:
    keys = ("code", "drill", "set", "run", "seconds", "what")
    return {"age": now - told["at"], **{key: told.get(key) for key in keys}} if told else {}


def _age(told: dict[str, Any] | None, now: float) -> float | None:
    return now - float(told["at"]) if told else None


def lines(found: Backups) -> Iterator[str]:
    """Its part of the screen."""
    ages = ", ".join(f"{name} {spoken(age) + ' old' if age is not None else 'NONE'}" for name, age in found.age.items())
    copies = "  SINGLE COPY, in the stack itself" if found.single_copy else ""
    yield f"  backup     {ages}{copies}"
    yield from (f"  restore    {one}" for one in found.unfinished)
    for name, why in found.dead.items():
        yield f"  backup     the target {name} did not take the last set: {why}"
    for why in dict.fromkeys(found.closed.values()):
        names = ", ".join(name for name, one in found.closed.items() if one == why)
        yield f"  backup     in no set: {names}, {why}"
    if found.checked and not found.checked["drill"]:
        yield f"  backup     the last check, of {_how(found.checked)}"
    for name, one in found.failed.items():
        what = "drill" if one["drill"] else "check"
        yield f"  backup     the {what} of {one['set']} on {name} FAILED {spoken(one['age'])} ago: {_first(one['why'])}"
    # That it failed stands above, with the reason, of each target.
    if found.drilled and not (found.drilled["code"] and any(one["drill"] for one in found.failed.values())):
        took = f", and took {spoken(found.drilled['seconds'])}" if found.drilled["seconds"] else ""
        yield f"  backup     the last drill, of {_how(found.drilled)}{took}"
    if found.restored:
        yield f"  backup     the last restore took {spoken(found.restored['seconds'])}, {spoken(found.restored['age'])} ago"
    if found.next:
        yield f"  backup     the next one {found.next}"


def _first(why: str) -> str:
    return (why.splitlines() or [""])[0]


def _how(end: dict[str, Any]) -> str:
    return f"{end['set']}, {'FAILED' if end['code'] else 'passed'} {spoken(end['age'])} ago"


def advice(found: Backups, host: str) -> Iterator[str]:
    """What to do about it."""
    yield from (f"{one}: inv backup.settle --host {host}" for one in found.unfinished)
    if found.code not in (None, 0):
        what, run = f", {found.what}" if found.what else "", f" --run {found.run}" if found.run else ""
        yield f"the last backup ended with {found.code}{what}: inv backup.attach{run} --host {host}"
    if code := found.drilled.get("code"):
        which = f", of {found.drilled['set']}, ended with {code}"
        yield f"the last drill{which}, {found.drilled['what']}: inv backup.attach --run {found.drilled['run']} --host {host}"
    elif found.drill_within and found.drilled and found.drilled["age"] > found.drill_within + LATE:
        yield f"no drill for {spoken(found.drilled['age'])}: inv backup.verify latest --drill --host {host}"
    checks = {name: one["set"] for name, one in found.failed.items() if not one["drill"]}
    for name, set in checks.items():
        yield (
            f"{set} failed its check on {name}: inv backup --host {host} makes another;"
            f" inv backup.list --host {host} shows where it is whole"
        )
    if found.checked.get("code") and not found.checked["drill"] and not checks:
        yield f"the last check of a set failed: inv backup.list --host {host} shows which sets have passed one"
    if found.code in (None, 0) and found.stale:
        yield f"there is no fresh backup of {' and '.join(found.stale)}: inv backup --host {host}"

"""What `inv status` says of backups: how old the newest set is, on which targets it is, and when the next one comes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from roles.backup import STATE


@dataclass
class Backups:
    """Ages are in seconds; None where there is no set yet."""

    age: dict[str, float | None] = field(default_factory=dict)
    fresh: float = 0.0
    code: int | None = None
    what: str = ""
    dead: dict[str, str] = field(default_factory=dict)
    next: str = ""
    restored: dict[str, float] = field(default_factory=dict)
    """The last restore that ended well: how long ago, and how long it took."""
    single_copy: bool = False

    @property
    def stale(self) -> list[str]:
        """The components whose newest set is older than the inventory allows, or that have none."""
        return [name for name, age in self.age.items() if age is None or age > self.fresh]


def has_one(host: Any) -> bool:
    return bool(host.settings.backup) and "backup" in host.settings.roles


def facts(host: Any) -> str:
    """Shell that reads what the last runs left, and when the timer is due; nothing for a host without backups."""
    if not has_one(host):
        return ":"
    return f"cat {STATE}/last.json 2>/dev/null || echo '{{}}'; echo\nsystemctl show -p NextElapseUSecRealtime --value stowage-backup.timer; date +%s"


def read(host: Any, lines: Sequence[str]) -> Backups | None:
    if not has_one(host):
        return None
    settings = host.settings.backup
    rows = [line for line in lines if line]
    told = json.loads(rows[0]) if rows and rows[0].startswith("{") else {}
    # By the host's own clock: the operator's may be another.
    now = float(rows[-1]) if rows and rows[-1].isdigit() else time.time()
    last = told.get("last", {})
    return Backups(
        age={name: _age(told.get(f"published_{name}"), now) for name in ("postgres", "config")},
        fresh=settings.fresh_hours * 3600.0,
        code=last.get("code"),
        what=last.get("what", ""),
        dead=last.get("dead", {}),
        restored=_restored(told.get("restored"), now),
        next=rows[1] if len(rows) > 2 else "",
        single_copy=all(one.kind == "stack" for one in settings.targets),
    )


def _restored(told: dict[str, Any] | None, now: float) -> dict[str, float]:
    return {"age": now - told["at"], "seconds": told["seconds"]} if told else {}


def _age(told: dict[str, Any] | None, now: float) -> float | None:
    return now - float(told["at"]) if told else None


def lines(found: Backups) -> Iterator[str]:
    """Its part of the screen."""
    ages = ", ".join(f"{name} {spoken(age) + ' old' if age is not None else 'NONE'}" for name, age in found.age.items())
    copies = "  SINGLE COPY, in the stack itself" if found.single_copy else ""
    yield f"  backup     {ages}{copies}"
    for name, why in found.dead.items():
        yield f"  backup     the target {name} did not take the last set: {why}"
    if found.restored:
        yield f"  backup     the last restore took {spoken(found.restored['seconds'])}, {spoken(found.restored['age'])} ago"
    if found.next:
        yield f"  backup     the next one {found.next}"


def advice(found: Backups, host: str) -> Iterator[str]:
    """What to do about it."""
    if found.code not in (None, 0):
        yield f"the last backup ended with {found.code}{', ' + found.what if found.what else ''}: inv backup.attach --host {host}"
    elif found.stale:
        yield f"there is no fresh backup of {' and '.join(found.stale)}: inv backup --host {host}"


def spoken(seconds: float) -> str:
    """A time in its two largest units."""
    days, hours, minutes = int(seconds // 86400), int(seconds // 3600 % 24), int(seconds // 60 % 60)
    return (
        f"{days} d {hours} h" if days else f"{hours} h {minutes} m" if hours else f"{minutes} m {int(seconds % 60)} s"
    )

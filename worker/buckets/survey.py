"""What a restore of a bucket would do, counted from the index of the set and the listing of the bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from worker.buckets import expiry
from worker.buckets.beneath import is_current, missing
from worker.buckets.index import Row
from worker.buckets.listing import Version
from worker.buckets.live import Live, same
from worker.buckets.nesting import Nesting


@dataclass
class Survey:
    """How many versions are restored, and how many become current."""

    keys: int = 0
    insert: int = 0
    bytes: int = 0
    current: int = 0
    replaced: int = 0
    locked: int = 0
    unreadable: int = 0
    expiring: int = 0
    hides: int = 0
    """The keys that `--exact` hides or removes."""
    nested: int = 0
    """The keys that nobody would list any more, and the first of them."""
    nested_keys: list[str] = field(default_factory=list)

    def as_row(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def warnings(self, now: dict[str, str], hold: bool = False) -> list[str]:
        lines = []
        if self.unreadable:
            lines.append(f"{self.unreadable} objects could not be read when the set was made, and do not come back")
        if self.nested:
            more = " and more" if self.nested > len(self.nested_keys) else ""
            lines.append(
                f"{self.nested} keys would lie beneath an object, which hides them from every listing: {', '.join(self.nested_keys)}{more}"
            )
        if self.locked:
            lines.append(
                f"{self.locked} versions get their retention or legal hold back, which an undo takes off where MinIO lets it"
            )
        if now.get("lifecycle") and hold:
            lines.append("the lifecycle of the bucket stays off until inv restore.cleanup")
        elif self.expiring:
            lines.append(f"the lifecycle of the bucket expires {self.expiring} of the versions again: --hold-lifecycle")
        return lines


def surveyed(
    groups: Iterator[tuple[str, list[Row]]],
    live: Live | None,
    versioned: bool,
    lifecycle: str = "",
    nesting: Nesting | None = None,
) -> Survey:
    """Counts; `nesting` has the keys that are there above those of the listing."""
    survey, rules, now, nesting = Survey(), expiry.rules(lifecycle), datetime.now(UTC), nesting or Nesting()
    if live:
        live.passed = partial(nesting.add, brought=False)
    for key, rows in groups:
        there, before = live.of(key) if live else [], survey.insert
        survey.keys += 1
        survey.unreadable += sum("unreadable" in row for row in rows)
        if versioned:
            _versions(survey, rows, there, rules, now)
        else:
            _flat(survey, rows[0], bool(there) and same(rows[0], there[0]), bool(there))
        if survey.insert > before:
            nesting.add(key, brought=True)
    for key in live.rest() if live else ():
        if nesting.ends_before(key):
            break
        nesting.add(key, brought=False)
    survey.nested, survey.nested_keys = nesting.number, nesting.named
    return survey


def _versions(survey: Survey, rows: list[Row], there: list[Version], rules: list[expiry.Rule], now: datetime) -> None:
    lacking = missing(rows, there)
    survey.insert += len(lacking)
    if rules:
        survey.expiring += expiry.count(rules, rows, {row["id"] for row in lacking}, now)
    survey.bytes += sum(row.get("size", 0) for row in lacking)
    survey.locked += sum("lock" in row for row in lacking)
    # Without live versions, the newest restored one is current at once.
    survey.current += bool(there) and bool(rows[0].get("latest")) and not is_current(rows[0], there, rows[0]["id"])


def _flat(survey: Survey, row: Row, unchanged: bool, there: bool) -> None:
    if unchanged or row.get("marker") or "unreadable" in row:
        return
    survey.insert += 1
    survey.bytes += row["size"]
    survey.replaced += there
    survey.locked += "lock" in row

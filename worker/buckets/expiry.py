"""How many restored versions the lifecycle of their bucket would expire at once."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from worker.buckets.index import Row


@dataclass(frozen=True)
class Rule:
    """The expiry of a lifecycle rule: for current objects and for old versions."""

    prefix: str
    before: datetime | None
    days: timedelta | None
    noncurrent: timedelta | None
    kept: int

    def takes(self, row: Row, since: datetime | None, place: int, now: datetime) -> bool:
        """Whether it expires a version; `since` is when it ceased to be current, and `place` how many old ones are newer."""
        if not row["key"].startswith(self.prefix):
            return False
        if since is None:
            at = _moment(row["at"])
            return (self.before is not None and now >= self.before) or (self.days is not None and now - at > self.days)
        return self.noncurrent is not None and place >= self.kept and now - since > self.noncurrent


def rules(text: str) -> list[Rule]:
    """The enabled rules. Filters by tags or sizes are ignored: a count that is too high is safer."""
    active = []
    for element in ElementTree.fromstring(text).iter() if text else ():
        if _tag(element) != "Rule":
            continue
        parts = {_tag(part): part for part in element.iter()}
        if (parts["Status"].text if "Status" in parts else "") != "Enabled":
            continue
        expiration = {_tag(part): part.text or "" for part in parts.get("Expiration", ())}
        old = {_tag(part): part.text or "" for part in parts.get("NoncurrentVersionExpiration", ())}
        active.append(
            Rule(
                (parts["Prefix"].text or "") if "Prefix" in parts else "",
                _moment(expiration["Date"]) if expiration.get("Date") else None,
                _days(expiration.get("Days")),
                _days(old.get("NoncurrentDays")) or (timedelta(0) if old.get("NewerNoncurrentVersions") else None),
                int(old.get("NewerNoncurrentVersions") or 0),
            )
        )
    return active


def count(active: Sequence[Rule], rows: Sequence[Row], back: Container[str], now: datetime) -> int:
    """How many of the restored versions (`back`) of a key expire; `rows` are the newest first."""
    number, newer = 0, None
    for place, row in enumerate(rows):
        if row["id"] in back and any(rule.takes(row, newer, place - 1, now) for rule in active):
            number += 1
        newer = _moment(row["at"])
    return number


def _days(text: str | None) -> timedelta | None:
    return timedelta(days=int(text)) if text and int(text) else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]

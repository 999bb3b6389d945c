"""What interrupted restores and backups may have left on a host, in words, from their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Record = dict[str, Any]
CUT = ("begun", "loaded", "swapping", "current", "undoing")
"""The phases in which no record stays."""


def left(records: Sequence[Record]) -> list[str]:
    """All that no later run has settled."""
    return [*_unfinished(records), *_stuck(records)]


def _unfinished(records: Sequence[Record]) -> list[str]:
    """The interrupted restores that no later run has settled, and what they may have left."""
    unfinished = []
    for record in records:
        if record.get("phase") == "packing":
            unfinished.append(
                f"{record['run']} was cut off while {', '.join(record['stopped'])} was stopped to be copied, and may be down"
            )
        elif record.get("phase") in ("swapping", "undoing") and record.get("folders"):
            away = f"{', '.join(record['folders'])} may be away, and {record['service']} stopped"
            unfinished.append(f"{record['run']} was cut off in its swap: {away}")
        elif record.get("phase") in CUT and record.get("buckets"):
            unfinished.append(f"{record['run']} was cut off: {', '.join(_of_objects(record))}")
        elif record.get("phase") in ("swapping", "undoing"):
            stopped = f", and {', '.join(record['stopped'])} stopped" if record.get("stopped") else ""
            closed = ", ".join(record.get("live") or record.get("kept") or {})
            unfinished.append(f"{record['run']} was cut off in its swap: {closed} may be closed{stopped}")
        elif record.get("phase") in ("begun", "loaded"):
            scratch = ", ".join(record.get("scratch") or {})
            unfinished.append(
                f"{record['run']} was cut off while it loaded{': ' + scratch + ' is of no use' if scratch else ''}"
            )
    return unfinished


def _of_objects(record: Record) -> Iterator[str]:
    """What an interrupted restore of objects, or its undo, may have left."""
    yield f"versions that it made may stand in {', '.join(record['buckets'])}, and their lifecycle, quota and the like be off"
    if closed := [*(record.get("live") or record.get("kept") or ())]:
        yield f"{', '.join(closed)} may be closed"
    if stopped := record.get("stopped"):
        yield f"{', '.join(stopped)} may be stopped"


def _stuck(records: Sequence[Record]) -> list[str]:
    """Databases that failed restores had loaded and could not drop."""
    stuck = [name for record in records for name in record.get("left", [])]
    return [f"{', '.join(stuck)}, which a failed restore had loaded, could not be dropped"] if stuck else []

"""Checks, before any change, that MinIO has room for a restore."""

from __future__ import annotations

import json
from collections.abc import Sequence

from worker.buckets.client import Client
from worker.buckets.survey import Survey
from worker.buckets.wanted import Wanted
from worker.contract import RESTORE_REFUSED
from worker.errors import Failed
from worker.size import human


def must_fit(minio: Client, surveys: Sequence[tuple[Wanted, Survey]]) -> None:
    """Refuses if all versions together need more than is free: a full MinIO accepts no object from anybody."""
    # Without versions, replaced objects are kept as well, which takes at most as much again.
    needed = sum(survey.bytes for _, survey in surveys)
    if (free := usable(minio)) is not None and needed > free:
        why = f"{human(needed)} are to be put back, and {human(free)} are free"
        names = ", ".join(wanted.to for wanted, _ in surveys)
        hint = (
            "--bucket NAME --prefix PREFIX, a part of it; or delete old versions, see docs/runbook.md, A disk is full"
        )
        raise Failed(RESTORE_REFUSED, f"MinIO has no room for {names}", why, hint)


def usable(minio: Client) -> int | None:
    """The bytes of objects that still fit, by the drives that answer; None if unknown."""
    info = json.loads(minio.ask("GET", "/minio/admin/v3/info").body)
    drives = [drive for server in info.get("servers", ()) for drive in server.get("drives") or ()]
    free = [drive["availspace"] for drive in drives if drive.get("state") == "ok" and "availspace" in drive]
    backend = info.get("backend", {})
    width, parity = max(backend.get("totalDrivesPerSet") or [0]), backend.get("standardSCParity", 0)
    if not free or not width:
        return None
    # An object is on all drives of an erasure set, and the fullest drive is the limit.
    return int(min(free) * len(drives) * (width - parity) / width)

"""Whether MinIO has room for what is put back: it is asked before anything is touched."""

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
    """Refuses when all versions together need more than is free. A full MinIO takes no object of anybody."""
    # Where there are no versions, what is replaced is kept besides, and is at most as much again.
    needed = sum(survey.bytes for _, survey in surveys)
    if (free := usable(minio)) is not None and needed > free:
        why = f"{human(needed)} are to be put back, and {human(free)} are free"
        names = ", ".join(wanted.to for wanted, _ in surveys)
        hint = (
            "--bucket NAME --prefix PREFIX, a part of it; or delete old versions, see docs/runbook.md, A disk is full"
        )
        raise Failed(RESTORE_REFUSED, f"MinIO has no room for {names}", why, hint)


def usable(minio: Client) -> int | None:
    """The bytes of objects that still fit, by the drives that answer; None where MinIO does not tell."""
    info = json.loads(minio.ask("GET", "/minio/admin/v3/info").body)
    drives = [drive for server in info.get("servers", ()) for drive in server.get("drives") or ()]
    free = [drive["availspace"] for drive in drives if drive.get("state") == "ok" and "availspace" in drive]
    backend = info.get("backend", {})
    width, parity = max(backend.get("totalDrivesPerSet") or [0]), backend.get("standardSCParity", 0)
    if not free or not width:
        return None
    # An object lies on as many drives as a set has, and the fullest of them ends it.
    return int(min(free) * len(drives) * (width - parity) / width)

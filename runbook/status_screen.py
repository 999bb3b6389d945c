"""The screen of `inv status`: one host, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.errors import UNREACHABLE
from runbook import backup_status, database_status
from runbook.found import human

if TYPE_CHECKING:
    from runbook.status import Status


def lines(status: Status) -> list[str]:
    """The screen of one host."""
    if status.error:
        what, *why = status.error.splitlines()
        state = "DOWN" if status.code == UNREACHABLE else "NOT READ"
        return [
            f"{status.host}: {state}, {what}",
            *(f"  why        {line}" for line in why),
            *(f"  next       {one}" for one in status.next),
        ]
    found = [f"{status.host}: {'all is well' if status.healthy else 'needs you'}"]
    for drive in status.drives:
        state = drive.problem.upper() or f"{human(drive.used)} of {human(drive.size)} used"
        found.append(
            f"  drive      {drive.label:8} {drive.path:14} {drive.mounted:12} {state} {drive.healing}".rstrip()
        )
    found += [f"  node       {node.name:8} on {node.drive:8} {node.state}" for node in status.nodes]
    if status.quorum:
        found.append(f"  quorum     {status.quorum}")
    found += [f"  endpoint   {url}  {'ok' if code[:1] in '23' else code}" for url, code in status.endpoints.items()]
    found += [f"  bucket     {one.name:20} {one.objects} objects, {human(one.size)}" for one in status.buckets]
    if status.postgres:
        found += database_status.lines(status.postgres, human)
    if status.backup:
        found += backup_status.lines(status.backup)
    found.append(f"  deployed   {status.last_deploy}")
    if status.under_way:
        found.append(f"  under way  {status.under_way}")
    found += [f"  differs    {one}" for one in status.drift[:12]]
    if len(status.drift) > 12:
        found.append(f"  differs    and {len(status.drift) - 12} more")
    found += [f"  next       {one}" for one in status.next] or ["  next       nothing to do"]
    return found

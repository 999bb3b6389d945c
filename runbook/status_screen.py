"""The screen of `inv status`: one host, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.colour import paint
from converge.errors import UNREACHABLE
from runbook import backup_status, database_status
from runbook.found import human

if TYPE_CHECKING:
    from runbook.cluster_status import Bucket
    from runbook.status import Status


WELL, WRONG, ADVICE = "32", "31;1", "33"


def lines(status: Status, colour: bool = False) -> list[str]:
    """The screen of one host; with colour, what is wrong stands out, and so does what to do next."""

    def wrong(text: str, is_wrong: bool = True) -> str:
        return paint(text, WRONG, colour and is_wrong)

    following = [f"  next       {paint(one, ADVICE, colour)}" for one in status.next]
    if status.error:
        what, *why = status.error.splitlines()
        state = "DOWN" if status.code == UNREACHABLE else "NOT READ"
        return [
            f"{status.host}: {wrong(state)}, {what}",
            *(f"  why        {line}" for line in why),
            *following,
        ]
    found = [f"{status.host}: {paint('all is well', WELL, colour) if status.healthy else wrong('needs you')}"]
    for drive in status.drives:
        state = wrong(drive.problem.upper()) or f"{human(drive.used)} of {human(drive.size)} used"
        found.append(
            f"  drive      {drive.label:8} {drive.path:14} {drive.mounted:12} {state} {drive.healing}".rstrip()
        )
    found += [
        f"  node       {node.name:8} on {node.drive:8} {wrong(node.state, not node.state.startswith('running'))}"
        for node in status.nodes
    ]
    if status.quorum:
        found.append(f"  quorum     {status.quorum}")
    found += [
        f"  endpoint   {url}  {'ok' if code[:1] in '23' else wrong(code)}" for url, code in status.endpoints.items()
    ]
    found += [f"  bucket     {one.name:20} {_counted(one)}" for one in status.buckets]
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
    return found + (following or ["  next       nothing to do"])


def _counted(bucket: Bucket) -> str:
    if bucket.objects is None or bucket.size is None:
        return "its objects are not counted yet"
    return f"{bucket.objects} objects, {human(bucket.size)}"

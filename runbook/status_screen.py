"""The screen of `inv status`: one host, line by line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from converge.errors import UNREACHABLE
from converge.ui.colour import paint
from converge.ui.durations import spoken
from converge.ui.lines import fitted
from roles.backup import status as backup_status
from roles.postgres import status as database_status
from worker.size import human

if TYPE_CHECKING:
    from roles.minio.status import Bucket
    from runbook.status import Status


WELL, WRONG, ADVICE = "32", "31;1", "33"
WIDTH, INDENT = 100, " " * 13
NOTHING = "there is none yet"
# A command that somebody will paste stays on one line.
_UNBROKEN = re.compile(r"\binv [a-z.-]+(?: --?[a-z-]+ [^\s,;:()]+| [a-z0-9-]+(?=[ ,;:)]|$))*\S*|\S+")


def lines(status: Status, colour: bool = False, width: int = WIDTH) -> list[str]:
    """The screen of one host; with colour, what is wrong stands out, and so does what to do next."""

    def wrong(text: str, is_wrong: bool = True) -> str:
        return paint(text, WRONG, colour and is_wrong)

    following = [line for step in status.next for line in labelled("next", step, width, ADVICE if colour else "")]
    if status.error:
        what, *why = status.error.splitlines()
        state = "DOWN" if status.code == UNREACHABLE else "NOT READ"
        first, *more = wrapped(f"{status.host}: {state}, {what}", width, width - 2)
        return [
            first.replace(state, wrong(state), 1),
            *(f"  {line}" for line in more),
            *(line for part in why for line in labelled("why", part, width)),
            *following,
        ]
    screen = [f"{status.host}: {paint('all is well', WELL, colour) if status.healthy else wrong('needs you')}"]
    if status.docker:
        screen.append(f"  docker     {wrong(status.docker)}")
    for drive in status.drives:
        state = wrong(drive.problem.upper()) or f"{human(drive.used)} of {human(drive.size)} used"
        screen.append(
            f"  drive      {drive.label:8} {drive.path:14} {drive.mounted:12} {state} {drive.healing}".rstrip()
        )
    screen += [
        f"  node       {node.name:8} on {node.drive:8} {wrong(node.state, not node.well)}" for node in status.nodes
    ]
    for service in status.services:
        screen.append(f"  service    {service.name:8} {wrong(str(service), not service.well)}")
        # On one line, however long: it is there to be copied.
        screen += [f"{INDENT}{what}: {text or NOTHING}" for what, text in service.shows.items()]
    if status.quorum:
        screen += labelled("quorum", status.quorum, width)
    screen += [
        f"  endpoint   {url}  {'ok' if code[:1] in '23' else wrong(code)}" for url, code in status.endpoints.items()
    ]
    screen += [f"  bucket     {bucket.name:20} {_counted(bucket)}" for bucket in status.buckets]
    if status.postgres:
        screen += database_status.lines(status.postgres, human)
    if status.backup:
        screen += [
            piece for line in backup_status.lines(status.backup) for piece in fitted(line, width, len(INDENT) - 2)
        ]
    if status.last_deploy:
        screen.append(f"  deployed   {status.last_deploy}")
    if status.under_way:
        screen += labelled("under way", status.under_way, width)
    screen += [line for unread in status.unread for line in labelled("?", f"not read in time: {unread}", width)]
    screen += [line for difference in status.drift[:12] for line in labelled("differs", difference, width)]
    if len(status.drift) > 12:
        screen.append(f"  differs    and {len(status.drift) - 12} more")
    return screen + (following or ["  next       nothing to do"])


def labelled(label: str, text: str, width: int, colour: str = "") -> list[str]:
    """A label and a text, on as many lines as it needs."""
    parts = wrapped(text, width - len(INDENT), width - len(INDENT))
    heads = [f"  {label:10} ", *[INDENT] * (len(parts) - 1)]
    return [head + paint(part, colour, bool(colour)) for head, part in zip(heads, parts, strict=True)]


def wrapped(text: str, first: int, others: int) -> list[str]:
    """A text on lines of so many letters; neither a word nor a command to paste is broken."""
    rows, room = [""], first
    for word in _UNBROKEN.findall(text):
        if rows[-1] and len(rows[-1]) + 1 + len(word) > room:
            rows.append("")
            room = others
        rows[-1] += f" {word}" if rows[-1] else word
    return rows


def _counted(bucket: Bucket) -> str:
    if bucket.objects is None or bucket.size is None:
        return "its objects are not counted yet"
    when = f", counted {spoken(bucket.counted)} ago" if bucket.counted is not None else ""
    return f"{bucket.objects} objects, {human(bucket.size)}{when}"

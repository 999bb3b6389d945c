"""What was done to a host, and who is doing something now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from converge.engine.audit import AUDIT
from converge.errors import Trouble
from converge.ssh.link import connect
from converge.ssh.root_shell import LOCK, describe
from converge.ui.cli import confirm
from converge.ui.lines import say

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


def _root(host: Host[Settings], script: str) -> str:
    link = connect(host.target)
    try:
        status, out, err = link.send(script, iter(()))
    finally:
        link.close()
    if status:
        raise Trouble("the host did not do it", where=host.name, why=(out + err).decode(errors="replace")[-400:])
    return out.decode(errors="replace")


def _events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)


def _number(changes: list[str]) -> str:
    return "1 change" if len(changes) == 1 else f"{len(changes)} changes"


def history(host: Host[Settings], lines: int, as_json: bool) -> None:
    """Print the host's audit lines, the newest last."""
    recorded = [line for line in _root(host, f"tail -n {int(lines)} {AUDIT} 2>/dev/null || true").splitlines() if line]
    events = list(_events(recorded))
    if as_json:
        print(json.dumps({"host": host.name, "history": events}))
        return
    if not recorded:
        say(f"{host.name}: nothing was deployed yet")
    if len(events) < len(recorded):
        say(f"{host.name}: {len(recorded) - len(events)} lines of {AUDIT} cannot be read; a power cut may tear one")
    for event, after in zip(events, [*events[1:], None], strict=False):  # no event follows the last one
        ended = event.get("result")
        if not ended and after and after.get("result"):
            continue  # the line of its end says the same and more
        shown = ", ".join(event["changes"][:4]) + (" ..." if len(event["changes"]) > 4 else "")
        who = f"{event['who']}@{event['from']}"
        what = ended or "no end"
        say(
            f"{host.name}  {event['at']}  {who}  {what:7}  {event.get('commit', ''):12}  {_number(event['changes'])}: {shown}"
        )


def unlock(host: Host[Settings], yes: bool) -> None:
    """Show who holds the lock and, if that is agreed to, end the processes that hold it."""
    holders = _root(
        host,
        f"[ -e {LOCK} ] || exit 0; flock -n {LOCK} true && exit 0; [ ! -s {LOCK} ] || exec cat {LOCK}; echo unknown",
    )
    if not holders.strip():
        say(f"{host.name}: nobody holds the lock")
        return
    say(f"{host.name}: locked by {describe(holders.splitlines()[0])}")
    confirm("End what holds it? A command that runs is cut off. [y/N] ", yes)
    _root(host, _END_HOLDERS)
    say(f"{host.name}: the lock is free; the next deploy finishes what was cut off")


# The holders are found by the open file itself; the lock ends with the last of them.
_END_HOLDERS = f"""
for fd in /proc/[0-9]*/fd/*; do
  [ "$(readlink "$fd" 2>/dev/null)" = {LOCK} ] || continue
  pid=${{fd#/proc/}}; pid=${{pid%%/*}}
  [ "$pid" = $$ ] || kill "$pid" 2>/dev/null
done
sleep 1
flock -n {LOCK} true
"""

"""Plans and reports as lines for a person, or as JSON. Pure: nothing here asks, reads or connects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converge.plan import Change, Plan
from converge.resource import Action

COLOURS = {
    Action.CREATE: "32",
    Action.UPDATE: "33",
    Action.REMOVE: "31",
    Action.REFUSED: "31;1",
    Action.UNKNOWN: "35",
    Action.WAITING: "2",
}
WORDS = (
    (Action.CREATE, "to create"),
    (Action.UPDATE, "to update"),
    (Action.REMOVE, "to remove"),
    (Action.REFUSED, "refused"),
    (Action.UNKNOWN, "unknown"),
    (Action.WAITING, "waiting"),
)


def paint(text: str, code: str, colour: bool) -> str:
    """Text in a colour, where there is any."""
    return f"\033[{code}m{text}\033[0m" if colour else text


def plan(of: Plan, *, full: bool = False, diffs: bool = True, colour: bool = False) -> list[str]:
    """A plan: what differs, with its diff; what does not is counted, unless all of it is asked for."""
    if of.in_sync and not full:
        return [f"{of.host}: nothing to do, {len(of.changes)} resources are as they should be."]
    lines = [of.host]
    role = ""
    for change in of.changes:
        if change.action is Action.NONE and not full:
            continue
        if change.role != role:
            role = change.role
            lines.append(f"  {role}")
        lines.extend(_change(change, diffs, colour))
    return [*lines, f"  {counts(of)}"]


def _change(change: Change, diffs: bool, colour: bool) -> list[str]:
    symbol = paint(change.action.value, COLOURS.get(change.action, "0"), colour)
    notes = [change.resource.note(change.before)] if change.action in (Action.CREATE, Action.UPDATE) else []
    if change.why:
        notes.append(change.why)
    if change.drift and change.action is not Action.CREATE:
        notes.append("changed on the host")
    elif change.drift:
        notes.append("gone from the host")
    tail = "; ".join(note for note in notes if note)
    lines = [f"    {symbol} {change.address}{'  ' + tail if tail else ''}"]
    if diffs and change.action is Action.UPDATE:
        lines.extend(f"        {_diff_line(line, colour)}" for line in change.resource.diff(change.before))
    if change.hint:
        lines.append(f"        try: {change.hint}")
    return lines


def _diff_line(line: str, colour: bool) -> str:
    code = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
    return paint(line, code, colour) if code else line


def counts(of: Plan) -> str:
    """What a plan comes to, in one line; zeros are left out."""
    parts = [f"{of.count(action)} {word}" for action, word in WORDS if of.count(action)]
    return ", ".join([*parts, f"{of.count(Action.NONE)} unchanged"])


def as_json(plans: Sequence[Plan], codes: dict[str, int]) -> dict[str, Any]:
    """The same plans for a machine. Diffs of what holds secrets are as hidden here as they are on the screen."""
    return {
        "hosts": [
            {
                "host": one.host,
                "exit_code": codes.get(one.host, 0),
                "counts": {action.name.lower(): one.count(action) for action in Action},
                "changes": [
                    {
                        "role": change.role,
                        "address": change.address,
                        "action": change.action.name.lower(),
                        "why": change.why,
                        "drift": change.drift,
                        "diff": change.resource.diff(change.before) if change.action is Action.UPDATE else [],
                    }
                    for change in one.changes
                    if change.action is not Action.NONE
                ],
            }
            for one in plans
        ]
    }

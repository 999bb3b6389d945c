"""Plans and reports as lines for a person, or as JSON. Pure: nothing here asks, reads or connects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from converge.engine.plan import HELD, TODO, Change, Plan
from converge.engine.resource import Action
from converge.errors import REFUSED, Trouble, for_host
from converge.ui.colour import paint
from converge.ui.lines import IN_A_PIPE, fitted, pasted

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
REASONS = {
    Action.REFUSED: ("is refused", "are refused"),
    Action.UNKNOWN: ("could not be read", "could not be read"),
}
DIFF = {"+": "32", "-": "31", "@": "36"}
MOST_WAITING = 3
"""Most resources of a role that are named when they wait for the same thing; more are counted."""


def plan(
    of: Plan, *, full: bool = False, diffs: bool = True, colour: bool = False, columns: int = IN_A_PIPE
) -> list[str]:
    """A plan: what differs, with its diff; what does not is counted, unless all of it is asked for."""
    if of.in_sync and not full:
        return [f"{of.host}: nothing to do, {len(of.changes)} resources are as they should be.", *_beneath(of)]
    page = _Page(of.host, diffs, colour, columns, full)
    lines = [of.host]
    shown = [change for change in of.changes if full or change.action is not Action.NONE]
    for role, changes in groupby(shown, lambda change: change.role):
        lines.append(f"  {role}")
        for _, group in groupby(changes, lambda change: change.address if full else _alike(change)):
            lines.extend(page.changes(list(group)))
    return [*lines, *fitted(f"  {counts(of)}", columns), *_beneath(of)]


def _alike(change: Change) -> object:
    """What changes must have in common to share a line: held ones their reason, all others nothing."""
    return (change.action, change.why, change.hint) if change.action in HELD else change.address


def _beneath(of: Plan) -> list[str]:
    """What differs in the roles beneath, which this run only reads, in one line."""
    if not of.beneath:
        return []
    parts = [f"{sum(change.action is action for change in of.beneath)} {word}" for action, word in WORDS]
    numbers = ", ".join(part for part in parts if not part.startswith("0 "))
    roles = ", ".join(dict.fromkeys(change.role for change in of.beneath))
    verb = "deploy" if any(change.action in TODO for change in of.beneath) else "check"
    return [f"  beneath, only read: {numbers} in {roles}; try: inv {verb} --host {of.host}"]


def few(changes: Sequence[Change], most: int = 1) -> str:
    """The addresses of changes: the first of them, and the number of the others."""
    names = [change.address for change in changes]
    return ", ".join(names) if len(names) <= most + 1 else f"{', '.join(names[:most])} and {len(names) - most} more"


def troubles(of: Plan) -> list[Trouble]:
    """What is refused or could not be read, for the end of the screen: one error each cause, with what waits for it."""
    causes: dict[tuple[Action, str, str], list[Change]] = {}
    awaited = {change.waits_for for change in of.held}
    for change in (*of.held, *(below for below in of.beneath if below.address in awaited)):
        if change.action in REASONS:
            causes.setdefault((change.action, change.why, change.hint), []).append(change)
    return [_trouble(of, many) for many in causes.values()]


def _trouble(of: Plan, many: Sequence[Change]) -> Trouble:
    causes = {change.address for change in many}
    waiting = [change for change in of.changes if change.action is Action.WAITING and change.waits_for in causes]
    singular, plural = REASONS[many[0].action]
    return Trouble(
        f"{few(many, 3)} {singular if len(many) == 1 else plural}",
        where=of.host,
        why=many[0].why,
        untouched=f"not touched: {few([*many, *waiting], 3)}",
        hint=for_host(many[0].hint, of.host) or f"inv status --host {of.host}",
        code=REFUSED,
    )


@dataclass(frozen=True)
class _Page:
    """How the changes of a plan are written."""

    host: str
    diffs: bool
    colour: bool
    columns: int
    full: bool

    def changes(self, many: list[Change]) -> list[str]:
        """One change, or several for which the same holds: one line for all of them."""
        if len(many) == 1:
            return self._one(many[0])
        first = many[0]
        if first.action is not Action.WAITING:
            return [*self._head(first, ", ".join(change.address for change in many), first.why), *self._hint(first)]
        if len(many) > MOST_WAITING:
            return self._head(first, few(many), f"each {first.why}")
        return [line for change in many for line in self._one(change)]

    def _one(self, change: Change) -> list[str]:
        notes = [change.resource.note(change.before)] if change.action in TODO else []
        notes += [change.why] if change.why else []
        if change.drift:
            notes.append("changed on the host" if change.before else change.resource.when_gone)
        warnings = [note for note in notes if note.startswith("warning: ")]
        lines = self._head(change, change.address, "; ".join(note for note in notes if note and note not in warnings))
        lines += [line for warning in warnings for line in self._painted(warning, COLOURS[Action.UPDATE])]
        if self.diffs and change.action is Action.UPDATE:
            for line in change.resource.diff(change.before):
                lines += self._painted(line, DIFF.get(line[:1], ""))
        if self.full and change.before is not None:
            for line in change.resource.left_alone(change.before):
                lines += self._painted(f"left alone: {line}", "")
        return lines + self._hint(change)

    def _head(self, change: Change, addresses: str, tail: str) -> list[str]:
        symbol = change.action.value
        first, *rest = fitted(f"    {symbol} {addresses}{'  ' + tail if tail else ''}", self.columns)
        painted = paint(symbol, COLOURS.get(change.action, "0"), self.colour)
        return [f"    {painted}{first[5:]}", *rest]

    def _painted(self, line: str, code: str) -> list[str]:
        pieces = fitted(f"        {line}", self.columns)
        return [f"        {paint(piece[8:], code, self.colour) if code else piece[8:]}" for piece in pieces]

    def _hint(self, change: Change) -> list[str]:
        return pasted(f"        try: {for_host(change.hint, self.host)}", self.columns) if change.hint else []


def counts(of: Plan, done: int = 0) -> str:
    """What a plan comes to, in one line; zeros are left out. What was `done` is as it should be by now."""
    parts = [f"{of.count(action)} {word}" for action, word in WORDS if of.count(action)]
    return ", ".join([*parts, f"{of.count(Action.NONE) - done} unchanged"])


def as_json(plans: Sequence[Plan], codes: dict[str, int]) -> dict[str, Any]:
    """The same plans for a machine. Diffs of what holds secrets are as hidden here as they are on the screen."""
    return {
        "hosts": [
            {
                "host": host_plan.host,
                "exit_code": codes.get(host_plan.host, 0),
                "counts": {action.name.lower(): host_plan.count(action) for action in Action},
                "changes": [
                    {
                        "role": change.role,
                        "address": change.address,
                        "action": change.action.name.lower(),
                        "why": change.why,
                        "waits_for": change.waits_for,
                        "try": for_host(change.hint, host_plan.host),
                        "drift": change.drift,
                        "diff": change.resource.diff(change.before) if change.action is Action.UPDATE else [],
                    }
                    for change in host_plan.changes
                    if change.action is not Action.NONE
                ],
            }
            for host_plan in plans
        ]
    }

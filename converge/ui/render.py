"""Plans and reports as lines for a person, or as JSON. Pure: nothing here asks, reads or connects."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from converge.engine.plan import HELD, TODO, Change, Plan
from converge.engine.resource import Action
from converge.errors import REFUSED, Trouble, for_host
from converge.record import dataclass
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
COUNTED = (
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
    host_plan: Plan, *, full: bool = False, diffs: bool = True, colour: bool = False, columns: int = IN_A_PIPE
) -> list[str]:
    """A plan: what differs, with its diff; what does not is counted, unless all of it is asked for."""
    if host_plan.in_sync and not full:
        return [
            f"{host_plan.host}: nothing to do, {len(host_plan.changes)} resources are as they should be.",
            *_beneath(host_plan),
        ]
    page = _Page(host_plan.host, diffs, colour, columns, full)
    lines = [host_plan.host]
    shown = [change for change in host_plan.changes if full or change.action is not Action.NONE]
    for role, changes in groupby(shown, lambda change: change.role):
        lines.append(f"  {role}")
        for _, group in groupby(changes, lambda change: change.address if full else _line_key(change)):
            lines.extend(page.changes(list(group)))
    return [*lines, *fitted(f"  {counts(host_plan)}", columns), *_beneath(host_plan)]


def _line_key(change: Change) -> object:
    """What changes must have in common to share a line: held ones their reason, all others nothing."""
    return (change.action, change.why, change.hint) if change.action in HELD else change.address


def _beneath(host_plan: Plan) -> list[str]:
    """What differs in the roles beneath, which this run only reads, in one line."""
    if not host_plan.beneath:
        return []
    parts = [f"{sum(change.action is action for change in host_plan.beneath)} {word}" for action, word in COUNTED]
    numbers = ", ".join(part for part in parts if not part.startswith("0 "))
    roles = ", ".join(dict.fromkeys(change.role for change in host_plan.beneath))
    verb = "deploy" if any(change.action in TODO for change in host_plan.beneath) else "check"
    return [f"  beneath, only read: {numbers} in {roles}; try: inv {verb} --host {host_plan.host}"]


def few(changes: Sequence[Change], most: int = 1) -> str:
    """The addresses of changes: the first of them, and the number of the others."""
    names = [change.address for change in changes]
    return ", ".join(names) if len(names) <= most + 1 else f"{', '.join(names[:most])} and {len(names) - most} more"


def troubles(host_plan: Plan) -> list[Trouble]:
    """What is refused or could not be read, for the end of the screen: one error each cause, with what waits for it."""
    causes: dict[tuple[Action, str, str], list[Change]] = {}
    awaited = {change.waits_for for change in host_plan.held}
    for change in (*host_plan.held, *(below for below in host_plan.beneath if below.address in awaited)):
        if change.action in REASONS:
            causes.setdefault((change.action, change.why, change.hint), []).append(change)
    return [_trouble(host_plan, alike) for alike in causes.values()]


def _trouble(host_plan: Plan, alike: Sequence[Change]) -> Trouble:
    causes = {change.address for change in alike}
    waiting = [change for change in host_plan.changes if change.action is Action.WAITING and change.waits_for in causes]
    singular, plural = REASONS[alike[0].action]
    return Trouble(
        f"{few(alike, 3)} {singular if len(alike) == 1 else plural}",
        where=host_plan.host,
        why=alike[0].why,
        untouched=f"not touched: {few([*alike, *waiting], 3)}",
        hint=for_host(alike[0].hint, host_plan.host) or f"inv status --host {host_plan.host}",
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

    def changes(self, alike: list[Change]) -> list[str]:
        """One change, or several for which the same holds: one line for all of them."""
        if len(alike) == 1:
            return self._of_change(alike[0])
        first = alike[0]
        if first.action is not Action.WAITING:
            return [*self._head(first, ", ".join(change.address for change in alike), first.why), *self._hint(first)]
        if len(alike) > MOST_WAITING:
            return self._head(first, few(alike), f"each {first.why}")
        return [line for change in alike for line in self._of_change(change)]

    def _of_change(self, change: Change) -> list[str]:
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


def counts(host_plan: Plan, done: int = 0) -> str:
    """The numbers of a plan in one line, without zeros. Changes that were `done` do not count as unchanged."""
    parts = [f"{host_plan.count(action)} {word}" for action, word in COUNTED if host_plan.count(action)]
    return ", ".join([*parts, f"{host_plan.count(Action.NONE) - done} unchanged"])


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

"""Carry out the plan of a host, role by role, and read back what changed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Sequence

from converge.engine import audit
from converge.engine import plan as planning
from converge.engine.plan import Change
from converge.engine.resource import Action
from converge.engine.role import Role
from converge.engine.run import Run, fault, gather, planned
from converge.engine.steps import Done, Report, carry_out
from converge.engine.ways_out import way_out
from converge.errors import ERROR, PENDING, Trouble


def apply(run: Run, report: Report, agree: Callable[[Run, list[Change]], bool]) -> None:
    """Carry out the plan of a host, role by role, and read back what changed.

    A role behind a changed one is read and planned again; `agree` is asked about what was not in the plan that was shown.
    """
    if not run.plan or not (run.plan.todo or run.plan.later):
        return
    assert run.shell
    shown = {change.address: change for change in run.plan.changes}
    audit.write(run, "begin", [f"{change.action.value} {change.address}" for change in run.plan.todo])
    try:
        for role in run.roles:
            gc.collect()
            if _stands_on(run, role, run.set_aside):
                continue
            _apply_or_set_aside(run, role, shown, _noting(run, report), agree)
            if run.failure:
                break
    except Exception as error:
        run.failure = error if isinstance(error, Trouble) else fault(run, error)
        audit.end(run)
        raise
    # Not after a second Ctrl-C: the shell is still busy, and nobody wants to wait for it.
    audit.end(run)


def _stands_on(run: Run, role: Role, names: Collection[str]) -> bool:
    """Whether a role needs one of these roles, directly or through another."""
    beneath = [needed for needed in run.roles if needed.name in (*role.needs, *role.after)]
    return any(needed.name in names or _stands_on(run, needed, names) for needed in beneath)


def _apply_or_set_aside(
    run: Run, role: Role, shown: dict[str, Change], report: Report, agree: Callable[[Run, list[Change]], bool]
) -> None:
    """Apply a role. If a role that stands alone fails, the run goes on and reports the failure at its end."""
    try:
        _apply_role(run, role, shown, report, agree)
    except Trouble as trouble:
        if not role.alone or trouble.code != ERROR:
            raise
        run.failure = trouble
    if run.failure and role.alone and not run.stopped:
        run.set_aside[role.name], run.failure = run.failure, None


def _noting(run: Run, report: Report) -> Report:
    """Record each change when it begins and when it ends: an error may come at any moment."""

    def note(event: str, change: Change, text: str) -> None:
        if event == "begin":
            run.begun[change.address] = change
        elif event == "end":
            run.done.append(change)
        report(event, change, text)

    return note


def _apply_role(
    run: Run, role: Role, shown: dict[str, Change], report: Report, agree: Callable[[Run, list[Change]], bool]
) -> None:
    assert run.plan
    if (
        run.changed_roles and any(change.action is not Action.NONE for change in run.plan.of_role(role.name))
    ) or run.changed_roles & {*role.needs, *role.after}:
        _replan(run, role)
    _carry_out_role(run, role, shown, report, agree)
    if not run.failure and any(change.later for change in run.plan.of_role(role.name)):
        _replan(run, role)
        _carry_out_role(run, role, shown, report, agree)


def _carry_out_role(
    run: Run, role: Role, shown: dict[str, Change], report: Report, agree: Callable[[Run, list[Change]], bool]
) -> None:
    assert run.plan and run.link and run.shell
    todo = [change for change in run.plan.of_role(role.name) if change.action in planning.TODO]
    if not todo:
        return
    new = [change for change in todo if not _was_shown(change, shown)]
    if new and not agree(run, new):
        raise Trouble(
            "the plan changed while it was carried out",
            where=run.name,
            why="not agreed to: " + ", ".join(f"{change.action.value} {change.address}" for change in new),
            untouched=f"{run.changes_done}, nothing else was touched",
            hint=f"inv deploy --host {run.name}, without --yes: it shows the new plan, and asks",
            code=PENDING,
        )
    if not {change.address for change in todo} <= run.written:
        audit.write(run, "", [])  # a role that was read again may want more than the host's memory had at the beginning
    run.changed_roles.add(role.name)
    result = carry_out(run.shell, run.link, todo, report)
    if result.failed or result.stopped:
        run.stopped = result.stopped
        run.failure = _failure(run, role, result)
        return
    _verify(run, role, result.done)


def _was_shown(change: Change, shown: dict[str, Change]) -> bool:
    before = shown.get(change.address)
    return (
        before is not None
        and (before.action is change.action or before.action is Action.WAITING)
        and (before.disrupts or not change.disrupts or before.action is Action.CREATE)
    )


def _replan(run: Run, role: Role) -> None:
    """Read a role's resources again, now that roles before it have changed the host."""
    assert run.plan
    wants = [want for want in run.wants if want.of(role.name)]
    readings, _ = gather(run, wants)
    run.readings |= readings
    old = {change.address: change for change in run.plan.changes}
    fresh = planned(run).changes
    # Changes of other roles stay as they were planned, unless the role that wants them first is now another.
    run.plan.changes = [
        change if role.name in (change.role, old[change.address].role) else old[change.address]
        for change in fresh
        if change.address in old
    ]


def _verify(run: Run, role: Role, done: Sequence[Change]) -> None:
    """Read again what was changed: a change that did not take is an error."""
    assert run.plan
    addresses = {change.address for change in done}
    wants = [want for want in run.wants if want.resource.address in addresses]
    readings, _ = gather(run, wants)
    run.readings |= readings
    after = {
        want.resource.address: planning.compare(want, readings[want.resource.address], {}, role.name) for want in wants
    }
    wrong = [change for change in after.values() if change.action is not Action.NONE]
    run.plan.changes = [after.get(change.address, change) for change in run.plan.changes]
    run.not_taken |= {change.address for change in wrong}
    if wrong:
        reasons = {
            change.address: change.why or "; ".join(change.resource.diff(change.before)) or _unlike_desired(change)
            for change in wrong
        }
        lines = [f"{', '.join(addresses)}: {why}" for why, addresses in _by_reason(reasons).items()]
        first = wrong[0]
        raise Trouble(
            "a change did not take: the host still differs after it was made",
            where=run.name,
            why="\n".join(lines),
            untouched=f"{_behind(run, role)} were not begun" if _behind(run, role) else "",
            hint=way_out(first.resource, reasons[first.address], run.name, first.hint),
        )


def _unlike_desired(change: Change) -> str:
    """What was read after a change that did not take, where `diff` gives no lines."""
    return {Action.CREATE: "it is still not there", Action.REMOVE: "it is still there"}.get(change.action, "it differs")


def _by_reason(reasons: dict[str, str]) -> dict[str, list[str]]:
    """The addresses of each message."""
    addresses: dict[str, list[str]] = {}
    for address, why in reasons.items():
        addresses.setdefault(why, []).append(address)
    return addresses


def _behind(run: Run, role: Role) -> str:
    """The roles that are not begun when this one fails."""
    if not role.alone:
        return f"the roles after {role.name}"
    names = [other.name for other in run.roles if _stands_on(run, other, {role.name})]
    return f"what needs {role.name} ({', '.join(names)})" if names else ""


def _failure(run: Run, role: Role, result: Done) -> Trouble:
    rest = ", ".join(change.address for change in result.left[:6]) + (" ..." if len(result.left) > 6 else "")
    behind = "the roles after it" if result.failed is None else _behind(run, role)
    not_begun = ", and ".join(filter(None, (rest or f"nothing else of {role.name}", behind)))
    untouched = f"{run.changes_done}; not begun: {not_begun}"
    if result.failed is None:
        return Trouble(
            "stopped, as you asked",
            where=run.name,
            untouched=untouched,
            hint=f"inv deploy --host {run.name}",
            code=128 + run.asked_to_stop,
        )
    return Trouble(
        f"{result.failed.address} failed",
        where=run.name,
        why=result.why,
        untouched=untouched,
        hint=way_out(result.failed.resource, result.why, run.name, result.hint),
    )

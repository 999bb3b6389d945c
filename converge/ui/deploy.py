"""Check and deploy as a person meets them: plans shown, one question, live progress, one summary, one exit code."""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from converge.engine import run as runs
from converge.engine.plan import Change, Plan
from converge.engine.resource import Action
from converge.engine.role import Role
from converge.engine.run import Run
from converge.errors import Trouble, Troubles
from converge.record import dataclass
from converge.ssh.root_shell import STOP
from converge.ui import interrupt, render
from converge.ui.cli import says_yes, tell
from converge.ui.lines import width
from converge.ui.screen import Screen

if TYPE_CHECKING:
    from converge.inventory.hosts import Host


@dataclass(frozen=True)
class Options:
    """What the flags of a command say."""

    command: str
    check: bool = False
    diff: bool = True
    full: bool = False
    yes: bool = False
    json: bool = False


def deploy(
    hosts: Sequence[Host[Any]],
    roles: dict[str, Sequence[Role]],
    options: Options,
    find_role: Callable[[str], Role | None] | None = None,
    beneath: Mapping[str, Sequence[Role]] | None = None,
) -> None:
    """Bring hosts to what their roles want, or with `check` only show how far they are from it. Ends with the exit code.

    The roles `beneath` are only read: what they refuse holds back the others.
    """
    screen = Screen((host.name for host in hosts), quiet=options.json)
    lines = runs.dial(hosts)
    all_runs = _prepared(hosts, roles, find_role, beneath or {})
    for run in all_runs:
        run.line = lines[run.name]
    over = screen.watch_reading(lambda: _still_reading(all_runs))
    try:
        runs.each(all_runs, lambda run: _look(run, options, screen))
        over.set()
        for run in all_runs:
            _untouched(run, "nothing was changed")
            if run.plan:
                screen.lines(_shown(run.plan, options, screen))
        todo = [run for run in all_runs if run.plan and not run.failure and (run.plan.todo or run.plan.later)]
        if not options.check and todo and _agreed(todo, options, screen):
            _apply(todo, options, screen)
            _conclude(todo, screen)
    finally:
        over.set()
        for run in all_runs:
            run.close()
    _end(all_runs, options)
    if screen.lost:
        raise screen.lost


def _shown(plan: Plan, options: Options, screen: Screen) -> list[str]:
    return render.plan(plan, full=options.full, diffs=options.diff, colour=screen.colour, columns=width())


def _prepared(
    hosts: Sequence[Host[Any]],
    roles: dict[str, Sequence[Role]],
    find_role: Callable[[str], Role | None] | None,
    beneath: Mapping[str, Sequence[Role]],
) -> list[Run]:
    """What every host should be. If anything in their settings is wrong, all of it is raised, and no host is touched."""
    all_runs: list[Run] = []
    troubles: list[Trouble] = []
    for host in hosts:
        try:
            all_runs.append(runs.prepare(host, roles[host.name], find_role, beneath.get(host.name, ())))
        except Trouble as trouble:
            troubles.append(trouble)
    if troubles:
        raise Troubles(troubles)
    return all_runs


def _still_reading(all_runs: list[Run]) -> list[str]:
    """What has not been read yet of each host. MinIO, say, may wait for a node that has just died."""
    unread = [run for run in all_runs if not run.plan and not run.failure]
    patience = "reading; a service that does not answer is given {:.0f} s"
    return [f"{run.name}: still {patience.format(run.patience) if run.link else 'connecting'}" for run in unread]


def _untouched(run: Run, what: str) -> None:
    """What a failure left untouched, where it does not say so itself."""
    if run.failure and not run.failure.untouched:
        run.failure.untouched = what


def _look(run: Run, options: Options, screen: Screen) -> None:
    runs.look(run, options.command, not options.check, tell=lambda text: screen.lines([f"{run.name}: {text}"]))


def _agreed(todo: list[Run], options: Options, screen: Screen) -> bool:
    """One question for all hosts. Without a terminal and without --yes nothing changes."""
    if options.yes:
        return True
    if not sys.stdin.isatty() or options.json:
        screen.lines(["nothing was changed: there is no terminal to ask on, and no --yes"])
        return False
    changes = sum(len(run.plan.todo) for run in todo if run.plan)
    names = ", ".join(run.name for run in todo)
    if not says_yes(f"Make {'this change' if changes == 1 else f'these {changes} changes'} on {names}? [y/N] "):
        screen.lines(["nothing was changed"])
        return False
    return True


def _apply(todo: list[Run], options: Options, screen: Screen) -> None:
    from converge.engine.apply import apply  # a check applies nothing

    gc.freeze()  # the libraries are never garbage: without them a collection between two roles is fast
    asking = threading.Lock()

    def agree(run: Run, new: list[Change]) -> bool:
        names = ", ".join(f"{change.action.value} {change.address}" for change in new)
        if options.yes:
            return all(change.action is Action.CREATE and not change.disrupts for change in new)
        with asking:
            return says_yes(f"{run.name}: the plan has grown: {names}. Go on? [y/N] ")

    screen.lines(["", "applying:"])
    over = screen.watch()
    screen.goes_on = True
    try:
        with interrupt.handled_by(lambda number: _stop(todo, number)):
            runs.each(todo, lambda run: apply(run, screen.reporter(run.name), agree))
    finally:
        over.set()


def _stop(todo: list[Run], number: int) -> None:
    """The first Ctrl-C lets the current change of every host end."""
    for run in todo:
        run.asked_to_stop = number
        if run.link:
            threading.Thread(target=run.link.send, args=(f"touch {STOP}", iter(())), daemon=True).start()
    interrupt.say(
        "stopping after the current change; once more leaves it (it may still run, the next deploy waits for it)"
    )


def _conclude(todo: list[Run], screen: Screen) -> None:
    for run in todo:
        _untouched(run, f"{run.changes_done}; the next deploy finishes the one that was under way")
        if run.plan and not run.troubles:
            screen.lines([f"{run.name}: {_number(run)} made and read back, {render.counts(run.plan, len(run.done))}"])


def _number(run: Run) -> str:
    return "1 change" if len(run.done) == 1 else f"{len(run.done)} changes"


def _end(all_runs: list[Run], options: Options) -> None:
    """Print again what failed or was refused, each with its next step, and end with the highest exit code."""
    if options.json:
        failures = {run.name: _as_json(run) for run in all_runs if run.troubles}
        answer = render.as_json([run.plan for run in all_runs if run.plan], {run.name: run.code for run in all_runs})
        print(
            json.dumps(
                {
                    **answer,
                    "failures": failures,
                    "changed": {run.name: [change.address for change in run.done] for run in all_runs},
                }
            )
        )
    troubles = [trouble for run in all_runs for trouble in _troubles(run)]
    code = max((run.code for run in all_runs), default=0)
    if code:
        raise Exit(tell(Troubles(troubles)) if troubles else None, code=code)


def _as_json(run: Run) -> dict[str, object]:
    """What failed on a host: the first of it, and more where services have failed that stop no other."""
    first, *more = [
        {"what": trouble.what, "why": trouble.why, "untouched": trouble.untouched, "try": trouble.hint}
        for trouble in run.troubles
    ]
    return {**first, "exit_code": run.code, **({"more": more} if more else {})}


def _troubles(run: Run) -> list[Trouble]:
    return run.troubles or (render.troubles(run.plan) if run.plan else [])

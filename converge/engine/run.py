"""A run over hosts: connect, probe, plan; then, when somebody said yes, apply and verify."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Any

from converge.engine import plan as planning
from converge.engine import probe
from converge.engine.apply import Done, Report, carry_out
from converge.engine.plan import Change, Plan, Wanted
from converge.engine.resource import Action, Reading, Resource, Unknown
from converge.engine.role import Role
from converge.engine.ways_out import way_out
from converge.errors import ERROR, PENDING, REFUSED, Trouble, Troubles
from converge.shell import quote
from converge.ssh.root_shell import RootShell, holder

if TYPE_CHECKING:
    from converge.ssh.link import Link

AUDIT = "/var/lib/stowage/audit.jsonl"
MOST_HOSTS_AT_ONCE = 32
API_PATIENCE = 40.0
"""Seconds that an API may take; MinIO waits up to 11 for a peer that has just died."""


@dataclass
class Run:
    """One host in the course of a run: its connection, its plan, and what became of it."""

    host: Any
    roles: Sequence[Role]
    wants: list[Wanted]
    line: Future[Link] | None = None
    link: Link | None = None
    shell: RootShell | None = None
    plan: Plan | None = None
    memory: dict[str, str] = field(default_factory=dict)
    begun: dict[str, Change] = field(default_factory=dict)
    """What was begun, by address: it may be there, whatever became of it."""
    done: list[Change] = field(default_factory=list)
    not_taken: set[str] = field(default_factory=set)
    """Of what was done, what did not read as it should afterwards."""
    written: set[str] = field(default_factory=set)
    """What the host's memory names."""
    stopped: bool = False
    asked_to_stop: int = 0
    """The signal that asked for the end of this run; 0 while none has."""
    failure: Trouble | None = None
    """What ended the run."""
    set_aside: dict[str, Trouble] = field(default_factory=dict)
    """What failed of roles that stand alone, by their names: the run went on."""
    changed_roles: set[str] = field(default_factory=set)
    patience: float = API_PATIENCE
    beneath: Sequence[Role] = ()
    """Roles that are only read, since one that was asked for stands on them."""
    readings: dict[str, Reading] = field(default_factory=dict)
    find_role: Callable[[str], Role | None] | None = None
    """Finds a role that the host had and its settings no longer name; None when only some roles were asked for."""

    @property
    def name(self) -> str:
        return str(self.host.name)

    @property
    def code(self) -> int:
        """The exit code of this host."""
        if self.troubles:
            return max(one.code for one in self.troubles)
        if self.plan is None:
            return ERROR
        if self.plan.refused:
            return REFUSED
        return PENDING if self.plan.todo or self.plan.later or self.plan.held else 0

    @property
    def troubles(self) -> list[Trouble]:
        """Everything that failed, in its order."""
        return [*self.set_aside.values(), *([self.failure] if self.failure else [])]

    def close(self) -> None:
        if self.shell:
            self.shell.close()
        if self.link:
            self.link.close()


def prepare(
    host: Any,
    roles: Sequence[Role],
    find_role: Callable[[str], Role | None] | None = None,
    beneath: Sequence[Role] = (),
) -> Run:
    """What the roles want of a host. Two may want the same thing, but not in two ways."""
    found = [one for role in (*beneath, *roles) for one in planning.wanted(role, host)]
    first: dict[str, Wanted] = {}
    for one in found:
        other = first.setdefault(one.resource.address, one)
        if other.resource != one.resource:
            raise Trouble(
                f"{one.resource.address} is wanted differently by {other.role} and by {one.role}", where=host.name
            )
    return Run(host, roles, planning.merged(found), beneath=beneath, find_role=find_role)


def _planned(run: Run) -> Plan:
    """The plan of what was read last of everything."""
    only = {role.name for role in run.roles} if run.beneath else None
    return planning.make(run.name, [*run.beneath, *run.roles], run.wants, run.readings, run.memory, only)


def dial(hosts: Sequence[Any]) -> dict[str, Future[Link]]:
    """Begin to connect to hosts: what the roles want is worked out while they answer."""
    from converge.ssh.link import connect

    pool = ThreadPoolExecutor(min(len(hosts), MOST_HOSTS_AT_ONCE))
    lines = {host.name: pool.submit(connect, host.target) for host in hosts}
    pool.shutdown(wait=False)
    return lines


def each(runs: Sequence[Run], do: Callable[[Run], None]) -> None:
    """Do something with every host at once; what goes wrong on one stays with that one."""

    def guarded(run: Run) -> None:
        try:
            do(run)
        except Trouble as trouble:
            trouble.where = trouble.where or run.name
            run.failure = trouble
        except Troubles as troubles:
            run.failure = troubles.troubles[0]
        except Exception as error:
            if os.environ.get("STOWAGE_DEBUG"):
                raise
            run.failure = _fault(run, error)

    if len(runs) == 1:
        guarded(runs[0])
        return
    with ThreadPoolExecutor(min(len(runs), MOST_HOSTS_AT_ONCE)) as pool:
        list(pool.map(guarded, runs))


def _fault(run: Run, error: Exception) -> Trouble:
    """What no resource and no library foresaw: of this host alone, the others go on."""
    under_way = [one.address for one in run.begun.values() if one not in run.done]
    return Trouble(
        f"{under_way[-1]} failed" if under_way else "a fault of Stowage itself",
        where=run.name,
        why=f"{'a fault of Stowage itself: ' if under_way else ''}{type(error).__name__}: {error}",
        hint="the same command again, with STOWAGE_DEBUG=1 before it: it then shows where the fault is",
    )


def look(
    run: Run,
    command: str,
    lock: bool,
    meanwhile: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Connect, read everything in one round trip, and plan; `meanwhile` begins once there is a connection.

    With the lock, what an earlier run left running is waited for before anything is read, and `tell` hears of it.
    """
    run.link = (run.line or dial([run.host])[run.name]).result()
    meanwhile()
    resources = [one.resource for one in run.wants]
    asked = _ask_all(run.link, resources, run.patience)
    run.shell = RootShell(
        run.link, holder(command) if lock else None, tell, lambda marker: probe.script(resources, "probe-" + marker)
    )
    readings, run.memory = gather(run, run.wants, asked)
    run.readings = readings | _what_is_gone(run)
    run.plan = _planned(run)


def _what_is_gone(run: Run) -> dict[str, Reading]:
    """Read what the host remembers and no role wants any more; seldom anything, and then one more round trip."""
    known = {one.resource.address for one in run.wants}
    if not set(run.memory) - known:
        return {}
    from converge.engine.gone import no_longer_wanted

    if run.find_role:
        past = {told.split(" ")[0] for told in run.memory.values()} - {one.name for one in run.roles}
        run.roles = [*run.roles, *(role for name in sorted(past) if (role := run.find_role(name)))]
    gone = list(no_longer_wanted(run.host, run.memory, known, {role.name: role for role in run.roles}))
    run.wants += gone
    return gather(run, gone)[0] if gone else {}


def gather(
    run: Run, wants: Sequence[Wanted], asked: Callable[[], dict[str, Reading]] | None = None
) -> tuple[dict[str, Reading], dict[str, str]]:
    """Read resources: those of the shell in one script, those of APIs at the same moment (`asked`: on their way already)."""
    assert run.shell
    resources = [one.resource for one in wants]
    run.shell.start(probe.script(resources, "probe-" + run.shell.marker))
    asked = asked or _ask_all(run.link, resources, run.patience)
    for one in resources:
        one.desired()  # what is costly to work out is worked out while the host reads
    _, answer = run.shell.finish()
    if run.shell.waited:
        run.shell.waited, asked = False, _ask_all(run.link, resources, run.patience)  # those were asked too early
    readings, memory = probe.read(resources, answer, "probe-" + run.shell.marker)
    return readings | asked(), memory


def _ask_all(link: Link | None, resources: Iterable[Resource], patience: float) -> Callable[[], dict[str, Reading]]:
    """Begin all API reads at once, one thread a kind; what is given waits for them. What has not answered in time is unknown."""
    kinds: dict[type[Resource], list[Resource]] = {}
    for one in resources:
        if one.is_api():
            kinds.setdefault(type(one), []).append(one)
    late = f"the API did not answer within {patience:.0f} s"
    found: dict[str, Reading] = {one.address: Unknown(late) for many in kinds.values() for one in many}

    def ask(kind: type[Resource], many: list[Resource]) -> None:
        try:
            assert link
            readings = kind.ask(link, many)
        except Trouble as trouble:
            readings = [Unknown(f"{trouble.what}{': ' + trouble.why if trouble.why else ''}", trouble.hint)] * len(many)
        except Exception as error:  # a thread that ends with it would leave them as late, and print a traceback
            readings = [Unknown(f"a fault of Stowage itself: {type(error).__name__}: {error}")] * len(many)
        found.update(zip((one.address for one in many), readings, strict=True))

    threads = [Thread(target=ask, args=pair, daemon=True) for pair in kinds.items()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + patience

    def answers() -> dict[str, Reading]:
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return dict(found)

    return answers


def apply(run: Run, report: Report, agree: Callable[[Run, list[Change]], bool]) -> None:
    """Carry out the plan of a host, role by role, and read back what changed.

    A role behind a changed one is read and planned again; `agree` is asked about what was not in the plan that was shown.
    """
    if not run.plan or not (run.plan.todo or run.plan.later):
        return
    assert run.shell
    shown = {one.address: one for one in run.plan.changes}
    _audit(run, "begin", [f"{one.action.value} {one.address}" for one in run.plan.todo])
    try:
        for role in run.roles:
            gc.collect()
            if _stands_on(run, role, run.set_aside):
                continue
            _apply_or_set_aside(run, role, shown, _noting(run, report), agree)
            if run.failure:
                break
    except Exception as error:
        run.failure = error if isinstance(error, Trouble) else _fault(run, error)
        _audit_end(run)
        raise
    # Not when somebody pressed Ctrl-C twice: the shell is busy with what is left, and nobody wants to wait for its end.
    _audit_end(run)


def _stands_on(run: Run, role: Role, names: Collection[str]) -> bool:
    """Whether a role needs one of these, itself or by what it needs."""
    beneath = [one for one in run.roles if one.name in (*role.needs, *role.after)]
    return any(one.name in names or _stands_on(run, one, names) for one in beneath)


def _apply_or_set_aside(
    run: Run, role: Role, shown: dict[str, Change], report: Report, agree: Callable[[Run, list[Change]], bool]
) -> None:
    """Apply a role. What fails of one that stands alone is told at the end, and the run goes on."""
    try:
        _apply_role(run, role, shown, report, agree)
    except Trouble as trouble:
        if not role.alone or trouble.code != ERROR:
            raise
        run.failure = trouble
    if run.failure and role.alone and not run.stopped:
        run.set_aside[role.name], run.failure = run.failure, None


def _noting(run: Run, report: Report) -> Report:
    """Keep what begins and what ends as it does so: an error may come at any moment."""

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
        run.changed_roles and any(one.action is not Action.NONE for one in run.plan.of_role(role.name))
    ) or run.changed_roles & {*role.needs, *role.after}:
        _replan(run, role)
    _carry_out_role(run, role, shown, report, agree)
    if not run.failure and any(one.later for one in run.plan.of_role(role.name)):
        _replan(run, role)
        _carry_out_role(run, role, shown, report, agree)


def _carry_out_role(
    run: Run, role: Role, shown: dict[str, Change], report: Report, agree: Callable[[Run, list[Change]], bool]
) -> None:
    assert run.plan and run.link and run.shell
    todo = [one for one in run.plan.of_role(role.name) if one.action in planning.TODO]
    if not todo:
        return
    new = [one for one in todo if not _was_shown(one, shown)]
    if new and not agree(run, new):
        raise Trouble(
            "the plan changed while it was carried out",
            where=run.name,
            why="not agreed to: " + ", ".join(f"{one.action.value} {one.address}" for one in new),
            untouched=f"{changes_done(run)}, nothing else was touched",
            hint=f"inv deploy --host {run.name}, without --yes: it shows the new plan, and asks",
            code=PENDING,
        )
    if not {one.address for one in todo} <= run.written:
        _audit(run, "", [])  # a role that was read again wants more than the host was told at the beginning
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
    wants = [one for one in run.wants if one.of(role.name)]
    readings, _ = gather(run, wants)
    run.readings |= readings
    old = {one.address: one for one in run.plan.changes}
    fresh = _planned(run).changes
    # Of other roles' resources nothing is new but where another role has come to want them first.
    run.plan.changes = [
        one if role.name in (one.role, old[one.address].role) else old[one.address]
        for one in fresh
        if one.address in old
    ]


def _verify(run: Run, role: Role, done: Sequence[Change]) -> None:
    """Read again what was changed: a change that did not take is an error."""
    assert run.plan
    addresses = {one.address for one in done}
    wants = [one for one in run.wants if one.resource.address in addresses]
    readings, _ = gather(run, wants)
    run.readings |= readings
    after = {
        want.resource.address: planning.compare(want, readings[want.resource.address], {}, role.name) for want in wants
    }
    wrong = [one for one in after.values() if one.action is not Action.NONE]
    run.plan.changes = [after.get(one.address, one) for one in run.plan.changes]
    run.not_taken |= {one.address for one in wrong}
    if wrong:
        told = {one.address: one.why or "; ".join(one.resource.diff(one.before)) or _still(one) for one in wrong}
        lines = [f"{', '.join(addresses)}: {why}" for why, addresses in _alike(told).items()]
        first = wrong[0]
        raise Trouble(
            "a change did not take: the host still differs after it was made",
            where=run.name,
            why="\n".join(lines),
            untouched=f"{_behind(run, role)} were not begun" if _behind(run, role) else "",
            hint=way_out(first.resource, told[first.address], run.name, first.hint),
        )


def _still(change: Change) -> str:
    """What is read of a change that did not take, where its difference has no words."""
    return {Action.CREATE: "it is still not there", Action.REMOVE: "it is still there"}.get(change.action, "it differs")


def _alike(told: dict[str, str]) -> dict[str, list[str]]:
    """The addresses of each message."""
    found: dict[str, list[str]] = {}
    for address, why in told.items():
        found.setdefault(why, []).append(address)
    return found


def changes_done(run: Run) -> str:
    """How many changes were made."""
    return "1 change is done" if len(run.done) == 1 else f"{len(run.done)} changes are done"


def _behind(run: Run, role: Role) -> str:
    """The roles that are not begun when this one fails."""
    if not role.alone:
        return f"the roles after {role.name}"
    names = [one.name for one in run.roles if _stands_on(run, one, {role.name})]
    return f"what needs {role.name} ({', '.join(names)})" if names else ""


def _failure(run: Run, role: Role, result: Done) -> Trouble:
    left = ", ".join(one.address for one in result.left[:6]) + (" ..." if len(result.left) > 6 else "")
    behind = "the roles after it" if result.failed is None else _behind(run, role)
    not_begun = ", and ".join(filter(None, (left or f"nothing else of {role.name}", behind)))
    untouched = f"{changes_done(run)}; not begun: {not_begun}"
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


def _audit(run: Run, what: str, changes: list[str]) -> None:
    """What the host is to remember and, for an event, a line of JSON: who did what, from which commit. No values, so no secrets."""
    assert run.shell
    line = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "event": what,
        **holder(""),
        "commit": _commit(run),
        "changes": changes,
    }
    line.pop("since")
    line.pop("doing")
    if what == "end":
        line["result"] = "stopped" if run.stopped else "failed" if run.troubles else "done"
    folder = AUDIT.rsplit("/", 1)[0]
    kept = _memory(run, what == "end")
    memory = "".join(f"{told} {address}\n" for address, told in sorted(kept.items()))
    told = f"printf '%s\\n' {quote(json.dumps(line))} >>{AUDIT}\n" if what else ""
    status, said = run.shell.run(
        f"set -e\nmkdir -p -m 0750 {folder}\n{told}"
        f"printf %s {quote(memory)} >{probe.MEMORY}.new && mv {probe.MEMORY}.new {probe.MEMORY}\nsync -f {folder}"
    )
    if status:
        raise Trouble("the audit line could not be written", where=run.name, why=said, untouched="nothing was changed")
    run.written = {*kept}


def _memory(run: Run, ends: bool) -> dict[str, str]:
    """What the host is to remember: what was made, what was begun, and until the end what is to be made: a cut run says no more."""
    assert run.plan
    begun = [*run.begun.values(), *(run.plan.todo if not ends else ())]
    kept = {one.address: f"{one.role} {probe.BEGUN}" for one in begun} | run.memory
    as_they_should_be = [one for one in run.plan.changes if one.action is Action.NONE]
    finished = [one for one in as_they_should_be if kept.get(one.address, "").endswith(f" {probe.BEGUN}")]
    # What holds data is remembered as well where it was there already: once it is gone, it must not be made anew, empty.
    finished += [one for one in as_they_should_be if one.address not in kept and one.resource.lost()]
    made = [one for one in (*finished, *run.done) if one.address not in run.not_taken]
    kept |= {one.address: f"{one.role} {one.resource.remembered()}" for one in made}
    gone = {one.address for one in [*as_they_should_be, *made] if one.resource.desired() is None}
    return {address: told for address, told in kept.items() if address not in gone}


def _audit_end(run: Run) -> None:
    try:
        _audit(run, "end", [f"{one.action.value} {one.address}" for one in run.done])
    except Trouble as trouble:
        run.failure = run.failure or trouble


def _commit(run: Run) -> str:
    """The commit of the checkout, read without starting git; empty where there is none."""
    git = run.host.root / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        return str(head if not head.startswith("ref: ") else (git / head[5:]).read_text())[:12]
    except OSError:
        return ""

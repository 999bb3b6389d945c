"""A run over hosts: connect, probe, plan. What follows once somebody has said yes is in `apply`."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from threading import Thread
from typing import TYPE_CHECKING, Any

from converge.engine import plan as planning
from converge.engine.plan import Change, Plan, WantedResource
from converge.engine.probe import Probe
from converge.engine.resource import Reading, Resource, Unknown
from converge.engine.role import Role
from converge.errors import ERROR, PENDING, REFUSED, Trouble, Troubles
from converge.record import dataclass
from converge.ssh.root_shell import RootShell, holder

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link

MOST_HOSTS_AT_ONCE = 32
API_PATIENCE = 40.0
"""Seconds that an API may take; MinIO waits up to 11 for a peer that has just died."""


@dataclass
class Run:
    """One host in the course of a run: its connection, its plan, and what became of it."""

    host: Host[Any]
    roles: Sequence[Role]
    wants: list[WantedResource]
    line: Future[Link] | None = None
    link: Link | None = None
    shell: RootShell | None = None
    plan: Plan | None = None
    memory: dict[str, str] = field(default_factory=dict)
    begun: dict[str, Change] = field(default_factory=dict)
    """Changes that were begun, by address: what they make may be there, however they ended."""
    done: list[Change] = field(default_factory=list)
    not_taken: set[str] = field(default_factory=set)
    """Addresses of changes that were made and did not read as they should afterwards."""
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
            return max(trouble.code for trouble in self.troubles)
        if self.plan is None:
            return ERROR
        if self.plan.refused:
            return REFUSED
        return PENDING if self.plan.todo or self.plan.later or self.plan.held else 0

    @property
    def troubles(self) -> list[Trouble]:
        """Everything that failed, in its order."""
        return [*self.set_aside.values(), *([self.failure] if self.failure else [])]

    @property
    def changes_done(self) -> str:
        """How many changes were made."""
        return "1 change is done" if len(self.done) == 1 else f"{len(self.done)} changes are done"

    def close(self) -> None:
        if self.shell:
            self.shell.close()
        if self.link:
            self.link.close()


def prepare(
    host: Host[Any],
    roles: Sequence[Role],
    find_role: Callable[[str], Role | None] | None = None,
    beneath: Sequence[Role] = (),
) -> Run:
    """What the roles want of a host. Two may want the same thing, but not in two ways."""
    wants = [want for role in (*beneath, *roles) for want in planning.wanted(role, host)]
    first: dict[str, WantedResource] = {}
    for want in wants:
        other = first.setdefault(want.resource.address, want)
        if other.resource != want.resource:
            raise Trouble(
                f"{want.resource.address} is wanted differently by {other.role} and by {want.role}", where=host.name
            )
    return Run(host, roles, planning.merged(wants), beneath=beneath, find_role=find_role)


def planned(run: Run) -> Plan:
    """The plan, made from the last reading of everything."""
    only = {role.name for role in run.roles} if run.beneath else None
    return planning.make(run.name, [*run.beneath, *run.roles], run.wants, run.readings, run.memory, only)


def dial(hosts: Sequence[Host[Any]]) -> dict[str, Future[Link]]:
    """Begin to connect to hosts: what the roles want is worked out while they answer."""
    from converge.ssh.link import connect

    pool = ThreadPoolExecutor(min(len(hosts), MOST_HOSTS_AT_ONCE))
    lines = {host.name: pool.submit(connect, host.target) for host in hosts}
    pool.shutdown(wait=False)
    # Now, and not while the roles are asked what they want: two busy threads slow each other down, and the greeting would come last.
    importlib.import_module("converge.ssh.connection")
    return lines


def each(runs: Sequence[Run], do: Callable[[Run], None]) -> None:
    """Do something with every host at once; an error on one host leaves the others alone."""

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
            run.failure = fault(run, error)

    if len(runs) == 1:
        guarded(runs[0])
        return
    with ThreadPoolExecutor(min(len(runs), MOST_HOSTS_AT_ONCE)) as pool:
        list(pool.map(guarded, runs))


def fault(run: Run, error: Exception) -> Trouble:
    """The error for an exception that nobody foresaw. It ends the run of this host, the others go on."""
    under_way = [change.address for change in run.begun.values() if change not in run.done]
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
    asked = Probe([want.resource for want in run.wants])
    run.shell = RootShell(
        run.link, holder(command) if lock else None, tell, lambda marker: asked.script("probe-" + marker)
    )
    readings, run.memory = gather(run, run.wants, asked)
    run.readings = readings | _what_is_gone(run)
    run.plan = planned(run)


def _what_is_gone(run: Run) -> dict[str, Reading]:
    """Read what the host remembers and no role wants any more; seldom anything, and then one more round trip."""
    known = {want.resource.address for want in run.wants}
    if not set(run.memory) - known:
        return {}
    from converge.engine.gone import no_longer_wanted

    if run.find_role:
        past = {role_and_hash.split(" ")[0] for role_and_hash in run.memory.values()} - {
            role.name for role in run.roles
        }
        run.roles = [*run.roles, *(role for name in sorted(past) if (role := run.find_role(name)))]
    # What something else gives now, such as a file that is signed on the host and was the operator's, is not gone.
    given = {part for want in run.wants for part in want.resource.gives()}
    gone = list(no_longer_wanted(run.host, run.memory, known | given, {role.name: role for role in run.roles}))
    run.wants += gone
    return gather(run, gone)[0] if gone else {}


def gather(
    run: Run, wants: Sequence[WantedResource], asked: Probe | None = None
) -> tuple[dict[str, Reading], dict[str, str]]:
    """Read resources: by one script (`asked`, when it has been sent already) and, at the same moment, through APIs."""
    assert run.shell
    resources, marker = [want.resource for want in wants], "probe-" + run.shell.marker
    asked = asked or Probe(resources)
    run.shell.start(asked.script(marker))
    api = _ask_all(run.link, resources, run.patience)
    for resource in resources:
        resource.desired()  # a costly one is worked out while the host reads
    _, answer = run.shell.finish()
    if run.shell.waited:
        run.shell.waited, api = (
            False,
            _ask_all(run.link, resources, run.patience),
        )  # the APIs were asked before the earlier run had ended
    readings, memory = asked.read(answer, marker)
    return readings | api(), memory


def _ask_all(link: Link | None, resources: Iterable[Resource], patience: float) -> Callable[[], dict[str, Reading]]:
    """Begin all API reads at once, one thread a kind, and return a function that waits for them. What is late is unknown."""
    kinds: dict[type[Resource], list[Resource]] = {}
    for resource in resources:
        if resource.is_api():
            kinds.setdefault(type(resource), []).append(resource)
    late = f"the API did not answer within {patience:.0f} s"
    read_so_far: dict[str, Reading] = {
        resource.address: Unknown(late) for of_kind in kinds.values() for resource in of_kind
    }

    def ask(kind: type[Resource], of_kind: list[Resource]) -> None:
        try:
            assert link
            readings = kind.ask(link, of_kind)
        except Trouble as trouble:
            readings = [Unknown(f"{trouble.what}{': ' + trouble.why if trouble.why else ''}", trouble.hint)] * len(
                of_kind
            )
        except (
            Exception
        ) as error:  # otherwise the thread would print a traceback, and its resources would be called late
            readings = [Unknown(f"a fault of Stowage itself: {type(error).__name__}: {error}")] * len(of_kind)
        read_so_far.update(zip((resource.address for resource in of_kind), readings, strict=True))

    threads = [Thread(target=ask, args=pair, daemon=True) for pair in kinds.items()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + patience

    def answers() -> dict[str, Reading]:
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return dict(read_so_far)

    return answers

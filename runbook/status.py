"""Status: the one screen that an on-call engineer opens first."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, field, replace
from typing import TYPE_CHECKING, Any

from converge.engine import run as runs
from converge.engine.plan import Change
from converge.engine.resource import Action
from converge.engine.role import Role
from converge.errors import ERROR, PENDING, REFUSED, UNREACHABLE, Trouble
from converge.record import dataclass
from converge.resources.serving import Serving
from converge.ui.colour import coloured
from roles.backup.status import Backups
from roles.minio.status import CLUSTER_PATIENCE, Bucket, read_cluster, start_reading
from roles.postgres.status import DatabaseServer
from runbook import machine_status
from runbook.advice import advice
from runbook.machine_status import Container, Drive
from runbook.status_screen import WIDTH, lines

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

PATIENCE = 9.0
"""Seconds after which a host that has not answered is shown as dead."""
FOR_PARTS = 8.0
"""Seconds after which what is known of a host is shown without the parts that are still being read."""
DIFFERENCES, MACHINE = "how it differs from the inventory", "its drives, containers, databases and backups"


@dataclass
class Status:
    """All that is known of one host; `next` is what to do about it."""

    host: str
    error: str = ""
    code: int = 0
    """The exit code, where there is an error."""
    docker: str = ""
    """What is wrong with Docker; nothing where it runs."""
    drives: list[Drive] = field(default_factory=list)
    nodes: list[Container] = field(default_factory=list)
    services: list[Container] = field(default_factory=list)
    quorum: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)
    buckets: list[Bucket] = field(default_factory=list)
    postgres: DatabaseServer | None = None
    backup: Backups | None = None
    certificates: list[str] = field(default_factory=list)
    """What is wrong with those that the edge shows, and what to do about it."""
    last_deploy: str = ""
    under_way: str = ""
    drift: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """The parts that did not answer in time."""
    next: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        return not self.error and not self.next

    @property
    def exit_code(self) -> int:
        """0 when all is well, 2 when something needs a person, 3 when not all could be read, else that of the error."""
        if self.error:
            return self.code
        return REFUSED if self.unread else 0 if self.healthy else PENDING


def of_hosts(hosts: Sequence[Host[Settings]], roles: dict[str, Sequence[Role]]) -> list[Status]:
    """The status of every host, gathered at once; a host that is silent costs PATIENCE and no more."""
    statuses: dict[str, Status] = {}

    def ask(host: Host[Settings]) -> None:
        try:
            statuses[host.name] = of_host(host, roles[host.name])
        except Trouble as trouble:
            joint = "\n" if "\n" in trouble.why else ": "
            silence = joint.join(filter(None, (trouble.what, trouble.why)))
            statuses[host.name] = Status(host.name, silence, trouble.code, next=[trouble.hint] if trouble.hint else [])
        except Exception as error:
            silence = f"a fault of Stowage itself: {type(error).__name__}: {error}"
            statuses[host.name] = Status(
                host.name, silence, ERROR, next=[f"STOWAGE_DEBUG=1 inv check --host {host.name}"]
            )

    threads = [threading.Thread(target=ask, args=(host,), daemon=True) for host in hosts]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [statuses.get(host.name) or _silent(host) for host in hosts]


def _silent(host: Host[Settings]) -> Status:
    return Status(
        host.name,
        error=f"no answer within {PATIENCE:.0f} s",
        code=UNREACHABLE,
        next=[f"is it up? ping, console, or ssh {host.target.address}"],
    )


def of_host(host: Host[Settings], roles: Sequence[Role]) -> Status:
    """Everything of one host, read without taking its lock. A slow part does not delay the others."""
    until = time.monotonic() + FOR_PARTS
    quick = _with_patience(host)
    run, unplanned = _prepared(quick, roles)
    run.patience = CLUSTER_PATIENCE
    run.line = runs.dial([quick])[quick.name]
    status = Status(host.name)
    try:
        link = run.line.result()
        cluster: dict[str, Any] = {}
        if machine_status.has_cluster(host):
            start_reading(host, link, cluster)
        differences = _Part(lambda: runs.look(run, "status", lock=False))
        machine = _Part(lambda: link.send(machine_status.facts(host), iter(())))
        if differences.answered(until):
            assert run.plan
            status.drift = _differences(run.plan.changes)
        else:
            status.unread.append(DIFFERENCES)
        if machine.answered(until):
            machine_status.read(status, host, machine.answer[1].decode(errors="replace"))
        else:
            status.unread.append(MACHINE)
            status.drives = machine_status.unread_drives(host)
        for service in status.services:
            service.silence = _silence(run.plan.changes if run.plan else (), service.name)
        if machine_status.has_cluster(host):
            read_cluster(status, host, cluster)
    finally:
        run.close()
    status.next = [*unplanned, *advice(status, host)]
    return status


def _prepared(host: Host[Settings], roles: Sequence[Role]) -> tuple[runs.Run, list[str]]:
    """The run that reads how a host differs; where a file of this machine that a role needs is not as it must be, all else is read."""
    try:
        return runs.prepare(host, roles), []
    except Trouble as trouble:
        why = ": ".join(filter(None, (trouble.what, trouble.why.replace("\n", ", "))))
        return runs.prepare(host, []), [
            f"{why}; how the host differs was not read, and nothing can be deployed: {trouble.hint}"
        ]


def _differences(changes: Sequence[Change]) -> list[str]:
    """The differences, line by line; changes that only wait for one of them are counted."""
    differing = [change for change in changes if change.action not in (Action.NONE, Action.WAITING)]
    waiting = sum(change.action is Action.WAITING for change in changes)
    listed = [
        f"{change.action.value} {change.address}{': ' + change.why if change.why else ''}" for change in differing
    ]
    return [*listed, f". {waiting} more wait for {'that' if len(listed) == 1 else 'those'}"] if waiting else listed


def _silence(changes: Sequence[Change], name: str) -> str:
    """What is wrong with the answer of a service, from the changes that were planned for the host."""
    asked = (
        (change.resource.silence(change.before), change.resource.name)
        for change in changes
        if isinstance(change.resource, Serving)
    )
    return next((silence for silence, container in asked if container == name), "")


def _with_patience(host: Host[Settings]) -> Any:
    return replace(host, target=replace(host.target, connect_timeout=min(host.target.connect_timeout, 5.0)))


class _Part:
    """A part of the status that is read beside the others."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self.answer: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, args=(read,), daemon=True)
        self._thread.start()

    def _read(self, read: Callable[[], Any]) -> None:
        try:
            self.answer = read()
        except Exception as error:  # raised again where the part is asked for
            self._error = error

    def answered(self, until: float) -> bool:
        """Whether it was read in time; raises what went wrong while it was."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._error:
            raise self._error
        return not self._thread.is_alive()


def show(hosts: Sequence[Host[Settings]], roles: dict[str, Sequence[Role]], as_json: bool, html: str = "") -> int:
    """Print the status of hosts, and write it as a page into a file that is named; the highest exit code of them."""
    statuses = of_hosts(hosts, roles)
    if html:
        from runbook import status_page

        status_page.write(hosts, statuses, html)
    if as_json:
        print(json.dumps({"hosts": [{**asdict(status), "healthy": status.healthy} for status in statuses]}))
    else:
        width = max(60, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDTH
        print("\n".join(line for status in statuses for line in lines(status, coloured(sys.stdout), width)))
    return max((status.exit_code for status in statuses), default=0)

"""What to do about what `inv status` has found, the most urgent first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from roles.backup import status as backup_status
from roles.minio.key_ends import ending
from roles.postgres import status as database_status
from runbook.machine_status import NOT_MOUNTED, NOT_READ

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings
    from runbook.status import Status

NEARLY_FULL = 0.85
EDGES = ("nginx", "traefik")


def advice(status: Status, host: Host[Settings]) -> list[str]:
    """Sentences with the commands to type. A consequence of something above is not repeated."""
    name = host.name
    sentences = [*_run(status, name), *_unread(status, name), *_docker(status, name), *_drives(status, name)]
    if not status.docker:
        sentences += [*_containers(status, name), *_cluster(status, name, bool(sentences))]
    if status.postgres and not status.docker:
        sentences += database_status.advice(status.postgres, name)
    if status.backup:
        sentences += backup_status.advice(status.backup, name)
    if all(container.well for container in status.services if container.name in EDGES):
        sentences += status.certificates
    sentences += [f"{service.useless}, then {_deploy(status, name)}" for service in status.services if service.useless]
    if "buckets" in host.settings.roles:
        sentences += [f"{sentence} --host {name}" for sentence in ending(host.settings, datetime.now(UTC))]
    if not sentences or not (status.docker or any(drive.problem for drive in status.drives)):
        sentences += _refused(status, name)
    if status.drift and not sentences:
        sentences.append(f"inv check --host {name} shows the differences, inv deploy --host {name} mends them")
    return sentences


def _refused(status: Status, name: str) -> Iterator[str]:
    """What a deploy will not touch: it stays as it is until a person has decided."""
    refused = [line.removeprefix("! ").partition(": ")[0] for line in status.drift if line[:2] == "! "]
    if refused:
        yield f"refused, until you decide: {', '.join(refused)}: inv check --host {name} says why, and what to do"


def _run(status: Status, name: str) -> Iterator[str]:
    if status.under_way:
        yield f"a run is under way ({status.under_way}): wait for its end, then inv status --host {name}"


def _unread(status: Status, name: str) -> Iterator[str]:
    for part in status.unread:
        yield f"not read in time: {part}. Again in a minute: inv status --host {name}"


def _deploy(status: Status, name: str) -> str:
    """The deploy command to type; while a run holds the lock, only after that has ended."""
    return f"{'once that run has ended: ' if status.under_way else ''}inv deploy --host {name}"


def _docker(status: Status, name: str) -> Iterator[str]:
    if not status.docker or (status.docker == "is not installed" and status.under_way):
        return
    unmask = "sudo systemctl unmask docker.service, and then " if "masked" in status.docker else ""
    look = "" if status.docker == "is not installed" else f"on the host: {unmask}sudo journalctl -u docker -n 50; then "
    yield f"Docker {status.docker}: nothing is published or started without it: {look}{_deploy(status, name)}"


def _drives(status: Status, name: str) -> Iterator[str]:
    away = [drive for drive in status.drives if drive.away]
    if len(away) > 1:
        labels = " and ".join(drive.label for drive in away)
        yield (
            f"{labels} are away: do not restart or replace anything now. Stop what writes, copy out what has no other copy, "
            "reseat the drives one after the other: docs/runbook.md, Two drives are dead"
        )
    elif away:
        (drive,) = away
        yield (
            f"{drive.label} {'is ' if drive.problem == NOT_MOUNTED else ''}{drive.problem}: reseat it, then "
            f"{_deploy(status, name)}; or put a blank one in its place: inv drives.replace {drive.label} --host {name}"
        )
    for drive in status.drives:
        if drive.problem and not drive.away and drive.problem != NOT_READ and not status.docker:
            yield f"{drive.label}: {drive.problem}: inv logs --service {_node_of(status, drive.label)} --host {name}"
        if drive.size and drive.used / drive.size > NEARLY_FULL:
            full = f"{drive.label} is {drive.used / drive.size:.0%} full"
            yield f"{full}: delete objects, or let lifecycle rules expire them: docs/runbook.md, A disk is full"


def _node_of(status: Status, label: str) -> str:
    return next((node.name for node in status.nodes if node.drive == label), label)


def _containers(status: Status, name: str) -> Iterator[str]:
    """Containers that do not run; a node whose drive is away must not."""
    away = {drive.label for drive in status.drives if drive.away}
    for container in [*status.nodes, *status.services]:
        if container.well or container.drive in away:
            continue
        without = "; nothing of edge.routes is reached without it" if container.name in EDGES else ""
        mend = "" if container.state.startswith("running") else f", then {_deploy(status, name)}"
        yield f"{container.name} is {container}{without}: inv logs --service {container.name} --host {name}{mend}"


def _cluster(status: Status, name: str, explained: bool) -> Iterator[str]:
    """What is wrong with the cluster as a whole, unless something above explains it."""
    if "forwarding is forbidden" in status.quorum:
        yield "on the host, in sshd_config: AllowTcpForwarding yes, then: systemctl reload ssh"
        return
    explained = explained or any(not node.well for node in status.nodes)
    if any(word in status.quorum for word in ("LOST", "READ ONLY", "does not tell")) and not explained:
        yield f"the cluster: {status.quorum}: inv logs --host {name}"
        explained = True
    if explained or any(not service.well for service in status.services):
        return
    for url, code in status.endpoints.items():
        if code[:1] not in "23":
            edge = next((service.name for service in status.services if service.name in EDGES), "nginx")
            yield f"{url} answers {code}: inv logs --service {edge} --host {name}"

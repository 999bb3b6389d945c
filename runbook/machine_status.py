"""What `inv status` reports about the machine: its drives, Docker, the containers, the endpoints, and who works on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING

from converge.engine.audit import AUDIT
from converge.record import dataclass
from converge.shell import quote, sh
from converge.ssh.root_shell import LOCK, describe
from roles.backup import status as backup_status
from roles.edge import served
from roles.edge.routes import API, CONSOLE, leading_to, url
from roles.postgres import status as database_status

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.services.settings import Service
    from roles.settings import model
    from roles.settings.model import Settings
    from runbook.status import Status

LONGEST = 400
"""Letters that are shown of a file; a public key of RSA has about as many."""
NOT_MOUNTED, NO_ANSWER, NOT_READ = "not mounted", "does not answer", "not read"


@dataclass
class Drive:
    label: str
    path: str
    mounted: str = ""
    size: int = 0
    used: int = 0
    healing: str = ""
    problem: str = ""

    @property
    def away(self) -> bool:
        """Whether the machine itself has lost it; the cluster may know of others."""
        return self.problem in (NOT_MOUNTED, NO_ANSWER)


@dataclass
class Container:
    """A container that the settings name; `drive` is that of a MinIO node."""

    name: str
    state: str = "absent"
    drive: str = ""
    silence: str = ""
    """What is wrong with the answer of a container that runs."""
    loss: str = ""
    """What its failure costs, in the words of its page."""
    useless: str = ""
    """Why it runs to no purpose, with the settings of which one is missing."""
    shows: dict[str, str] = field(default_factory=dict)
    """What its page wants to be shown of its data; empty where the file is not there."""

    @property
    def well(self) -> bool:
        return self.state.startswith("running") and "(unhealthy)" not in self.state and not self.silence

    def __str__(self) -> str:
        state = f"{self.state}; it {self.silence}" if self.silence else self.state
        return f"{state}. {self.loss}" if self.loss and not self.well else state


def facts(host: Host[Settings]) -> str:
    """One script. Its parts are asked at the same moment and answer in this order: a slow one delays no other."""
    parts = (
        _space(host),
        _DOCKER,
        # The file also has lines of restores, which are no deploys.
        f'tail -n 20 {AUDIT} 2>/dev/null | grep -v \'"event": "restore"\' | tail -n 1',
        f"[ ! -e {LOCK} ] || flock -n -s {LOCK} true || cat {LOCK}",
        _endpoints(host),
        database_status.facts(host),
        backup_status.facts(host),
        served.look(host.settings),
        _shown(host),
    )
    script, *others = (f"( {part}\n) </dev/null; printf '\\n--\\n'" for part in parts)
    for part in others:
        # The output of a later part waits in the pipe until all before it is printed.
        script = f"{{ {part}\n}} | {{ {script}\ncat; }}"
    return script


def _space(host: Host[Settings]) -> str:
    """A line for each drive: path, size, used, source; or path and what is wrong."""
    asks = [
        f"""( timeout 3 mountpoint -q {path}; case $? in
0) timeout 3 df -B1 --output=target,size,used,source -- {path} 2>/dev/null | tail -n 1 | grep . || printf '%s|{NO_ANSWER}\\n' {path};;
124) printf '%s|{NO_ANSWER}\\n' {path};;
*) printf '%s|{NOT_MOUNTED}\\n' {path};; esac ) &"""
        for path in (quote(drive.path) for drive in _drives(host))
    ]
    return "\n".join([*asks, "wait"])


def _shown(host: Host[Settings]) -> str:
    """A line for each file that a page wants to be shown: the service, the place of the file on the page, and its first line.

    Its folder is the container's, which may have put a link there: what that leads to is not shown.
    """
    asks = []
    for name, service in host.settings.services.items():
        for number, path in enumerate(service.shows.values() if service.enabled else ()):
            folder, file = service.on_host(path) or ("", "")
            asks.append(
                f"printf '%s|%s|%s\\n' {name} {number} \"$(timeout 3 {sh('sh -c {} - {} {}', _FIRST_LINE, folder, file)})\" &"
            )
    return "\n".join([*asks, "wait"])


_FIRST_LINE = f"""cd "$1" && [ -f "$2" ] && [ "$(realpath -e -- "$2")" = "$(pwd -P)/$2" ] &&
head -c {LONGEST} -- "$2" | head -n 1 | LC_ALL=C tr -cd '[:print:]' """


# `docker ps` would start a stopped Docker where systemd listens on its socket, so its unit is read first.
_DOCKER = """
command -v docker >/dev/null || { echo 'unit|ActiveState=absent'; exit; }
unit=$(timeout 5 systemctl show -p ActiveState -p UnitFileState docker.service | sed 's/^/unit|/'); printf '%s\\n' "$unit"
case $unit in *ActiveState=active*) ;; *) exit;; esac
timeout 5 docker ps -a --format '{{.Names}}|{{.State}}|{{.Status}}' || echo 'unit|ActiveState=silent'
"""


def _endpoints(host: Host[Settings]) -> str:
    """Shell that requests each URL that leads to MinIO, at the address where the edge listens and by the names of its rows."""
    listen = host.settings.edge.listen if host.settings.edge else ""
    address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listen, f"[{listen}]" if ":" in listen else listen)
    ask = f"curl -q -s -k -o /dev/null --noproxy '*' --connect-to {quote(f'::{address}:')} -m 3 -w '%{{http_code}} %{{url}}\\n'"
    return "\n".join([*(f"{ask} {quote(endpoint)} &" for endpoint in _urls(host, address)), "wait"])


def _urls(host: Host[Settings], address: str) -> Iterator[str]:
    for to, path in ((API, "/minio/health/cluster"), (CONSOLE, "/")):
        for row in leading_to(host.settings, to):
            if host.settings.edge and not row.auth:
                yield url(host.settings.edge, row, address, path)


def read(status: Status, host: Host[Settings], answer: str) -> None:
    """Put the host's answer into its status."""
    parts = (part.strip().splitlines() for part in (answer + "\n").split("\n--\n"))
    space, docker, audit, lock, urls, databases, backups, certificates, shown, *_ = [*parts, *([""] for _ in range(9))]
    status.drives = [_drive(drive, space) for drive in _drives(host)]
    rows = [line.split("|", 1) for line in docker if "|" in line]
    status.docker = _docker([rest for name, rest in rows if name == "unit"])
    states = {name: state.replace("|", ", ") for name, state in rows if name != "unit"}
    missing = "unknown" if status.docker else "absent"
    for node in host.settings.minio.nodes if host.settings.minio and has_cluster(host) else []:
        status.nodes.append(Container(node.name, states.get(node.name, missing), node.drive))
    if host.settings.edge and "edge" in host.settings.roles:
        edge = host.settings.edge.kind
        status.services.append(Container(edge, states.get(edge, missing)))
    first_lines = {tuple(row.split("|", 2)[:2]): row.split("|", 2)[2] for row in shown if row.count("|") > 1}
    for name, settings in host.settings.services.items():
        if settings.enabled:
            shows = {what: first_lines.get((name, str(number)), "") for number, what in enumerate(settings.shows)}
            state, useless = states.get(name, missing), _useless(name, settings)
            status.services.append(Container(name, state, loss=settings.loss, useless=useless, shows=shows))
    status.postgres = database_status.read(host, states.get("postgres", missing), databases)
    status.backup = backup_status.read(host, backups)
    if not status.docker and certificates != [""]:
        status.certificates = [
            f"{trouble}: {certificate.way_out(host.name)}"
            for certificate in served.read(host.settings, certificates)
            if (trouble := certificate.trouble())
        ]
    status.endpoints = dict(
        sorted({line.split(" ", 1)[1]: line.split(" ", 1)[0] for line in urls if " " in line}.items())
    )
    status.under_way = describe(lock[0]) if any(lock) else ""
    status.last_deploy = _last(audit[0]) if any(audit) else "never"


def _useless(name: str, settings: Service) -> str:
    without = settings.useless
    return f"{without.loss}: set {' or '.join(f'services.{name}.{key}' for key in without.one_of)}" if without else ""


def has_cluster(host: Host[Settings]) -> bool:
    """Whether a host is to run MinIO; settings of MinIO alone do not mean that."""
    return bool(host.settings.minio) and "minio" in host.settings.roles


def _drives(host: Host[Settings]) -> list[model.Drive]:
    return list(host.settings.drives) if "drives" in host.settings.roles else []


def _drive(drive: model.Drive, space: list[str]) -> Drive:
    for line in space:
        path, bar, problem = line.partition("|")
        if bar and path == drive.path:
            return Drive(drive.label, drive.path, problem=problem)
        if not bar and line.split()[0] == drive.path and len(line.split()) == 4:
            _, size, used, source = line.split()
            return Drive(drive.label, drive.path, source, int(size), int(used))
    return Drive(drive.label, drive.path, problem=NOT_READ)


def unread_drives(host: Host[Settings]) -> list[Drive]:
    """The drives of a host that could not be read, marked so that nobody takes them for healthy."""
    return [Drive(drive.label, drive.path, problem=NOT_READ) for drive in _drives(host)]


def _docker(unit: list[str]) -> str:
    """What is wrong with Docker, in words; nothing where it runs."""
    properties = dict(line.split("=", 1) for line in unit if "=" in line)
    active = properties.get("ActiveState", "silent")
    if properties.get("UnitFileState") == "masked" and active != "active":
        return "does not run: its unit is masked"
    faults = {"active": "", "absent": "is not installed", "silent": "does not answer"}
    return faults.get(active, f"does not run: its unit is {active}")


def _last(line: str) -> str:
    try:
        event = json.loads(line)
        changes, result = len(event["changes"]), event.get("result", "under way, or cut off")
        return (
            f"{event['at']} by {event['who']}@{event['from']}, {changes} change{'' if changes == 1 else 's'}, {result}"
        )
    except (ValueError, KeyError):
        return "its record cannot be read"

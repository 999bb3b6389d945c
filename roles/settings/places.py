"""Folders and ports of the host: nothing of ours lies in what belongs to another, and no two want one port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from roles.edge.routes import ACME, dashboard, dashboard_port
from roles.settings.faults import Faults, Path

if TYPE_CHECKING:
    from roles.settings.model import Settings


STAGING = "/var/lib/stowage/staging"
DOCKERS = "/var/lib/docker"
_FREE = {"edge": 9000, "postgres": 5432, "services": 8080}
"""A port to propose, by section."""


def folders(settings: Settings) -> Faults:
    """Folders that are the same, or lie in one another, where that destroys or hides something."""
    drives: list[tuple[Path, str]] = [(("drives", at, "path"), drive.path) for at, drive in enumerate(settings.drives)]
    data = [(f"{drive.path}/{drive.label}", drive.label) for drive in settings.drives]
    docker = str(settings.docker.daemon.get("data-root") or DOCKERS)
    ours = list(_ours(settings))
    for path, folder in drives:
        if _meet(folder, docker):
            yield path, f"Docker keeps its own data in {docker}"
        if _within(folder, "/var/lib/stowage"):
            yield path, "Stowage keeps its records in /var/lib/stowage, which must be there without any drive"
    for at, (path, folder) in enumerate(ours):
        if _meet(folder, docker):
            yield path, f"Docker keeps its own data in {docker}"
        if _within(folder, "/var/lib/stowage") and not _within(folder, STAGING):
            yield path, f"Stowage keeps its records in /var/lib/stowage; beneath it only {STAGING} is free"
        for _, drive in drives:
            if _within(drive, folder):
                yield path, f"the drive {drive} lies in it"
        for inside, label in data:
            if _meet(folder, inside):
                yield path, f"MinIO keeps the objects of {label} in {inside}"
        for other, beside in ours[:at]:
            if _meet(folder, beside) and not (folder == beside and _shared(settings, path, other)):
                yield path, f"{'it is' if folder == beside else 'it meets'} the folder of {_dotted(other)}, {beside}"


def _shared(settings: Settings, first: Path, other: Path) -> bool:
    """Whether two services have a folder together on purpose: one waits for the other, which makes what lies there."""
    names = [str(path[1]) for path in (first, other) if path[0] == "services"]
    return len(set(names)) == 2 and any(
        needed in settings.services[name].needs for name, needed in (names, reversed(names))
    )


def _ours(settings: Settings) -> Iterator[tuple[Path, str]]:
    """The folders that the inventory names for something to be written to."""
    if settings.minio and settings.minio.queue:
        yield ("minio", "queue"), settings.minio.queue
    if settings.postgres:
        yield ("postgres", "data"), settings.postgres.data
    for name, service in settings.services.items():
        for inside, folder in service.data.items():
            yield ("services", name, "data", inside), folder
    if settings.backup:
        yield ("backup", "staging"), settings.backup.staging
        if settings.backup.textfile:
            yield ("backup", "textfile"), settings.backup.textfile
        for at, target in enumerate(settings.backup.targets):
            if target.kind == "path":
                yield ("backup", "targets", at, "path"), target.path


def _within(folder: str, other: str) -> bool:
    return folder == other or folder.startswith(f"{other}/")


def _meet(path: str, other: str) -> bool:
    return _within(path, other) or _within(other, path)


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def ports(settings: Settings, ssh_port: int) -> Faults:
    """Ports of the host that SSH uses: a service there would not start, or would lock everybody out."""
    wanted: list[tuple[Path, int]] = []
    if settings.edge:
        wanted += [
            (("edge", "routes", at, "port"), row.port) for at, row in enumerate(settings.edge.routes) if not row.inside
        ]
        if settings.edge.tls == ACME and all(row.port != 80 for row in settings.edge.routes):
            wanted.append((("edge", "tls"), 80))
        if dashboard(settings.edge):
            wanted.append((("edge", "traefik", "dashboard"), dashboard_port(settings.edge)))
    if settings.postgres and settings.postgres.listen:
        wanted.append((("postgres", "port"), settings.postgres.port))
    for name, service in settings.services.items():
        wanted += [
            (("services", name, "ports", at, "port"), row.port) for at, row in enumerate(service.ports) if not row.udp
        ]
    yield from _of_udp(settings)
    taken: dict[int, Path] = {}
    for path, port in wanted:
        if port in (22, ssh_port):
            which = "" if port == 22 else " (ansible_port)"
            yield path, f"the host's SSH server listens there{which}: take another, such as {_FREE[str(path[0])]}"
        elif port in taken and (path[0], taken[port][0]) != ("edge", "edge"):
            yield path, f"{_dotted(taken[port])} has this port of the host already"
        taken.setdefault(port, path)


def _of_udp(settings: Settings) -> Faults:
    """Ports of UDP are others than those of TCP with the same numbers; only services have some."""
    taken: dict[int, Path] = {}
    for name, service in settings.services.items():
        for at, row in enumerate(service.ports):
            path: Path = ("services", name, "ports", at, "port")
            if row.udp and row.port in taken:
                yield path, f"{_dotted(taken[row.port])} has this port of UDP already"
            if row.udp:
                taken.setdefault(row.port, path)

"""Whether the services of a host agree with its other settings: names, images, ports, secrets that can be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roles.settings.faults import Faults, Path
from roles.settings.field_checks import known
from roles.settings.fields import UNREAD

if TYPE_CHECKING:
    from roles.services.settings import Service
    from roles.settings.model import Settings


NEEDED = (
    *("", "/bin", "/boot", "/etc", "/home", "/lib", "/lib64", "/opt", "/root", "/run", "/sbin", "/srv", "/tmp", "/usr"),
    *(
        "/usr/bin",
        "/usr/lib",
        "/usr/local",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/share",
        "/var",
        "/var/lib",
        "/var/log",
    ),
)
"""Folders that an image needs as they are."""


def inconsistencies(settings: Settings) -> Faults:
    """Every place where a service contradicts another setting, with the reason."""
    nodes = [node.name for node in settings.minio.nodes] if settings.minio else []
    for name, service in settings.services.items():
        at: Path = ("services", name)
        if why := _taken(name, settings, nodes):
            yield at, f"{name} is {why}: give it another name"
        if service.image not in settings.images:
            yield (*at, "image"), f"images has no {known(service.image, settings.images)}"
        for number, need in enumerate(service.needs):
            if need == name:
                yield (*at, "needs", number), "it cannot wait for itself"
            elif need not in settings.services and need not in settings.roles:
                names = [*settings.roles, *(other for other in settings.services if other != name)]
                yield (*at, "needs", number), f"there is no role or service {known(need, names)}"
            elif need in settings.services and service.enabled and not settings.services[need].enabled:
                yield (*at, "needs", number), f"{need} is not enabled"
        yield from _paths(at, service)
        yield from _user(at, service)
        yield from _variables(at, service)
        yield from _once(at, service)
        yield from _backup(at, service, settings)
        yield from _shows(at, service)
    yield from _circles(settings.services)


def _taken(name: str, settings: Settings, nodes: list[str]) -> str:
    from roles import MODULES

    if name in MODULES:
        return "a role"
    if name in ("nginx", "traefik"):
        return "the container of the edge"
    if name == "https":
        return "what routes of the edge to a port with TLS are named"
    if name in nodes:
        return "a node of minio"
    if name.startswith("stowage-"):
        return "like the containers that Stowage makes for a moment, to check a file, and removes by name"
    return "localhost, which is each container itself" if name == "localhost" else ""


def _paths(at: Path, service: Service) -> Faults:
    """No folder of the container is two things, and none hides another."""
    folders: dict[str, Path] = {
        path if file.source.endswith("/") else path.rpartition("/")[0]: ("files", path)
        for path, file in service.files.items()
    }
    for path, place in folders.items():
        if path in NEEDED:
            why = f"{path or '/'} would be bound whole, and what the image has there hidden: take a folder of its own"
            yield (*at, *place), why
    taken: dict[str, Path] = dict(folders)
    for path in service.data:
        if path in NEEDED and path != "/root":
            yield (*at, "data", path), "the programs of the image lie there: take a folder of its own"
        if path in taken:
            yield (*at, "data", path), "files of the inventory lie there"
        taken.setdefault(path, ("data", path))
    for path in service.reads:
        if path in NEEDED or path in taken:
            why = (
                f"{'.'.join(map(str, taken[path]))} lies there"
                if path in taken
                else "the programs of the image lie there"
            )
            yield (*at, "reads", path), f"{why}: take a folder of its own"
        taken.setdefault(path, ("reads", path))
    for number, path in enumerate(service.temporary):
        if path in taken:
            yield (*at, "temporary", number), f"{'.'.join(map(str, taken[path]))} lies there"
    for path, place in taken.items():
        for deeper, beside in taken.items():
            if place[0] == beside[0] == "files" and deeper.startswith(f"{path}/"):
                yield (*at, *beside), f"it lies in {path}, which is bound read-only: put its file there"


def _user(at: Path, service: Service) -> Faults:
    """Its user is named once, and `nobody` owns no files."""
    if service.nobody and service.root:
        yield (*at, "nobody"), "root: true says otherwise"
    if service.nobody and (service.data or service.secrets):
        yield (*at, "nobody"), f"nobody owns no {'data' if service.data else 'secrets'}: leave it out"


def _variables(at: Path, service: Service) -> Faults:
    """Each variable has one value, and Docker can read those that are written to a file."""
    sections = ("environment", "secrets", "secret_environment")
    for number, section in enumerate(sections):
        for name in getattr(service, section):
            if other := next((before for before in sections[:number] if name in getattr(service, before)), ""):
                yield (*at, section, name), f"{other} has it already"
    for name, secret in service.secret_environment.items():
        if secret is not UNREAD and any(letter in "'\\" or not letter.isprintable() for letter in secret.reveal()):
            yield (
                (*at, "secret_environment", name),
                "a variable can hold no ', no backslash and no line break: use secrets",
            )


def _once(at: Path, service: Service) -> Faults:
    for section, commands in (("before", service.before), ("once", service.once)):
        names = [command.name for command in commands]
        for number, name in enumerate(names):
            if name in names[:number]:
                yield (*at, section, number, "name"), f"{name} stands twice; it must differ from the other"


def _backup(at: Path, service: Service, settings: Settings) -> Faults:
    """What `backup` names can be held: it is data of the service, and the host makes backups."""
    if service.backup is None:
        return
    if settings.backup is None or "backup" not in settings.roles:
        yield (*at, "backup"), "the host makes no backups: add the role backup and its settings"
    place = (*at, "backup", "folders")
    for number, folder in enumerate(service.backup.folders):
        if folder not in service.data:
            yield (*place, number), f"data has no {known(folder, service.data)}"
        if folder in service.backup.folders[:number]:
            yield (*place, number), f"{folder} stands twice"


def _shows(at: Path, service: Service) -> Faults:
    """Only its own data is shown: secrets lie elsewhere."""
    for what, path in service.shows.items():
        if not service.on_host(path):
            yield (
                (*at, "shows", what),
                f"it is in none of the folders of data: {', '.join(service.data) or 'there are none'}",
            )


def _circles(services: dict[str, Service]) -> Faults:
    """Circles of services that wait for each other: none of them would be started."""

    def waits_for(name: str, seen: tuple[str, ...]) -> tuple[str, ...]:
        for need in services[name].needs if name in services else ():
            if need == seen[0]:
                return (*seen, need)
            if need not in seen and (closed := waits_for(need, (*seen, need))):
                return closed
        return ()

    for name in services:
        if (circle := waits_for(name, (name,))) and len(circle) > 2:
            yield ("services", name, "needs"), f"they wait for each other: {' -> '.join(circle)}"

"""A role for each service of the inventory: from its page follow its files, its container, its unit and its checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from converge.engine.resource import Resource, in_order
from converge.engine.role import Role, Wanted
from converge.inventory.secret import Secret
from converge.resources.account import Group, User
from converge.resources.before import Before
from converge.resources.compose import FOLDER, Project
from converge.resources.file import Directory, File
from converge.resources.fresh import FreshContainer, reloaded
from converge.resources.mount import Mount
from converge.resources.no_folder import NoFolder
from converge.resources.permissions import Permissions
from converge.resources.serving import Once, Question, Serving
from converge.shell import quote
from roles.backup.recent import backed_up
from roles.images import image, image_identity, of_services
from roles.services import configuration
from roles.services.definition import definition
from roles.settings.networks import external, joined, joins
from roles.stack import at_boot

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.services.settings import Service
    from roles.settings.model import Drive, Settings


def role_of(host: Host[Settings], name: str) -> Role:
    """The role of one service of a host."""
    settings = host.settings.services[name]
    drives = ("drives",) if _drives(host, settings) else ()
    shared = () if settings.image in of_services(host.settings) else ("images",)
    needs = ("docker", *shared, *drives, *settings.needs)
    return Role(name, partial(resources, name=name), needs, gone=gone, alone=True)


def gone(host: Host[Settings], kind: str, name: str) -> Resource | None:
    """When a service is taken out, its folders of configuration are removed as well; its data stays."""
    return NoFolder(name) if kind == Directory.kind and name.startswith(f"{FOLDER}/") else None


def past_role(name: str) -> Role:
    """The role of a service that the settings no longer name: it wants nothing, so what it made is removed, with its folders of configuration."""
    return Role(name, lambda host: (), gone=gone)


def resources(host: Host[Settings], name: str) -> Wanted:
    """All that a service needs, in one chain."""
    settings, owner = host.settings.services[name], host.settings.data_user
    place, reference = f"{FOLDER}/{name}", image(host, settings.image).reference
    networks = joined(host.settings, settings.networks)
    user = "root" if settings.root else owner.name
    bound = configuration.folders(host, name, settings, f"{place}/files", reference)
    secrets = list(_secrets(settings, place, user))
    files = tuple(file.path for folder in bound for file in folder.files)
    folders = tuple(directory.path for folder in bound for directory in folder.directories)
    identity = " ".join(
        [image_identity(host, settings.image), *(secret.sha256[:12] for secret in secrets if isinstance(secret, File))]
    )
    container = definition(name, settings, owner.uid, reference, joins(networks), place, bound)
    yield in_order(
        Group(owner.name, owner.uid),
        User(owner.name, owner.uid),
        Directory(FOLDER),
        image(host, settings.image),
        *(Mount(drive.path, label=drive.label, options=drive.options) for drive in _drives(host, settings)),
        Directory(place),
        *secrets,
        *(directory for folder in bound for directory in (*folder.directories, *folder.files, folder.contents)),
        *(
            Directory(path, owner=user, group=user, mode="0700", holds_data=True)
            for path in dict.fromkeys(settings.data.values())
        ),
        *_before(host, name, container, external(networks)),
        Project(
            name,
            {name: container},
            external(networks),
            also_hashed={name: identity},
            # A file that somebody changed is put right, but a container that was started in between has read it.
            read_at_start=tuple(f"{place}/secrets/{variable}" for variable in settings.secrets),
            hidden={name: settings.secret_environment},
            warning="; ".join(filter(None, (_exposed(settings), settings.useless.loss if settings.useless else ""))),
        ),
        *([_loaded(name, settings, files, folders)] if files else []),
        *answers(name, settings),
        *(Once(name, command.name, tuple(command.command), tuple(command.unless)) for command in settings.once),
    )
    yield at_boot(host, name)
    yield Permissions(f"compose file of {name}", ((f"{place}/compose.yaml", "0644"),))


def _before(host: Host[Settings], name: str, container: dict[str, Any], networks: dict[str, Any]) -> Iterator[Before]:
    """What must have been done before it is started with another image."""
    settings = host.settings.services[name]
    content = hashlib.sha256(image_identity(host, settings.image).encode()).hexdigest()[:12]
    for command in settings.before:
        yield Before(
            name,
            command.name,
            f"{container['image']} {content}",
            container,
            networks,
            tuple(command.command),
            tuple(command.unless),
            guard=backed_up(host) if command.backup else "",
            asks_for="a backup of the last hour" if command.backup else "",
        )


def question(settings: Service) -> Question | None:
    """The question whether a service is well; None where its page has none."""
    answers = settings.answers
    return Question(answers.http or "", answers.tcp or 0, tuple(answers.command)) if answers else None


def answers(name: str, settings: Service) -> list[Serving]:
    asked = question(settings)
    return [Serving(name, asked, settings.answers.within)] if asked and settings.answers else []


def _drives(host: Host[Settings], settings: Service) -> list[Drive]:
    """The drives on which it keeps data: they come first, and nothing is written in their place."""
    return [
        drive
        for drive in host.settings.drives
        if any(path.startswith(f"{drive.path}/") for path in settings.data.values())
    ]


def _secrets(settings: Service, place: str, user: str) -> Iterator[Resource]:
    if settings.secrets:
        yield Directory(f"{place}/secrets", owner=user, group=user, mode="0500")
    for variable, secret in settings.secrets.items():
        yield File(f"{place}/secrets/{variable}", secret, owner=user, group=user, mode="0400")
    if settings.secret_environment:
        lines = [f"{variable}='{secret.reveal()}'\n" for variable, secret in settings.secret_environment.items()]
        yield File(f"{place}/secrets.env", Secret("".join(lines)), mode="0400")


def _loaded(name: str, settings: Service, files: tuple[str, ...], folders: tuple[str, ...]) -> FreshContainer:
    """How the container takes up files that were changed, added or removed: as its page says, otherwise by a restart."""
    reload = settings.reload
    if reload is None:
        waits = "".join(answer.waits() for answer in answers(name, settings))
        restart = f"docker restart -t {settings.grace} -- {quote(name)} >/dev/null"
        return FreshContainer(name, files, f"{restart}\n{waits}", f"restarts {name}", restarts=True, folders=folders)
    if reload.command:
        return replace(reloaded(name, files, *reload.command), folders=folders)
    if reload.signal:
        act = f"docker kill -s {reload.signal} -- {quote(name)} >/dev/null"
        return FreshContainer(name, files, act, f"sends {reload.signal} to {name}", folders=folders)
    post = f"curl -q -fsS -o /dev/null --noproxy '*' -m 10 -X POST {quote(f'http://127.0.0.1{reload.http}')}"
    act = f"nsenter -t $main -n {post}"
    return FreshContainer(name, files, act, f"posts to {reload.http} of {name}", folders=folders)


def _exposed(settings: Service) -> str:
    open_to_all = [port for port in settings.ports if not ip_address(port.listen).is_loopback]
    if not open_to_all:
        return ""
    ports = ", ".join(f"{port.listen}:{port.port}" for port in open_to_all)
    return f"{ports} without TLS: data is not hidden; and ports of Docker bypass ufw"

"""Whether settings agree with one another: names that must differ, names that must exist, addresses that must fit."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from converge.secret import Secret
from roles import database_agreement
from roles.fields import UNREAD

Path = tuple[str | int, ...]
Found = Iterator[tuple[Path, str] | tuple[Path, str, Path]]
"""Where a contradiction stands, why, and which setting is to blame rather when it stands in a file without a value."""

STABLE = ("/dev/disk/by-id/", "/dev/disk/by-path/")
VENDOR_DEFAULTS = {
    "minioadmin",
    "minio123",
    "minio",
    "password",
    "admin",
    "administrator",
    "changeme",
    "secret",
    "secret_key",
    "12345678",
    "root",
    "rootpass",
    "postgres",
    "mysecretpassword",
}
"""Passwords that stand in manuals and examples: refused outside the lab."""
DIFFERENT = (
    (("drives",), ("label", "path", "device")),
    (("minio", "nodes"), ("name", "drive", "address")),
    (("buckets",), ("name",)),
    (("users",), ("name",)),
    (("policies",), ("name",)),
    (("databases",), ("name",)),
    (("database_users",), ("name",)),
)


def disagreements(settings: Any) -> Found:
    """Every place where settings contradict each other, with the reason."""
    for check in (
        _twice,
        _network,
        _backup,
        _nested,
        _roles,
        _images,
        _nodes,
        _addresses,
        _nginx,
        _docker,
        _environment,
        _lengths,
        database_agreement.disagreements,
    ):
        yield from check(settings)
    if not settings.lab:
        yield from _drives_by_lasting_names(settings)
        yield from _vendor_defaults(settings)


def _backup(settings: Any) -> Found:
    backup = settings.backup
    if backup is None:
        return
    if backup.image not in settings.images:
        yield ("backup", "image"), f"images has no {_known(backup.image, settings.images)}"
    yield from _repeated([one.name for one in backup.targets], _at("backup", "targets", None, "name"))
    if all(one.kind == "stack" for one in backup.targets) and not backup.accept_single_copy:
        yield (
            ("backup", "targets"),
            "all copies are in the stack itself: name another target, or accept_single_copy: true",
        )
    for at, one in enumerate(backup.targets):
        if one.kind == "stack" and settings.minio is None:
            yield ("backup", "targets", at), "the stack has no minio"
        if one.kind == "stack" and one.bucket in [bucket.name for bucket in settings.buckets]:
            yield ("backup", "targets", at, "bucket"), "it stands under buckets; the backup role makes its own"
        if one.kind == "stack" and any(one.kind == "stack" for one in backup.targets[:at]):
            yield ("backup", "targets", at), "the stack has one target of its own already"
    if settings.postgres is None:
        yield ("backup",), "it saves databases, and the host has no postgres"


def _network(settings: Any) -> Found:
    names = {node.name for node in settings.minio.nodes} if settings.minio else set()
    if settings.network.name in names | {"nginx", "postgres"}:
        yield (
            ("network", "name"),
            f"{settings.network.name} is the name of a container, and Docker tells them apart by name",
        )


def _twice(settings: Any) -> Found:
    for path, keys in DIFFERENT:
        items = settings
        for step in path:
            items = getattr(items, step, None) or []
        for key in keys:
            yield from _repeated([getattr(one, key) for one in items], _at(*path, None, key))
    for at, bucket in enumerate(settings.buckets):
        yield from _repeated([one.id for one in bucket.lifecycle], _at("buckets", at, "lifecycle", None, "id"))
    accounts = [(user, key) for user, one in enumerate(settings.users) for key in range(len(one.service_accounts))]
    names = [settings.users[user].service_accounts[key].access_key for user, key in accounts]
    yield from _repeated(
        names, lambda at: ("users", accounts[at][0], "service_accounts", accounts[at][1], "access_key")
    )
    yield from _repeated(settings.roles, _at("roles", None))


def _at(*path: str | int | None) -> Callable[[int], Path]:
    """The path of the item with a number, which goes where None stands."""
    return lambda number: tuple(number if step is None else step for step in path)


def _repeated(values: Sequence[str], path: Callable[[int], Path]) -> Found:
    for at, value in enumerate(values):
        if value in values[:at]:
            yield path(at), f"{value} stands twice; it must differ from the other"


def _nested(settings: Any) -> Found:
    paths = [drive.path for drive in settings.drives]
    for at, path in enumerate(paths):
        for other in paths:
            if path.startswith(f"{other}/"):
                yield ("drives", at, "path"), f"it lies inside {other}, which is another drive"


def _roles(settings: Any) -> Found:
    for at, name in enumerate(settings.roles):
        if name in type(settings).model_fields and getattr(settings, name) is None:
            yield ("roles", at), f"the role {name} needs the section {name}", (name,)


def _images(settings: Any) -> Found:
    for section in ("minio", "nginx", "postgres"):
        part = getattr(settings, section)
        if part and part.image not in settings.images:
            yield (section, "image"), f"images has no {_known(part.image, settings.images)}"


def _known(name: str, names: Iterable[str]) -> str:
    names = list(names)
    near = difflib.get_close_matches(name, names, 1, 0.5)
    if near:
        return f"{name}; {near[0]} is near"
    return f"{name}; it has {', '.join(names) or 'nothing'}"


def _nodes(settings: Any) -> Found:
    labels = [drive.label for drive in settings.drives]
    for at, node in enumerate(settings.minio.nodes if settings.minio else []):
        if node.drive not in labels:
            yield ("minio", "nodes", at, "drive"), f"drives has no label {_known(node.drive, labels)}"


def _addresses(settings: Any) -> Found:
    subnet = ipaddress.IPv4Network(settings.network.subnet)
    nodes = settings.minio.nodes if settings.minio else []
    taken: list[tuple[Path, str]] = [(("minio", "nodes", at, "address"), node.address) for at, node in enumerate(nodes)]
    if settings.nginx:
        taken.append((("nginx", "address"), settings.nginx.address))
        if settings.nginx.address in [node.address for node in nodes]:
            yield ("nginx", "address"), "a node of minio has this address"
    if settings.postgres:
        others = [address for _, address in taken]
        taken.append((("postgres", "address"), settings.postgres.address))
        if settings.postgres.address in others:
            yield ("postgres", "address"), "nginx or a node of minio has this address"
    reserved: dict[Any, str] = {
        subnet.network_address: "the network itself",
        subnet.broadcast_address: "its broadcast",
        subnet.network_address + 1: "Docker's gateway",
    }
    for path, address in taken:
        ip = ipaddress.ip_address(address)
        if ip not in subnet:
            yield path, f"it is not in the network {subnet}"
        elif ip in reserved:
            yield path, f"in {subnet} this is {reserved[ip]}"


def _nginx(settings: Any) -> Found:
    if settings.nginx and settings.nginx.api_port == settings.nginx.console_port:
        yield ("nginx", "console_port"), "the API has this port already"


def _docker(settings: Any) -> Found:
    if settings.docker.source == "docker" and not settings.docker.repository_key:
        yield ("docker", "source"), "Docker's repository needs docker.repository_key, a file with its signing key"


def _environment(settings: Any) -> Found:
    for name in settings.minio.environment if settings.minio else ():
        if name in ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"):
            yield ("minio", "environment", name), "minio.root_user and minio.root_password say this, as references"


def _drives_by_lasting_names(settings: Any) -> Found:
    for at, drive in enumerate(settings.drives):
        if not drive.device.startswith(STABLE):
            yield ("drives", at, "device"), "after a reboot this may be another drive: use /dev/disk/by-id/..."


def _passwords(settings: Any) -> Iterator[tuple[Path, str, Secret]]:
    """Each password that has been read, with the name that it belongs to."""
    found: list[tuple[Path, str, Secret]] = []
    if settings.minio:
        found.append((("minio", "root_password"), settings.minio.root_user.reveal(), settings.minio.root_password))
    for at, user in enumerate(settings.users):
        found.append((("users", at, "password"), user.name, user.password))
        for number, account in enumerate(user.service_accounts):
            found.append(
                (("users", at, "service_accounts", number, "secret_key"), account.access_key, account.secret_key)
            )
    return (one for one in found if one[2] is not UNREAD)


def _vendor_defaults(settings: Any) -> Found:
    for path, name, password in (*_passwords(settings), *database_agreement.passwords(settings)):
        if password.reveal().lower() in VENDOR_DEFAULTS:
            yield path, "it is a vendor's default, which the whole world knows"
        elif password.reveal() == name:
            yield path, "it is the same as the name that it belongs to"


def _lengths(settings: Any) -> Found:
    for path, _, password in _passwords(settings):
        length = len(password.reveal())
        if path[-1] == "secret_key" and not 8 <= length <= 40:
            yield path, "MinIO takes 8 to 40 characters here"
        elif length < 8:
            yield path, "MinIO takes no fewer than 8 characters here"
    if settings.minio and settings.minio.root_user is not UNREAD and len(settings.minio.root_user.reveal()) < 3:
        yield ("minio", "root_user"), "MinIO takes no fewer than 3 characters here"

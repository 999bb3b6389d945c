"""Whether settings agree with one another: names that must differ, names that must exist."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from converge.inventory.secret import Secret
from roles.backup import consistency as backup_consistency
from roles.edge import consistency as edge_consistency
from roles.edge.routes import by_certbot
from roles.minio import account_consistency, environment, kms_key, tier_consistency
from roles.minio.settings import METRICS
from roles.postgres import consistency as database_consistency
from roles.services import consistency as service_consistency
from roles.settings import kernel, network_consistency, places
from roles.settings.faults import Faults, Path
from roles.settings.field_checks import known
from roles.settings.fields import UNREAD
from roles.sso import consistency as sso_consistency

if TYPE_CHECKING:
    from roles.settings.model import Settings

"""Where a contradiction stands, why, and which setting is to blame instead if it stands there without a value."""

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
    (("minio", "tiers"), ("name",)),
    (("buckets",), ("name",)),
    (("users",), ("name",)),
    (("policies",), ("name",)),
    (("databases",), ("name",)),
    (("database_users",), ("name",)),
)


def inconsistencies(settings: Settings, ssh_port: int = 22) -> Faults:
    """Every place where settings contradict each other, or what the host has besides, with the reason."""
    for check in (
        _twice,
        _nested,
        _roles,
        _images,
        _lab_images,
        _nodes,
        network_consistency.inconsistencies,
        _docker,
        _environment,
        _encryption,
        _lengths,
        account_consistency.inconsistencies,
        tier_consistency.inconsistencies,
        database_consistency.inconsistencies,
        backup_consistency.inconsistencies,
        service_consistency.inconsistencies,
        edge_consistency.inconsistencies,
        sso_consistency.inconsistencies,
        places.folders,
    ):
        yield from check(settings)
    yield from places.ports(settings, ssh_port)
    yield from kernel.faults(settings.base.sysctl)
    if not settings.lab:
        yield from _drives_by_lasting_names(settings)
        yield from _vendor_defaults(settings)


def _twice(settings: Settings) -> Faults:
    for path, keys in DIFFERENT:
        items: Any = settings
        for step in path:
            items = getattr(items, step, None) or []
        for key in keys:
            yield from _repeated([getattr(item, key) for item in items], _at(*path, None, key))
    for at, bucket in enumerate(settings.buckets):
        yield from _repeated([rule.id for rule in bucket.lifecycle], _at("buckets", at, "lifecycle", None, "id"))
    accounts = [(user, key) for user, owner in enumerate(settings.users) for key in range(len(owner.service_accounts))]
    names = [settings.users[user].service_accounts[key].access_key for user, key in accounts]
    yield from _repeated(
        names, lambda at: ("users", accounts[at][0], "service_accounts", accounts[at][1], "access_key")
    )
    yield from _repeated(settings.roles, _at("roles", None))


def _at(*path: str | int | None) -> Callable[[int], Path]:
    """The path with the number of an item in place of None."""
    return lambda number: tuple(number if step is None else step for step in path)


def _repeated(values: Sequence[str], path: Callable[[int], Path]) -> Faults:
    for at, value in enumerate(values):
        if value in values[:at]:
            yield path(at), f"{value} stands twice; it must differ from the other"


def _nested(settings: Settings) -> Faults:
    paths = [drive.path for drive in settings.drives]
    for at, path in enumerate(paths):
        for other in paths:
            if path.startswith(f"{other}/"):
                yield ("drives", at, "path"), f"it lies inside {other}, which is another drive"


def _roles(settings: Settings) -> Faults:
    for at, name in enumerate(settings.roles):
        if name in type(settings).model_fields and getattr(settings, name) is None:
            yield ("roles", at), f"the role {name} needs the section {name}", (name,)


def _images(settings: Settings) -> Faults:
    taken: dict[str, str] = {}
    for section in ("minio", "edge", "postgres", "backup"):
        part = getattr(settings, section)
        if part and part.image not in settings.images and section != "backup":
            yield (section, "image"), f"images has no {known(part.image, settings.images)}"
        elif part and part.image in taken:
            yield (section, "image"), f"{taken[part.image]} has this image: no image is both"
        elif part:
            taken[part.image] = section
    edge = settings.edge
    if edge and edge.acme and by_certbot(edge) and edge.acme.image not in settings.images:
        yield ("edge", "acme", "image"), f"images has no {known(edge.acme.image, settings.images)}"


def _lab_images(settings: Settings) -> Faults:
    built: dict[str, Any] = {}
    for name, image in settings.images.items():
        if image.lab and built.setdefault(image.reference, image.lab) != image.lab:
            yield ("images", name, "lab"), f"another row builds {image.reference} from something else"


def _nodes(settings: Settings) -> Faults:
    labels = [drive.label for drive in settings.drives]
    for at, node in enumerate(settings.minio.nodes if settings.minio else []):
        if node.drive not in labels:
            yield ("minio", "nodes", at, "drive"), f"drives has no label {known(node.drive, labels)}"


def _docker(settings: Settings) -> Faults:
    if settings.docker.source == "docker" and not settings.docker.repository_key:
        yield ("docker", "source"), "Docker's repository needs docker.repository_key, a file with its signing key"
    for key, value in settings.docker.daemon.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", key):
            yield ("docker", "daemon", key), "keys of daemon.json have a-z, 0-9 and -, such as live-restore"
        elif "Infinity" in (text := json.dumps(value)) or "NaN" in text:
            yield ("docker", "daemon", key), "JSON has no such number"


def _environment(settings: Settings) -> Faults:
    if minio := settings.minio:
        for name, why in environment.faults(minio.environment, minio.queue):
            yield ("minio", "environment", name), why


def _encryption(settings: Settings) -> Faults:
    key = settings.minio.kms_key if settings.minio else None
    if key is not None and key is not UNREAD and (why := kms_key.fault(key.reveal())):
        yield ("minio", "kms_key"), why
    for at, bucket in enumerate(settings.buckets):
        if bucket.encryption and key is None:
            yield ("buckets", at, "encryption"), "MinIO encrypts with minio.kms_key, and there is none"


def _drives_by_lasting_names(settings: Settings) -> Faults:
    for at, drive in enumerate(settings.drives):
        if not drive.device.startswith(STABLE):
            yield ("drives", at, "device"), "after a reboot this may be another drive: use /dev/disk/by-id/..."


def _passwords(settings: Settings) -> Iterator[tuple[Path, str, Secret]]:
    """Each password that was read, with its path and the name of its user."""
    with_names: list[tuple[Path, str, Secret]] = []
    if settings.minio:
        with_names.append((("minio", "root_password"), settings.minio.root_user.reveal(), settings.minio.root_password))
        if settings.minio.metrics.secret:
            with_names.append((("minio", "metrics", "secret"), METRICS, settings.minio.metrics.secret))
    for at, user in enumerate(settings.users):
        with_names.append((("users", at, "password"), user.name, user.password))
        for number, account in enumerate(user.service_accounts):
            with_names.append(
                (("users", at, "service_accounts", number, "secret_key"), account.access_key, account.secret_key)
            )
    return (entry for entry in with_names if entry[2] is not UNREAD)


def _vendor_defaults(settings: Settings) -> Faults:
    for path, name, password in (
        *_passwords(settings),
        *database_consistency.passwords(settings),
        *edge_consistency.passwords(settings),
        *sso_consistency.passwords(settings),
    ):
        if password.reveal().lower() in VENDOR_DEFAULTS:
            yield path, "it is a vendor's default, which the whole world knows"
        elif password.reveal() == name:
            yield path, "it is the same as the name that it belongs to"


def _lengths(settings: Settings) -> Faults:
    for path, _, password in _passwords(settings):
        length = len(password.reveal())
        if path[-1] == "secret_key" and not 8 <= length <= 40:
            yield path, "MinIO takes 8 to 40 characters here"
        elif length < 8:
            yield path, "MinIO takes no fewer than 8 characters here"
    if settings.minio and settings.minio.root_user is not UNREAD and len(settings.minio.root_user.reveal()) < 3:
        yield ("minio", "root_user"), "MinIO takes no fewer than 3 characters here"

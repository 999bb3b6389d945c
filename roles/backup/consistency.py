"""Checks of the settings of backups: targets differ, and a copy survives the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roles.settings.faults import Faults
from roles.settings.field_checks import known
from roles.settings.fields import size_in_bytes

if TYPE_CHECKING:
    from roles.backup.settings import Backup, Target
    from roles.settings.model import Settings


AT_LEAST, AN_UPLOAD = 128, 192
"""MiB that the worker needs: for itself and the part being collected, and for each part being sent, in clear and encrypted. See
bench/RESULTS.md, "A bucket of a million names"."""


def inconsistencies(settings: Settings) -> Faults:
    """Every place where the settings of backups contradict each other, with the reason."""
    backup = settings.backup
    if backup is None:
        return
    if backup.image not in settings.images:
        yield ("backup", "image"), f"images has no {known(backup.image, settings.images)}"
    yield from _differ(backup.targets)
    yield from _keys(backup.targets)
    yield from _dependents(settings, backup)
    yield from _buckets(settings, backup)
    needed = AT_LEAST + backup.uploads * AN_UPLOAD
    if size_in_bytes(backup.memory) < needed << 20:
        yield ("backup", "memory"), f"with {backup.uploads} uploads of 64 MiB it needs {needed}MiB"
    if all(target.kind == "stack" for target in backup.targets) and not backup.accept_single_copy:
        yield (
            ("backup", "targets"),
            "all copies are in the stack itself: name another target, or accept_single_copy: true",
        )
    for at, target in enumerate(backup.targets):
        if target.kind == "stack" and settings.minio is None:
            yield ("backup", "targets", at), "the stack has no minio"
        if target.kind == "stack" and target.bucket in [bucket.name for bucket in settings.buckets]:
            yield ("backup", "targets", at, "bucket"), "it stands under buckets; the backup role makes its own"
        if target.kind == "stack" and any(earlier.kind == "stack" for earlier in backup.targets[:at]):
            yield ("backup", "targets", at), "the stack has one target of its own already"


def _buckets(settings: Settings, backup: Backup) -> Faults:
    """Settings of buckets without effect."""
    wanted, own = backup.buckets, [target.bucket for target in backup.targets if target.kind == "stack"]
    for at, name in enumerate(wanted.names):
        if name in own:
            yield ("backup", "buckets", "names", at), "it holds the sets themselves, and no set has it"
    for name in wanted.prefixes:
        if name in own:
            yield ("backup", "buckets", "prefixes", name), "it holds the sets themselves, and no set has it"
        elif wanted.names and name not in wanted.names:
            yield ("backup", "buckets", "prefixes", name), f"names has no {known(name, wanted.names)}"
    if settings.minio is None and (wanted.names or wanted.prefixes or wanted.versions):
        yield ("backup", "buckets"), "the stack has no minio"


def _differ(targets: Sequence[Target]) -> Faults:
    """Targets must differ: two names for one place are one copy, not two."""
    names = [target.name for target in targets]
    places = [_place(target) for target in targets]
    for at, target in enumerate(targets):
        if target.name in names[:at]:
            yield ("backup", "targets", at, "name"), f"{target.name} stands twice; it must differ from the other"
        elif places[at] in places[:at]:
            other = names[places.index(places[at])]
            yield ("backup", "targets", at), f"it is the same place as {other}: a second copy there is none"


def _place(target: Target) -> tuple[str, ...]:
    keys = {"s3": ("endpoint", "bucket", "prefix"), "sftp": ("host", "port", "path"), "path": ("path",)}
    return (target.kind, *(str(getattr(target, key)) for key in keys.get(target.kind, ("name",))))


def _keys(targets: Sequence[Target]) -> Faults:
    for at, target in enumerate(targets):
        if target.kind == "s3" and (target.pruner_access_key is None) != (target.pruner_secret_key is None):
            given = "pruner_access_key" if target.pruner_secret_key is None else "pruner_secret_key"
            yield ("backup", "targets", at, given), "pruner_access_key and pruner_secret_key belong together"


def _dependents(settings: Settings, backup: Backup) -> Faults:
    nodes = [node.name for node in settings.minio.nodes] if settings.minio else []
    for at, name in enumerate(backup.dependents):
        if name == "postgres":
            yield ("backup", "dependents", at), "a restore needs PostgreSQL: name what uses the databases"
        elif name in ("nginx", "traefik", *nodes):
            yield ("backup", "dependents", at), "it uses no database, and stopping it would take the storage away"

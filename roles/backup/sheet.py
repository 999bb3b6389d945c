"""The recovery sheet: how to recover a dead host, and the data that no set holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from roles.backup.configuration import has_buckets, settings_of, stack_of
from roles.edge import authority
from roles.minio.kms_key import fingerprint
from worker.contract import STATE

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

LAID_BESIDE = f"{STATE}/configuration"
"""Where a restore lays the configuration of a set."""


def not_in_sets(settings: Settings) -> str:
    """The data of a host that no set holds, in words; empty if there is none."""
    saved = settings.backup.buckets if settings.backup and has_buckets(settings) else None
    names = [bucket.name for bucket in settings.buckets] if "buckets" in settings.roles else []
    buckets = [bucket for bucket in names if not saved or (saved.names and bucket not in saved.names)]
    missing = [f"the objects of {', '.join(buckets)}"] if buckets else []
    missing += (
        [f"of {name} the objects beside {', '.join(prefixes)}" for name, prefixes in saved.prefixes.items()]
        if saved
        else []
    )
    services = settings.services.values()
    # Of two services with one folder, the page of one is enough.
    held = {service.data[inside] for service in services if service.backup for inside in service.backup.folders}
    folders = {
        folder: name
        for name, service in settings.services.items()
        for folder in service.data.values()
        if folder not in held
    }
    missing += [f"the data of {name} ({folder})" for folder, name in folders.items()]
    return ", ".join(missing)


def recovery_sheet(host: Host[Settings]) -> None:
    """Print what to do when the host is dead: keep it together with the keys."""
    settings = settings_of(host)
    print(f"Recovery of the stack {stack_of(host)} ({host.name}), written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n")
    print("You need, from outside of the dead machine:")
    print(f"  1. this checkout and its secrets: inventory/secrets/{host.name}/ (or where the references lead)")
    print("  2. the age identity of backup.identity; without it no byte of any set can be read")
    if host.settings.minio and (key := host.settings.minio.kms_key):
        print(
            f"     and the key of MinIO's encryption, minio.kms_key: {fingerprint(key.reveal())}; another one opens nothing"
        )
    print("  3. one of the targets:")
    for target in settings.targets:
        where = {
            "stack": "the stack's own bucket: lost with the machine",
            "s3": f"{getattr(target, 'endpoint', '')}/{getattr(target, 'bucket', '')}",
            "sftp": f"{getattr(target, 'user', '')}@{getattr(target, 'host', '')}:{getattr(target, 'path', '')}",
            "path": getattr(target, "path", ""),
        }[target.kind]
        print(f"     {target.name} ({target.kind}): {where}")
    if held := not_in_sets(host.settings):
        print(f"  No set holds {held}: you need your own copies of them.")
    print("\nThen, in this order:")
    print(f"  inv host.trust {host.name}            # the new machine's key, compared with its console")
    print(f"  inv deploy --host {host.name}         # an empty stack, with the same keys")
    print(f"  inv backup.list --host {host.name}    # which sets there are")
    if has_buckets(host.settings):
        print(
            f"  inv restore latest --with iam,bucket-config --host {host.name}    # databases, buckets, who may use them"
        )
    else:
        print(f"  inv restore latest --host {host.name}")
    for name in (name for name, service in host.settings.services.items() if service.backup):
        print(f"  inv restore latest --service {name} --host {host.name}")
    if "edge" in host.settings.roles and host.settings.edge and authority.names_of(host.settings.edge):
        print(
            "\nClients trust the authority of the dead machine, and the new one has made another. On the host, ID being that of the set:"
        )
        print(f"  cp -p {LAID_BESIDE}/ID{authority.HERE}/authority.* {authority.HERE}/")
        print(f"Then, to have it sign again: inv deploy --host {host.name}")
    print("\nWithout Stowage: docs/restore-by-hand.md")

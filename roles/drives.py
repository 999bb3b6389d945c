"""Data drives: one XFS filesystem each, mounted by label, never formatted when it holds anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.engine.resource import in_order
from converge.engine.role import Wanted, role
from converge.resources.account import Group, User
from converge.resources.boot import Boot
from converge.resources.file import Directory
from converge.resources.filesystem import RECORDS, Filesystem
from converge.resources.mount import Mount
from converge.resources.mountpoint import MountPoint
from converge.resources.permissions import Permissions

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


@role(needs=("base",))
def drives(host: Host[Settings]) -> Wanted:
    owner = host.settings.data_user
    yield in_order(Group(owner.name, owner.uid), User(owner.name, owner.uid))
    records = ((f"{RECORDS}/{drive.label}", "0600") for drive in host.settings.drives)
    yield Permissions("drives", (("/etc/fstab", "0644"), *records))
    yield Boot(tuple(drive.path for drive in host.settings.drives))
    for drive in host.settings.drives:
        yield in_order(
            Filesystem(drive.device, label=drive.label),
            MountPoint(drive.path),  # immutable while unmounted: nothing can fill the root disk
            Mount(drive.path, label=drive.label, options=drive.options),
            # What containers bind: it exists only on the right drive, so none starts on an empty mount point.
            Directory(f"{drive.path}/{drive.label}", owner=owner.name, group=owner.name, mode="0750"),
        )

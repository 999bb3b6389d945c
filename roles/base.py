"""What every storage host needs: a supported system, time in step, kernel settings, and quiet around the drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.engine.resource import in_order
from converge.engine.role import Wanted, role
from converge.resources.file import File
from converge.resources.outranked import SYSCTL, Outranked, sysctl_pattern
from converge.resources.package import Packages
from converge.resources.permissions import Permissions
from converge.resources.room import Room
from converge.resources.sysctl import Sysctl
from converge.resources.system import System
from converge.resources.unit import BootTarget, Unit

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

SUPPORTED = ("debian 12", "debian 13", "ubuntu 24.04", "ubuntu 26.04")
WRITTEN = ("/etc", "/run", "/tmp", "/usr/local", "/var/lib", "/var/lib/stowage")
"""Where deploys write, and what they start."""
NO_RESTARTS = (("restart", r"\$nrconf\{restart\}", "l"), ("kernelhints", r"\$nrconf\{kernelhints\}", "0"))
# What Stowage itself keeps on a host; a trailing slash is a directory.
OWN = (
    ("/var/lib/stowage/", "0750"),
    ("/var/lib/stowage/previous/", "0700"),
    ("/var/lib/stowage/drives/", "0750"),
    ("/var/lib/stowage/unproven/", "0750"),
    ("/var/lib/stowage/applied", "0600"),
    ("/var/lib/stowage/audit.jsonl", "0600"),
    ("/run/stowage.lock", "0644"),
    ("/run/stowage-fresh/", "0755"),
)
NEEDRESTART = "# A storage host restarts its services when its operator says so.\n$nrconf{restart} = 'l';\n$nrconf{kernelhints} = 0;\n"


@role
def base(host: Host[Settings]) -> Wanted:
    # Nothing is done to a system that is not supported, nor to one that cannot be written to.
    yield from (in_order(System(SUPPORTED), Room(WRITTEN), part) for part in _parts(host))


def _parts(host: Host[Settings]) -> Wanted:
    settings = host.settings.base
    yield in_order(
        Packages("base", tuple(settings.packages)),
        Unit("chrony.service"),
    )
    yield BootTarget()
    kept = "".join(f"{key} = {value}\n" for key, value in sorted(settings.sysctl.items()))
    yield File("/etc/sysctl.d/60-stowage.conf", "# Kernel settings of the inventory: base.sysctl\n" + kept)
    yield from (Sysctl(key, value) for key, value in sorted(settings.sysctl.items()))
    keys = ((key, sysctl_pattern(key), value) for key, value in sorted(settings.sysctl.items()))
    yield Outranked("/etc/sysctl.d/60-stowage.conf", SYSCTL, tuple(keys))
    yield Permissions("/var/lib/stowage", OWN)
    # An index of object storage would read every inode of every drive, every night.
    pruned = " ".join(drive.path for drive in host.settings.drives)
    yield File(
        "/etc/updatedb.conf",
        f'PRUNE_BIND_MOUNTS="yes"\nPRUNENAMES=".git .bzr .hg .svn"\nPRUNEPATHS="/tmp /var/spool /media /var/lib/docker {pruned}"\nPRUNEFS="NFS nfs nfs4 proc smbfs autofs overlay sysfs tmpfs"\n',
    )
    yield from _needrestart(settings.packages)


def _needrestart(packages: list[str]) -> Wanted:
    if "needrestart" in packages:
        yield in_order(
            Packages("needrestart", ("needrestart",)),
            File("/etc/needrestart/conf.d/60-stowage.conf", NEEDRESTART),
            Outranked("/etc/needrestart/conf.d/60-stowage.conf", ("/etc/needrestart/conf.d",), NO_RESTARTS),
        )

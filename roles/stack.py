"""A systemd unit for each compose project: mounts before Docker, late starters started, a long grace at shutdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.engine.resource import Chain, in_order
from converge.engine.role import Wanted, role
from converge.resources.compose import FOLDER, GRACE
from converge.resources.file import Directory, File
from converge.resources.permissions import Permissions
from converge.resources.unit import Unit

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

SCRIPT = "/usr/local/lib/stowage/project"
MARGIN = 90
"""Seconds beyond the time that containers may take to stop, for Docker on a busy host."""
PROJECTS = ("minio", "edge", "postgres")
"""Roles that have a compose project. It has their name; the edge's is its program's."""


@role(needs=("docker",), after=PROJECTS)
def stack(host: Host[Settings]) -> Wanted:
    edge = host.settings.edge.kind if host.settings.edge else ""
    projects = [edge if name == "edge" else name for name in PROJECTS if name in host.settings.roles]
    yield from (at_boot(host, name) for name in projects)
    yield Permissions("compose files", tuple((f"{FOLDER}/{name}/compose.yaml", "0644") for name in projects))


def at_boot(host: Host[Settings], project: str) -> Chain:
    """The unit that starts and stops a compose project with the host, and what all such units share."""
    files = host.root / "files"
    # One file for all projects, so the longest grace counts.
    longest = max([GRACE, *(service.grace for service in host.settings.services.values())])
    unit = (files / "stowage@.service").read_text().replace("@FOLDER@", FOLDER)
    unit = unit.replace("@LIMIT@", str(longest + MARGIN))
    return in_order(
        Directory("/usr/local/lib/stowage"),
        File(SCRIPT, (files / "project.sh").read_text(), mode="0755", check="sh -n {}"),
        File(
            "/etc/systemd/system/stowage@.service",
            unit,
            check="systemd-analyze verify --man=no {} || true #",
            until_loaded=True,
        ),
        Unit(f"stowage@{project}.service", on=(f"project:{project}",)),
    )

"""Metrics that Prometheus cannot scrape: the containers, drives and backups of the inventory, as a text file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge import templates
from converge.engine.resource import in_order
from converge.engine.role import Wanted, role
from converge.resources.file import Directory, File
from converge.resources.unit import StaticUnit, Unit
from roles import names_of
from roles.edge import served
from roles.settings.networks import containers

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

SCRIPT = "/usr/local/lib/stowage/facts"
OF_ROLES = {"nginx": "edge", "traefik": "edge", "postgres": "postgres"}
"""Containers that do not run without their role, even if the settings have their section."""


@role(needs=("docker",))
def facts(host: Host[Settings]) -> Wanted:
    settings = host.settings
    yield in_order(
        Directory("/usr/local/lib/stowage"),
        Directory(settings.facts.textfile),
        File(
            SCRIPT,
            templates.render(
                host,
                "facts.sh.j2",
                settings=settings,
                containers=names(settings),
                certificates=served.look(settings) if served.places(settings) else "",
                soon=served.ends_soon(settings.edge),
            ),
            mode="0755",
            check="sh -n {}",
        ),
        File("/etc/systemd/system/stowage-facts.service", _plain(host, "stowage-facts.service")),
        File("/etc/systemd/system/stowage-facts.timer", _plain(host, "stowage-facts.timer"), until_loaded=True),
        Unit("stowage-facts.timer"),
        StaticUnit("stowage-facts.service"),
    )


def names(settings: Settings) -> list[str]:
    """The containers that must run."""
    are = names_of(settings)
    nodes = [node.name for node in settings.minio.nodes] if settings.minio else []
    roles = {**OF_ROLES, **dict.fromkeys(nodes, "minio")}
    return [name for name in containers(settings) if roles.get(name, name) in are]


def _plain(host: Host[Settings], name: str) -> str:
    return str((host.root / "files" / name).read_text())

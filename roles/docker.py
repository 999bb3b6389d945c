"""Docker Engine with compose v2, with bounded logs, running and started at boot; and the private networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from converge.engine.resource import Chain, in_order
from converge.engine.role import Wanted, role
from converge.errors import Trouble
from converge.inventory.local_text import Unreadable, place, text_of
from converge.resources.docker import NoSnap
from converge.resources.file import File
from converge.resources.forwarding import Forwarding, Passage
from converge.resources.fresh import FreshUnit
from converge.resources.jsonfile import JsonKeys
from converge.resources.network import Network
from converge.resources.package import Packages
from converge.resources.permissions import Permissions
from converge.resources.system import System
from converge.resources.unit import Unit
from roles.settings.local_file import LIMIT
from roles.settings.networks import containers

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

DAEMON = "/etc/docker/daemon.json"
UNIT_FILES = (
    "/usr/lib/systemd/system/docker.service",
    "/etc/systemd/system/docker.service",
    "/etc/systemd/system/docker.service.d",
    "/etc/systemd/system/docker.service.d/override.conf",
)
"""Files from which Docker's process was started, with the folder of drop-ins: writing one changes the folder."""
# Packages that the settings must name where those of Debian 13 do not fit: Debian 12 has no compose v2, Ubuntu has another name for it.
FITTING: dict[str, dict[str, Any]] = {
    "debian 12": {
        "source": "docker",
        "repository": "https://download.docker.com/linux/debian",
        "suite": "bookworm",
        "repository_key": "inventory/docker.asc",
    },
    "ubuntu 24.04": {"packages": ["docker.io", "docker-compose-v2", "iptables"]},
    "ubuntu 26.04": {"packages": ["docker.io", "docker-compose-v2", "iptables"]},
}


SUITES = {"debian 12": "bookworm", "debian 13": "trixie", "ubuntu 24.04": "noble", "ubuntu 26.04": "resolute"}


@role(needs=("base",))
def docker(host: Host[Settings]) -> Wanted:
    settings = host.settings.docker
    keeps_rules = settings.daemon.get("iptables", True) and settings.daemon.get("firewall-backend") != "nftables"
    yield in_order(
        NoSnap(),
        *(_from_docker(host) if settings.source == "docker" else _from_distribution(settings.packages)),
        JsonKeys(DAEMON, settings.daemon, check="dockerd --validate --config-file {}"),
        Permissions("daemon.json", (("/etc/docker/", "0755"), (DAEMON, "0644"))),
        Unit("docker.service"),
        FreshUnit("docker.service", (DAEMON,), watches=UNIT_FILES),
        Permissions("docker.sock", (("/run/docker.sock", "0660"),)),
    )
    on = containers(host.settings)
    for name, network in host.settings.networks.items():
        members = tuple(container for container in on if name in on[container])
        published = tuple(container for container in _published(host) if container in members)
        yield in_order(
            Network(name, network.subnet, members),
            Forwarding(name, network.subnet, published, bool(keeps_rules)),
            Passage(name),
        )


def _published(host: Host[Settings]) -> Iterator[str]:
    """The containers that have ports at an IPv4 address of the host; rules for IPv6 stand elsewhere."""
    edge = host.settings.edge
    for name, page in ((edge.kind if edge else "", edge), ("postgres", host.settings.postgres)):
        if page and page.listen and ":" not in page.listen:
            yield name
    for name, service in host.settings.services.items():
        if service.enabled and any(":" not in port.listen for port in service.ports):
            yield name


def _from_distribution(packages: list[str]) -> Chain:
    installed = Packages("docker", tuple(packages))
    if "docker-compose" not in packages:
        return in_order(installed)
    instead = {
        system: f"in the host's file, as `inv host.add` writes it: docker: {json.dumps(settings)}"
        for system, settings in FITTING.items()
    }
    why = "has no compose v2 in its package docker-compose, unlike debian 13"
    return in_order(System(("debian 13",), "docker-compose", why, instead), installed)


def _from_docker(host: Host[Settings]) -> Chain:
    settings = host.settings.docker
    try:
        key = text_of(place(host.root, settings.repository_key or ""), LIMIT)
    except Unreadable as reason:
        raise Trouble(
            "the signing key of Docker's repository cannot be read",
            where=host.name,
            why=f"docker.repository_key: {settings.repository_key}: {reason}",
            untouched="nothing was changed",
            hint=f"curl -fsSL {settings.repository}/gpg -o {settings.repository_key}",
        ) from None
    # Packages of another system may install and break later. A suite that SUITES does not have is not checked.
    fits = tuple(name for name, suite in SUITES.items() if suite == settings.suite) or tuple(SUITES)
    sources = f"Types: deb\nURIs: {settings.repository}\nSuites: {settings.suite}\nComponents: stable\nSigned-By: /etc/apt/keyrings/docker.asc\n"
    instead = {
        name: f"in the host's file: docker: {{suite: {suite}, repository: https://download.docker.com/linux/{name.split()[0]}}}"
        for name, suite in SUITES.items()
    }
    why = f"is not the system whose packages docker.suite names: {settings.suite}"
    return in_order(
        System(fits, "docker-suite", why, instead),
        File("/etc/apt/keyrings/docker.asc", key),
        File("/etc/apt/sources.list.d/docker.sources", sources),
        Packages("docker", ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin")),
    )

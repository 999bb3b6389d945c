"""Docker Engine with compose v2, with bounded logs, running and started at boot; and the private network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converge.errors import Trouble
from converge.resource import Chain, in_order
from converge.resources.docker import Network, NoSnap
from converge.resources.file import File
from converge.resources.fresh import FreshUnit
from converge.resources.jsonfile import JsonKeys
from converge.resources.package import Packages
from converge.resources.unit import Unit
from converge.role import Wanted, role

DAEMON = "/etc/docker/daemon.json"


@role(needs=("base",))
def docker(host: Any) -> Wanted:
    settings, network = host.settings.docker, host.settings.network
    yield in_order(
        NoSnap(),
        *(_from_docker(host) if settings.source == "docker" else _from_distribution(settings.packages)),
        JsonKeys(DAEMON, settings.daemon, check="dockerd --validate --config-file {}"),
        Unit("docker.service"),
        FreshUnit("docker.service", (DAEMON,)),
        Network(network.name, network.subnet),
    )


def _from_distribution(packages: list[str]) -> Chain:
    return in_order(Packages("docker", tuple(packages)))


def _from_docker(host: Any) -> Chain:
    settings = host.settings.docker
    try:
        key = (host.root / Path(settings.repository_key or "").expanduser()).read_text()
    except OSError as error:
        raise Trouble(
            "the signing key of Docker's repository cannot be read",
            where=host.name,
            why=f"docker.repository_key: {settings.repository_key}: {error.strerror}",
            untouched="nothing was changed",
            hint="put the key there, or use docker.source: distribution",
        ) from None
    sources = f"Types: deb\nURIs: {settings.repository}\nSuites: {settings.suite}\nComponents: stable\nSigned-By: /etc/apt/keyrings/docker.asc\n"
    return in_order(
        File("/etc/apt/keyrings/docker.asc", key),
        File("/etc/apt/sources.list.d/docker.sources", sources),
        Packages("docker", ("docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin")),
    )

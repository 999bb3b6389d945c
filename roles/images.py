"""The images that a host runs, present by content: pulled by the host, or shipped over SSH where it has no registry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from converge.engine.resource import Refusal
from converge.engine.role import Wanted, role
from converge.errors import Trouble
from converge.libraries import import_whole
from converge.record import dataclass
from converge.resources.docker import Content, Image

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

ENGINE = "/var/run/docker.sock"
# Cannot be pulled from anywhere since September 2026; upstream is archived.
DEAD = ("minio/minio", "minio/mc", "quay.io/minio/minio", "quay.io/minio/mc")
REPLACEMENT = "docker.io/pgsty/silo:RELEASE.2026-09-16T00-00-00Z"


def is_dead(reference: str) -> bool:
    """Whether no registry has an image any more; the same name at a mirror is another reference."""
    return reference.removeprefix("docker.io/").partition("@")[0].partition(":")[0] in DEAD


@dataclass(frozen=True)
class LocalImage:
    """An image of the operator's own Engine, with which the one on the host is compared."""

    reference: str
    build: str = field(default="", compare=False)
    """The command that makes it, where no registry has it."""

    @cached_property
    def _inspected(self) -> dict[str, Any]:
        try:
            answer = _ask_engine(f"/images/{quote(self.reference, safe='/:@')}/json")
        except OSError as error:
            why = f"no Docker Engine answers on this machine, at {os.environ.get('DOCKER_HOST') or ENGINE}"
            why += f": {error.strerror}" if error.strerror else ""
            raise self._missing(why, "docker info; or ship: false, if the host can pull it") from None
        if "RootFS" not in answer:
            raise self._missing("the Docker Engine of this machine does not have it", self._to_have_it)
        return answer

    @property
    def _to_have_it(self) -> str:
        if self.reference.startswith("stowage-lab/"):
            return "inv lab.up"
        if self.build:
            return self.build
        return f"name {REPLACEMENT} instead" if is_dead(self.reference) else f"docker pull {self.reference}"

    def _missing(self, why: str, hint: str) -> Trouble:
        what = f"the image {self.reference} cannot be shipped"
        return Trouble(what, why=why, untouched="the host was not changed", hint=hint)

    def content(self) -> Content:
        return Content.of(self._inspected)

    def stream(self) -> Iterator[bytes]:
        import_whole("docker")
        import docker

        yield from docker.from_env(timeout=600).api.get_image(self.reference, chunk_size=1 << 20)


def _ask_engine(path: str) -> dict[str, Any]:
    """One request to the operator's Engine, over its usual socket without the SDK, whose import takes longer than a check."""
    import http.client
    import json
    import socket

    if os.environ.get("DOCKER_HOST", "").removeprefix("unix://") not in ("", ENGINE) or not os.path.exists(ENGINE):
        import_whole("docker")
        import docker

        try:
            client = docker.from_env(timeout=20).api
            return dict(client._result(client._get(client.base_url + path), json=True))
        except docker.errors.NotFound:
            return {}
        except docker.errors.DockerException as error:
            raise OSError(str(error)) from None
    line = http.client.HTTPConnection("localhost", timeout=20)
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.settimeout(20)
    line.sock.connect(ENGINE)
    line.request("GET", path)
    with line.getresponse() as answer:
        return dict(json.loads(answer.read()))


@lru_cache
def local_image(reference: str, build: str) -> LocalImage:
    """One inspection a run, however many hosts get the image."""
    return LocalImage(reference, build)


def image(host: Host[Settings], name: str) -> Image:
    """The image that stands under a name in the host's table."""
    table = host.settings.images
    if name not in table:
        raise Trouble(
            f"no image is named {name}",
            where=host.name,
            why=f"images has {', '.join(table) or 'nothing'}",
            hint=f"add images.{name}",
        )
    row = table[name]
    withdrawn = Refusal(
        "it can no longer be pulled: MinIO's images were withdrawn from Docker Hub and quay.io in September 2026",
        f"set images.{name}.reference to {REPLACEMENT}, or to a mirror of your own; or ship: true if this machine has it",
    )
    shipped = local_image(row.reference, row.build) if row.ship else None
    return Image(row.reference, shipped, withdrawn if is_dead(row.reference) else None)


@role(needs=("docker",))
def images(host: Host[Settings]) -> Wanted:
    """All images that the roles need. Images of services alone come with their service, so that a missing one blocks no other."""
    return [image(host, name) for name in host.settings.images if name not in of_services(host.settings)]


def of_services(settings: Settings) -> set[str]:
    """The images that services have and nothing else; those of a service that is off are not wanted at all."""
    ours = (settings.minio, settings.edge, settings.postgres, settings.backup)
    theirs = {service.image for service in settings.services.values()}
    return theirs - {row.image for row in ours if row}


def image_identity(host: Host[Settings], name: str) -> str:
    """What recreates an image's containers when it changes: its reference and, where it is known, its content."""
    row = image(host, name)
    content = row.shipped.content() if row.shipped else None
    return f"{row.reference} {content.layers + content.config if content else ''}"

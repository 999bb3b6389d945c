"""The meaning of the rows of `edge.routes`, the same for nginx and Traefik."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from roles.edge.settings import Edge, Route, Tls
    from roles.settings.model import Settings

API = "minio-api"
CONSOLE = "minio-console"
ELSEWHERE = "s3-elsewhere"
"""Answers S3's clients with an error of S3 that names the right address: for a path, below which no signature matches."""
HTTPS = "https"
"""Redirects to the same place on a port with TLS: https:443."""
LOCAL = "local-ca"
"""The value of edge.tls when the host's own authority signs."""
ACME = "acme"
"""The value of edge.tls when a public authority signs."""
POSTGRES_PORT = 5432
"""The ports at which the container listens, whatever ports the host publishes."""


def leads_on(row: Route) -> str:
    """The word or the service to which a row leads, without a port."""
    return row.to.partition(":")[0]


def active(settings: Settings, edge: Edge) -> list[Route]:
    """The rows whose target runs: a row to a service that is off is left out."""
    off = {name for name, service in settings.services.items() if not service.enabled}
    return [row for row in edge.routes if target(row) not in off]


def target(row: Route) -> str:
    """The role or service to which a row leads; empty if the edge answers itself."""
    name = leads_on(row)
    return "" if name in (ELSEWHERE, HTTPS) else "minio" if row.to in (API, CONSOLE) else name


def certificate(edge: Edge, row: Route) -> Tls | Literal["local-ca", "acme"] | None:
    """The certificate of a row, or who signs it; None without TLS. A row of TCP without a name passes its bytes on unread."""
    if row.tls is False or target_port(row) or (row.tcp and not row.host):
        return None
    return row.tls or (None if row.inside else edge.tls)


def by_certbot(edge: Edge) -> bool:
    """Whether certbot asks a public authority for certificates; Traefik does that by itself."""
    return edge.tls == ACME and edge.kind == "nginx"


def docker_proxy(edge: Edge) -> str:
    """The service by which Traefik reads the labels of containers; empty where it reads none."""
    return edge.traefik.docker.partition(":")[0] if edge.traefik.docker and edge.kind == "traefik" else ""


def encrypted(edge: Edge) -> list[int]:
    """The ports that serve HTTP with TLS."""
    return sorted({row.port for row in edge.routes if not row.tcp and certificate(edge, row)})


def dashboard(edge: Edge) -> str:
    """The name of Traefik's own page; empty where it is shown nowhere."""
    return (edge.traefik.dashboard or "") if edge.kind == "traefik" else ""


def dashboard_port(edge: Edge) -> int:
    """The port of Traefik's own page: 443, or the lowest with TLS where 443 has none."""
    ports = encrypted(edge)
    return 443 if 443 in ports or not ports else ports[0]


def target_port(row: Route) -> int:
    """The port with TLS to which a row redirects; 0 for all other rows."""
    name, _, port = row.to.partition(":")
    return int(port) if name == HTTPS else 0


def leading_to(settings: Settings, to: str) -> list[Route]:
    """The rows of a host that lead to one part of MinIO; none without the edge role."""
    edge = settings.edge if "edge" in settings.roles else None
    return [row for row in edge.routes if row.to == to] if edge else []


def url(edge: Edge, row: Route, address: str, path: str) -> str:
    """The URL of a path at a row: by the row's name if it has one, else by this address."""
    scheme = "https" if certificate(edge, row) else "http"
    return f"{scheme}://{row.host or address}:{row.port}{row.path or ''}{path}"


def networks(settings: Settings) -> Iterator[str]:
    """The networks over which the edge reaches what its rows lead to."""
    from roles.settings.networks import first

    for row in settings.edge.routes if settings.edge else ():
        if not (name := target(row)):
            continue
        page = {"minio": settings.minio, "postgres": settings.postgres}.get(name) or settings.services.get(name)
        if page:
            yield first(settings, page.networks)
    proxy = settings.services.get(docker_proxy(settings.edge)) if settings.edge else None
    if proxy:
        yield first(settings, proxy.networks)

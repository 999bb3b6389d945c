"""What the rows of `edge.routes` mean, for whichever program carries them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roles.edge.settings import Edge, Route, Tls
    from roles.settings.model import Settings

API = "minio-api"
CONSOLE = "minio-console"
POSTGRES_PORT = 5432
"""Where the container listens, whatever the host publishes."""


def target(row: Route) -> str:
    """The role or service to which a row leads."""
    return "minio" if row.to in (API, CONSOLE) else row.to.partition(":")[0]


def certificate(edge: Edge, row: Route) -> Tls | None:
    """The certificate with which a row is served; None is in clear."""
    if row.tcp or row.tls is False:
        return None
    return row.tls or edge.tls


def leading_to(settings: Settings, to: str) -> list[Route]:
    """The rows of a host that lead to one part of MinIO; none where it is no edge."""
    edge = settings.edge if "edge" in settings.roles else None
    return [row for row in edge.routes if row.to == to] if edge else []


def url(edge: Edge, row: Route, address: str, path: str) -> str:
    """How a row is asked for a path: by the name that it wants, else by this address."""
    scheme = "https" if certificate(edge, row) else "http"
    return f"{scheme}://{row.host or address}:{row.port}{row.path or ''}{path}"


def networks(settings: Settings) -> Iterator[str]:
    """The networks over which the edge reaches what its rows lead to."""
    from roles.settings.networks import first

    for row in settings.edge.routes if settings.edge else ():
        name = target(row)
        page = {"minio": settings.minio, "postgres": settings.postgres}.get(name) or settings.services.get(name)
        if page:
            yield first(settings, page.networks)

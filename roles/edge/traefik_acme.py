"""What Traefik leaves undone of its certificates: a timer of the host has it ask again after a refusal, and writes down who refuses, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from converge.engine.resource import Resource
from converge.resources.file import Directory, File
from converge.shell import quote
from roles.edge import acme, traefik
from roles.edge.routes import ACME, certificate, dashboard
from roles.edge.traefik_routes import resolver
from roles.settings.local_file import local_text

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge
    from roles.settings.model import Settings

HOUR, DAY = 3600, 86400
_RENEWS = (
    (8760, 120 * DAY, 7 * DAY),
    (2160, 30 * DAY, DAY),
    (720, 10 * DAY, 12 * HOUR),
    (144, 2 * DAY, 2 * HOUR),
    (24, 6 * HOUR, HOUR // 6),
    (0, HOUR // 3, 60),
)
"""From so many hours of life on, how long before its end Traefik renews a certificate, and how often it tries."""


def renews(edge: Edge) -> tuple[int, int]:
    """The seconds before an end from which Traefik renews, and those from one try to the next."""
    assert edge.acme
    return next((within, every) for hours, within, every in _RENEWS if edge.acme.lifetime_hours >= hours)


def names(edge: Edge) -> tuple[str, ...]:
    """The names that an authority signs for Traefik, each in a certificate of its own."""
    rows = [row.host for row in edge.routes if row.host and certificate(edge, row) == ACME]
    return tuple(dict.fromkeys([*rows, *([dashboard(edge)] if dashboard(edge) else [])]))


def kept(host: Host[Settings], edge: Edge) -> list[File | Directory]:
    """Traefik's file for its account and its signed certificates, and the certificate by which it trusts the authority."""
    if edge.tls != ACME or not edge.acme:
        return []
    owner, trusted = host.settings.data_user.name, edge.acme.authority
    text = local_text(host, "edge.acme.authority", trusted) if trusted else ""
    return [
        *([File(f"{traefik.HERE}/{traefik.ACME_AUTHORITY}", text)] if trusted else []),
        Directory(traefik.KEPT, owner=owner, group=owner, mode="0700"),
    ]


def asked(host: Host[Settings], edge: Edge) -> Iterator[Resource]:
    """Waits until the authority has signed or refused, and has a timer look after that from then on."""
    assert edge.acme
    script = acme.SCRIPT_OF_TRAEFIK
    yield from acme.tools(host, script)
    yield File(
        f"{acme.HERE}/restart", f"docker restart -t 60 -- {traefik.CONTAINER} >/dev/null\n{traefik.answers().waits()}\n"
    )
    yield File(f"{acme.HERE}/settings", settings(edge))
    yield acme.Asked(edge.acme.directory, names(edge), names(edge), traefik.CONTAINER, f"{acme.HERE}/settings", script)
    yield from acme.timer(host, script)


def settings(edge: Edge) -> str:
    """The variables that files/acme-traefik.sh reads."""
    assert edge.acme
    within, every = renews(edge)
    variables = {
        "server": edge.acme.directory,
        "resolver": resolver(edge.acme),
        "hosts": " ".join(names(edge)),
        "within": str(within),
        "every": str(every),
        "api": f"http://127.0.0.1:{traefik.ALIVE}/api",
    }
    return "".join(f"{name}={quote(value)}\n" for name, value in variables.items())

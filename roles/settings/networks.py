"""Which containers of a host are on which of its networks, by its settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from roles.edge import routes

if TYPE_CHECKING:
    from roles.settings.model import Settings

Networks = dict[str, dict[str, str]]
"""The networks of a container, as compose takes them."""


def joined(settings: Settings, names: Sequence[str]) -> list[str]:
    """The networks that a page names; the only one where it names none."""
    return list(names) or list(settings.networks)[:1]


def first(settings: Settings, names: Sequence[str]) -> str:
    """The network that holds the fixed addresses of a page; empty where there is none at all."""
    return next(iter(joined(settings, names)), "")


def containers(settings: Settings) -> dict[str, list[str]]:
    """The networks of each container."""
    return dict(_containers(settings))


def _containers(settings: Settings) -> Iterator[tuple[str, list[str]]]:
    if settings.minio:
        yield from ((node.name, joined(settings, settings.minio.networks)) for node in settings.minio.nodes)
    if settings.edge:
        yield settings.edge.kind, list(dict.fromkeys(routes.networks(settings))) or joined(settings, [])
    if settings.postgres:
        yield "postgres", joined(settings, settings.postgres.networks)
    for name, service in settings.services.items():
        yield name, joined(settings, service.networks)


def joins(names: Sequence[str], address: str = "") -> Networks:
    """The networks of a container as compose takes them; its fixed address is in the first."""
    return {name: {"ipv4_address": address} if address and name == names[0] else {} for name in names}


def external(names: Sequence[str]) -> dict[str, dict[str, bool]]:
    """The networks of a project as compose takes them: they are there before it, and stay."""
    return {name: {"external": True} for name in names}

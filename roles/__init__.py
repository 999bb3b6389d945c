"""What a host should be. A role of one page is a file; what has an API or a life-cycle of its own is a folder."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from converge.engine.role import Role
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

MODULES = {
    "base": "roles.base",
    "drives": "roles.drives",
    "docker": "roles.docker",
    "images": "roles.images",
    "minio": "roles.minio.role",
    "edge": "roles.edge.role",
    "postgres": "roles.postgres.role",
    "stack": "roles.stack",
    "buckets": "roles.minio.buckets",
    "databases": "roles.postgres.databases",
    "backup": "roles.backup.role",
    "sso": "roles.sso.role",
    "facts": "roles.facts",
}
"""Where each role stands: a function of its name in that module."""


def named(name: str, host: Host[Settings] | None = None) -> Role | None:
    """The role of this name, loaded now: most commands need none. A host's services are roles as well; None is no role."""
    if name in MODULES:
        by_name: Role = getattr(importlib.import_module(MODULES[name]), name)
        return by_name.on(host) if host else by_name
    if host is not None and name in host.settings.services:
        from roles.services.role import role_of

        return role_of(host, name)
    return None


def names_of(settings: Settings) -> list[str]:
    """What a host is, by its settings: its roles and its services."""
    return [*settings.roles, *(name for name, service in settings.services.items() if service.enabled)]

"""Sections of the inventory that a role cannot do without."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from converge.errors import Trouble

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

Section = TypeVar("Section")


def needed(host: Host[Settings], name: str, section: Section | None, example: str = "all.yml") -> Section:
    """The section of this name, which a host with the role of that name must have; `example` is a file that shows one."""
    if section is None:
        raise Trouble(
            f"the role {name} needs settings",
            where=host.name,
            why=f"the inventory has no {name} section",
            hint=f"see inventory/group_vars/{example}",
        )
    return section

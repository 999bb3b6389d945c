"""What an earlier deploy made and no role wants any more: removed where that is safe, otherwise left alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from converge.engine.plan import WantedResource
from converge.engine.resource import Resource
from converge.engine.role import Role

if TYPE_CHECKING:
    from converge.inventory.hosts import Host


def no_longer_wanted(
    host: Host[Any], memory: Mapping[str, str], wanted: set[str], roles: Mapping[str, Role]
) -> list[WantedResource]:
    """What the host remembers of these roles and they no longer want. The memory maps an address to `role hash`; `wanted` has addresses, and
    what stands at them (`Resource.gives`)."""
    removals: list[WantedResource] = []
    for address, remembered in sorted(memory.items(), reverse=True):
        role = roles.get(remembered.split(" ")[0])
        if role is None or address in wanted:
            continue
        kind, _, name = address.partition(":")
        if f"path:{name}" in wanted:
            continue
        # Packages, users, drives, mounts, networks and images stay: other programs may need them by now, or they hold data.
        removal = Resource.removals[kind](name) if kind in Resource.removals else role.gone(host, kind, name)
        if removal:
            removals.append(WantedResource(role.name, removal))
    return sorted(removals, key=lambda want: want.resource.removed_last)

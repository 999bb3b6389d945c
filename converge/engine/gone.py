"""What an earlier deploy made and nobody wants any more: taken away where that is safe, otherwise left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from converge.engine.plan import Wanted
from converge.engine.resource import Resource
from converge.engine.role import Role
from converge.resources.compose import NoProject
from converge.resources.file import Absent
from converge.resources.unit import NoUnit

# Packages, users, drives, mounts, networks and images stay: others may have come to need them, or they hold data.
_REMOVED: dict[str, Callable[[str], Resource]] = {
    "file": lambda path: Absent(path, was="file"),
    "unit": NoUnit,
    "project": NoProject,
}

# What is used stands behind what uses it: a key before its user, a user before the policies that it has.
_USES = ("service-account", "minio-user", "policy", "bucket")


def _place(address: str) -> int:
    """How late something is taken away: the other way round, as the whole is sorted in reverse."""
    kind = address.partition(":")[0]
    return -_USES.index(kind) if kind in _USES else 0


def no_longer_wanted(
    host: Any, memory: Mapping[str, str], wanted: set[str], roles: Mapping[str, Role]
) -> Iterator[Wanted]:
    """What the host remembers of these roles and they no longer want. The memory maps an address to `role hash`."""
    for address, told in sorted(memory.items(), key=lambda one: (_place(one[0]), one[0]), reverse=True):
        role = roles.get(told.split(" ")[0])
        if role is None or address in wanted:
            continue
        kind, _, name = address.partition(":")
        found = _REMOVED[kind](name) if kind in _REMOVED else role.gone(host, kind, name)
        if found:
            yield Wanted(role.name, found)

"""Groups within groups: which hosts are in which, how deep each group lies, and which contain themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from converge.inventory.layers import Node
from converge.record import dataclass


@dataclass
class Group:
    name: str
    origin: str
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    settings: list[Node] = field(default_factory=list)
    depth: int = 0
    priority: int = 1


def inner_first(groups: Mapping[str, Group]) -> tuple[list[tuple[list[str], str]], list[str]]:
    """The circles, each with its path and the group that closes it; and the groups, each after the groups in it.

    A group is walked through once, however many ways lead to it.
    """
    circles: list[tuple[list[str], str]] = []
    order: dict[str, None] = {}
    for first in groups:
        way = [first] if first not in order else []
        to_visit = {first: list(groups[first].children)}
        while way:
            name = way[-1]
            child = to_visit[name].pop(0) if to_visit[name] else None
            if child is None:
                order[way.pop()] = None
            elif child in way:
                circles.append(([*way[way.index(child) :], child], name))
            elif child not in order:
                way.append(child)
                to_visit[child] = list(groups[child].children)
    return circles, list(order)


def members(groups: Mapping[str, Group], order: list[str]) -> dict[str, list[str]]:
    """The hosts of each group and of the groups in it."""
    hosts: dict[str, list[str]] = {}
    for name in order:
        inner = (host for child in groups[name].children for host in hosts.get(child, []))
        hosts[name] = list(dict.fromkeys([*groups[name].hosts, *inner]))
    return hosts


def deepen(groups: Mapping[str, Group], order: list[str]) -> None:
    """Give each group its depth: the longest way that leads to it from `all`."""
    for name in reversed(order):
        for child in groups[name].children:
            groups[child].depth = max(groups[child].depth, groups[name].depth + 1)

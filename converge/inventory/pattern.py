"""What `--host` names: hosts, groups, and Ansible's patterns over them."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence

from converge.errors import UNTOUCHED, Trouble, Troubles
from converge.inventory.ranges import Misnamed, expanded
from converge.record import dataclass

Nobody = Callable[[str], Trouble]


@dataclass(frozen=True)
class Names:
    """The names of an inventory: its hosts, in order, and the hosts of each group."""

    hosts: Sequence[str]
    groups: Mapping[str, Sequence[str]]


def terms(pattern: str, hosts: Sequence[str]) -> list[str]:
    """The parts of a pattern: between commas, or, as in old Ansible, between colons."""
    if "," in pattern or ":" not in pattern or pattern.strip().lstrip("!&") in hosts:
        parts = pattern.split(",")
    else:
        parts = re.findall(r"(?:[^:\[\]]|\[[^\]]*\])+", pattern) or [pattern]
    return [part.strip() for part in parts if part.strip()]


def choose(pattern: str, names: Names, nobody: Nobody) -> list[str]:
    """The hosts of a pattern, each once. Every part must name a host, or it is an error: a slip must not shrink a deploy."""
    parts = terms(pattern, names.hosts)
    plain = [part for part in parts if part[0] not in "!&"]
    if not parts:
        raise _untouched(_nothing(names))
    troubles: list[Trouble] = []

    def hosts_of(part: str) -> list[str]:
        try:
            return _hosts_of(part, names, nobody)
        except Trouble as trouble:
            troubles.append(trouble)
            return []

    chosen = dict.fromkeys(host for part in plain or ["all"] for host in hosts_of(part))
    for part in parts:
        if part[0] == "&":
            kept = hosts_of(part[1:].strip())
            chosen = {host: None for host in chosen if host in kept}
    for part in parts:
        if part[0] == "!":
            for host in hosts_of(part[1:].strip()):
                chosen.pop(host, None)
    if troubles:
        raise Troubles([*troubles[:-1], _untouched(troubles[-1])])
    if not chosen:
        why = "its parts with ! and & leave no host"
        raise _untouched(Trouble(f"no host is left of {pattern}", why=why, hint="inv inventory --host all"))
    return list(chosen)


def _hosts_of(part: str, names: Names, nobody: Nobody) -> list[str]:
    if part in names.hosts:
        return [part]
    if names.groups.get(part):
        return list(names.groups[part])
    if _has_stars(part):
        inside = [host for group, hosts in names.groups.items() if fnmatch.fnmatchcase(group, part) for host in hosts]
        if both := dict.fromkeys([*inside, *fnmatch.filter(names.hosts, part)]):
            return list(both)
    if "[" in part:
        return _of_range(part, names, nobody)
    raise _of_another_tool(part, names) or nobody(part)


def _of_range(part: str, names: Names, nobody: Nobody) -> list[str]:
    """`store[01:04]` are these hosts. In Ansible it may be places of a group, which are not taken: they move."""
    before = part.partition("[")[0]
    if before in names.groups:
        members = ", ".join(names.groups[before][:10])
        raise Trouble(
            f"{part}: places of a group are not taken",
            why=f"{before} has {members or 'no hosts'}, and their places change when a host is added",
            hint=f"--host {names.groups[before][0] if names.groups[before] else 'NAME'}",
        )
    try:
        hosts = expanded(part)
    except Misnamed as reason:
        raise Trouble(f"{part} names no host", why=str(reason), hint="inv inventory --host all") from None
    for name in hosts:
        if name not in names.hosts:
            raise nobody(name)
    return hosts


def _has_stars(part: str) -> bool:
    return "*" in part or "?" in part


def _of_another_tool(part: str, names: Names) -> Trouble | None:
    """The error for a pattern that other tools understand, with how it is written here."""
    pieces = part.split()
    if len(pieces) > 1:
        return Trouble(f"no host is named {part!r}", why="names have no blanks", hint=f"--host {','.join(pieces)}")
    if part.startswith("~"):
        return Trouble(
            f"{part}: regular expressions are not taken",
            why="a * stands for any letters, a ? for one",
            hint=f"--host '{re.sub('[^A-Za-z0-9_.-]+', '*', part[1:]) or '*'}'",
        )
    if part.startswith("@"):
        return Trouble(
            f"{part}: files of names are not taken", why="--host takes names", hint=f'--host "$(paste -sd, {part[1:]})"'
        )
    if _has_stars(part):
        near = difflib.get_close_matches(part.strip("*?"), [*names.hosts, *names.groups], 1, 0.5)
        why = f"hosts are {listed(names.hosts)}; groups are {listed(list(names.groups))}"
        return Trouble(f"no host or group fits {part}", why=why, hint=f"--host {near[0] if near else 'all'}")
    return None


def _nothing(names: Names) -> Trouble:
    first = next(iter(names.hosts), "NAME")
    return Trouble("no host is named", why=f"hosts are {listed(names.hosts)}", hint=f"--host {first}")


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _untouched(trouble: Trouble) -> Trouble:
    trouble.untouched = trouble.untouched or UNTOUCHED
    return trouble

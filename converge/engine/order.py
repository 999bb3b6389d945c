"""The order of roles: each behind those that it needs, in whatever order the inventory names them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from converge.engine.role import Role
from converge.errors import UNTOUCHED, Trouble
from converge.record import dataclass


@dataclass(frozen=True)
class Chosen:
    """The roles of a host that a run is to change, and those beneath them, which it only reads."""

    roles: list[Role]
    beneath: list[Role]


def chosen(where: str, names: Sequence[str], find: Callable[[str], Role], only: Collection[str] = ()) -> Chosen:
    """The roles of a host, which have these names, in their order; with `only`, those and what they stand on."""
    named = [name for name in names if not only or name in only]
    roles = ordered(named, names, find)
    if missing := [role.name for role in roles if role.name not in names]:
        raise _missing(where, named, missing, names, [role.name for role in ordered(names, (), find)])
    return Chosen([role for role in roles if role.name in named], [role for role in roles if role.name not in named])


def ordered(names: Sequence[str], known: Collection[str], find: Callable[[str], Role]) -> list[Role]:
    """These roles and all that they need, each behind what it needs; `after` counts among what is named or known."""
    roles: dict[str, Role] = {}
    begun: set[str] = set()

    def add(name: str) -> None:
        if name in begun:
            return
        begun.add(name)
        role = find(name)
        for beneath in (*role.needs, *(other for other in role.after if other in names or other in known)):
            add(beneath)
        roles[name] = role

    for name in names:
        add(name)
    return list(roles.values())


def _missing(
    where: str, named: Sequence[str], missing: Sequence[str], names: Sequence[str], mended: Sequence[str]
) -> Trouble:
    single = len(missing) == 1
    return Trouble(
        f"the role{'' if single else 's'} {_listed(missing)} {'is' if single else 'are'} missing",
        where=where,
        why=f"{_listed(named)} {'needs' if len(named) == 1 else 'need'} {'it' if single else 'them'}, "
        f"and roles of the inventory names only {_listed(names)}",
        untouched=UNTOUCHED,
        hint=f"roles: [{', '.join(mended)}]; inv inventory --host {where} says where roles are written",
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

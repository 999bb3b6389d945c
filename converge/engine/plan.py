"""The plan: the ordered changes of a host. The only comparison of present and desired state is here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from converge.engine.dependencies import links
from converge.engine.probe import BEGUN
from converge.engine.resource import Action, Chain, Reading, Resource, State, Unknown
from converge.engine.role import Role
from converge.record import dataclass

if TYPE_CHECKING:
    from converge.inventory.hosts import Host

HELD = {Action.REFUSED, Action.UNKNOWN, Action.WAITING}
TODO = {Action.CREATE, Action.UPDATE, Action.REMOVE}


@dataclass(frozen=True)
class Change:
    """One resource, its present state and the action on it; `why` is the reason for an action that is not simply carried out."""

    role: str
    resource: Resource
    before: State | None
    action: Action
    why: str = ""
    hint: str = ""
    drift: bool = False
    disrupts: bool = False
    later: bool = False
    """True for what can only be read after this plan has started its service."""
    waits_for: str = ""
    """The address at the root of a wait: what is refused or unknown, or what this run leaves alone."""

    @property
    def address(self) -> str:
        return self.resource.address


@dataclass(frozen=True)
class Position:
    """The place of a resource in a chain of a role: behind all of these."""

    role: str
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class WantedResource:
    """A resource with the role that wants it first, what stands before it in its chain, and its other positions in chains."""

    role: str
    resource: Resource
    before: tuple[str, ...] = ()
    others: tuple[Position, ...] = ()

    @property
    def positions(self) -> tuple[Position, ...]:
        return (Position(self.role, self.before), *self.others)

    @property
    def after(self) -> tuple[str, ...]:
        """What stands directly before it, over all chains of all roles."""
        return tuple(dict.fromkeys(position.before[-1] for position in self.positions if position.before))

    def of(self, role: str) -> list[Position]:
        return [position for position in self.positions if position.role == role]


@dataclass
class Plan:
    """The changes of one host, in order; also those that change nothing, which are counted."""

    host: str
    changes: list[Change] = field(default_factory=list)
    beneath: list[Change] = field(default_factory=list)
    """What differs in roles that were only read, since a role that was asked for stands on them."""

    @property
    def todo(self) -> list[Change]:
        return [change for change in self.changes if change.action in TODO]

    @property
    def held(self) -> list[Change]:
        return [change for change in self.changes if change.action in HELD and not change.later]

    @property
    def refused(self) -> list[Change]:
        """The held changes, without those that only wait until the roles beneath are deployed."""
        pending = {change.address for change in self.beneath if change.action in TODO}
        return [change for change in self.held if change.waits_for not in pending]

    @property
    def later(self) -> list[Change]:
        return [change for change in self.changes if change.later]

    @property
    def in_sync(self) -> bool:
        return not self.todo and not self.held and not self.later

    def count(self, action: Action) -> int:
        return sum(change.action is action for change in self.changes)

    def of_role(self, role: str) -> list[Change]:
        return [change for change in self.changes if change.role == role]


def wanted(role: Role, host: Host[Any]) -> list[WantedResource]:
    """What a role yields for a host, each with its position in its chain."""
    wants: list[WantedResource] = []
    for item in role.wants(host):
        before: tuple[str, ...] = ()
        for resource in item if isinstance(item, Chain) else [item]:
            wants.append(WantedResource(role.name, resource, before))
            before = (*before, resource.address)
    return merged(wants)


def merged(wants: Iterable[WantedResource]) -> list[WantedResource]:
    """Each resource once, with all its positions."""
    by_address: dict[str, WantedResource] = {}
    for want in wants:
        first = by_address.setdefault(want.resource.address, want)
        if first is not want:
            others = [position for position in want.positions if position not in first.positions]
            by_address[want.resource.address] = replace(first, others=(*first.others, *others))
    return list(by_address.values())


def compare(want: WantedResource, reading: Reading, memory: dict[str, str], role: str = "") -> Change:
    """The change of one resource, regardless of what it stands on."""
    resource, role = want.resource, role or want.role
    if isinstance(reading, Unknown):
        return Change(role, resource, None, Action.UNKNOWN, why=reading.why, hint=reading.hint)
    after = resource.desired()
    if _same(reading, after):
        return Change(role, resource, reading, Action.NONE)
    refusal = resource.refusal(reading)
    if reading is None and _was_made(memory.get(resource.address, "")):
        refusal = refusal or resource.lost()
    if refusal:
        return Change(role, resource, reading, Action.REFUSED, why=refusal.why, hint=refusal.hint)
    action = Action.REMOVE if after is None else Action.CREATE if reading is None else Action.UPDATE
    drift = memory.get(resource.address, "").endswith(f" {resource.remembered()}")
    return Change(role, resource, reading, action, drift=drift, disrupts=resource.disrupts(reading))


def _was_made(remembered: str) -> bool:
    """Whether a deploy made it or saw it as it should be, and did not only begin it."""
    return bool(remembered) and not remembered.endswith(f" {BEGUN}")


def _same(before: State | None, after: State | None) -> bool:
    if before is None or after is None:
        return before is after
    return all(before.get(key) == value for key, value in after.items())


def make(
    host: str,
    roles: Sequence[Role],
    wants: Iterable[WantedResource],
    readings: dict[str, Reading],
    memory: dict[str, str],
    only: Collection[str] | None = None,
) -> Plan:
    """The plan of a host: every resource compared, then held back where what it stands on is held back.

    With `only`, the roles of these names are to be changed, and the others were read because those stand on them.
    """
    chosen = {role.name for role in roles} if only is None else {*only}
    made = _Making(roles, merged(wants), readings, memory, chosen)
    changes = made.walk()
    seen: set[str] = set()
    # A role may come before the role of a resource that it stands on: then walk once more, knowing what is held.
    while seen != made.roots.keys():
        seen = {*made.roots}
        changes = made.walk()
    return Plan(
        host,
        [change for change in changes if change.role in chosen],
        [change for change in changes if change.role not in chosen and change.action is not Action.NONE],
    )


class _Making:
    """A plan while it is made. `chosen` are the roles that are to be changed."""

    def __init__(
        self,
        roles: Sequence[Role],
        wants: Sequence[WantedResource],
        readings: dict[str, Reading],
        memory: dict[str, str],
        chosen: Collection[str],
    ) -> None:
        self.roles, self.readings, self.memory, self.chosen = roles, readings, memory, chosen
        self.links = links(want.resource for want in wants)
        self.of_role: dict[str, list[WantedResource]] = {}
        for want in wants:
            for name in dict.fromkeys(position.role for position in want.positions):
                self.of_role.setdefault(name, []).append(want)
        self.roots: dict[str, str] = {}
        """For each address that is held, or is well and stands on a held one: the address at the root of that."""
        self.left: set[str] = set()
        """Addresses of what is not there yet and belongs to a role that is not to be changed."""

    def walk(self) -> list[Change]:
        """Plan role by role; what an earlier walk has found to be held is held from the beginning."""
        self.planned: dict[str, Change] = {}
        self.todo: dict[str, Change] = {}
        self.held_roles: dict[str, str] = {}
        coming = [role.name for role in self.roles]
        for role in self.roles:
            coming.remove(role.name)
            beneath = beneath_of(role, self.roles)
            planned_beneath = [change for change in self.todo.values() if change.role in beneath]
            for want in self.of_role.get(role.name, ()):
                if want.resource.address in self.planned:
                    continue
                root = self._root(want, role)
                if not self._is_left_to(want, role, root, coming):
                    change = self._change(want, role, root, planned_beneath)
                    self.planned[change.address] = change
                    if change.action in TODO and role.name in self.chosen:
                        self.todo[change.address] = change
                    self._note(change, root)
        return list(self.planned.values())

    def _root(self, want: WantedResource, role: Role) -> str:
        """The address that holds a resource back: one that it stands on, or one before it in all chains of the role."""
        links = self.links[want.resource.address]
        stands = self._held(links) or self._left(links, role)
        blocker = next((self.held_roles[need] for need in role.needs if need in self.held_roles), "")
        blockers = [
            self._held(position.before) or self._left(position.before, role) or blocker
            for position in want.of(role.name)
        ]
        return stands or (blockers[0] if all(blockers) else "")

    def _held(self, addresses: Iterable[str]) -> str:
        return next((self.roots[address] for address in addresses if address in self.roots), "")

    def _left(self, addresses: Iterable[str], role: Role) -> str:
        return next((address for address in addresses if address in self.left), "") if role.name in self.chosen else ""

    def _is_left_to(self, want: WantedResource, role: Role, root: str, coming: Sequence[str]) -> bool:
        """Whether a later role wants the same, and has it in a chain of its own."""
        others = [position.role for position in want.positions if position.role in coming]
        if role.name not in self.chosen and any(name in self.chosen for name in others):
            return True
        return bool(root and others) and not self._held(self.links[want.resource.address])

    def _change(self, want: WantedResource, role: Role, root: str, beneath: Sequence[Change]) -> Change:
        reading = self.readings.get(want.resource.address, Unknown("it was not read"))
        change = compare(want, reading, self.memory, role.name)
        before = [address for position in want.of(role.name) for address in reversed(position.before)]
        near = [self.todo[address] for address in (*before, *self.links[change.address]) if address in self.todo]
        earlier = [*near, *beneath]
        if change.action is Action.NONE and any(
            change.resource.undone_by(other.resource, other.action is Action.CREATE) for other in earlier
        ):
            change = replace(change, action=Action.UPDATE, why="follows from a change before it", disrupts=True)
        if root and change.action in TODO | {Action.UNKNOWN}:
            why = f"waits for {root}" + (", which this run leaves alone" if root in self.left else "")
            return replace(change, action=Action.WAITING, why=why, hint="", waits_for=root)
        if isinstance(reading, Unknown) and not reading.lasting:
            return self._until_it_is_up(change, role) if want.resource.is_api() else _until_it_is_read(change, earlier)
        return change

    def _note(self, change: Change, root: str) -> None:
        """Record whether it is held, for those that stand on it."""
        address = change.address
        if change.later:
            return
        if change.action in HELD:
            self.roots[address] = change.waits_for or address
            if change.resource.holds_back:
                self.held_roles.setdefault(change.role, self.roots[address])
        elif root and self._held(self.links[address]):
            self.roots[address] = root
        elif change.action is Action.CREATE and change.role not in self.chosen:
            self.left.add(address)

    def _until_it_is_up(self, change: Change, role: Role) -> Change:
        """The change for an API that does not answer because this plan makes or changes its service.

        It is new only where all of its service is, and where nothing beneath it was there before: drives may hold data.
        """
        changes = self.planned.values()
        direct = [other for other in changes if other.role in (*role.needs, *role.after)]
        made = {other.role for other in changes if other.action is Action.CREATE}
        present = {other.role for other in changes}
        if (
            direct
            and all(other.action is Action.CREATE for other in direct)
            and all(name in made for name in beneath_of(role, self.roles) if name in present)
        ):
            return replace(change, action=Action.CREATE, why="")
        if any(other.action in TODO for other in direct):
            return replace(change, action=Action.WAITING, why="is read once its service is up", later=True)
        return change


def beneath_of(role: Role, roles: Sequence[Role]) -> list[str]:
    """The roles that a role stands on, its own needs first."""
    known = {each.name: each for each in roles}
    names = [*role.needs, *role.after]
    for name in names:
        if each := known.get(name):
            names += [need for need in (*each.needs, *each.after) if need not in names]
    return names


def _until_it_is_read(change: Change, earlier: Sequence[Change]) -> Change:
    """The change for what the host could not tell because of something that this plan changes first: Docker is down, say."""
    if not earlier:
        return change
    return replace(change, action=Action.WAITING, why=f"is read after {earlier[0].address}", hint="", later=True)

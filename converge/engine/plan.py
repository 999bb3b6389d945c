"""The plan: the ordered changes of a host. The one comparison of what is with what should be stands here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from converge.engine.dependencies import links
from converge.engine.probe import BEGUN
from converge.engine.resource import Action, Chain, Reading, Resource, State, Unknown
from converge.engine.role import Role

HELD = {Action.REFUSED, Action.UNKNOWN, Action.WAITING}
TODO = {Action.CREATE, Action.UPDATE, Action.REMOVE}


@dataclass(frozen=True)
class Change:
    """One resource, what is, and what is to be done about it; `why` says it for all that is not simply done."""

    role: str
    resource: Resource
    before: State | None
    action: Action
    why: str = ""
    hint: str = ""
    drift: bool = False
    disrupts: bool = False
    later: bool = False
    """It can only be read once this very plan has brought its service up."""
    waits_for: str = ""
    """The address at the root of a wait: what is refused or unknown, or what this run leaves alone."""

    @property
    def address(self) -> str:
        return self.resource.address


@dataclass(frozen=True)
class Way:
    """How a role comes to want a resource: behind all of these in its chain."""

    role: str
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """A resource with the role that wants it first, what stands before it in its chain, and the other ways that lead to it."""

    role: str
    resource: Resource
    before: tuple[str, ...] = ()
    others: tuple[Way, ...] = ()

    @property
    def ways(self) -> tuple[Way, ...]:
        return (Way(self.role, self.before), *self.others)

    @property
    def after(self) -> tuple[str, ...]:
        """What stands directly before it, over all chains of all roles."""
        return tuple(dict.fromkeys(way.before[-1] for way in self.ways if way.before))

    def of(self, role: str) -> list[Way]:
        return [way for way in self.ways if way.role == role]


@dataclass
class Plan:
    """The changes of one host, in order; also those that change nothing, which are counted."""

    host: str
    changes: list[Change] = field(default_factory=list)
    beneath: list[Change] = field(default_factory=list)
    """What differs in roles that were only read, since a role that was asked for stands on them."""

    @property
    def todo(self) -> list[Change]:
        return [one for one in self.changes if one.action in TODO]

    @property
    def held(self) -> list[Change]:
        return [one for one in self.changes if one.action in HELD and not one.later]

    @property
    def refused(self) -> list[Change]:
        """What is held, but for what only waits until the roles beneath are deployed."""
        pending = {one.address for one in self.beneath if one.action in TODO}
        return [one for one in self.held if one.waits_for not in pending]

    @property
    def later(self) -> list[Change]:
        return [one for one in self.changes if one.later]

    @property
    def in_sync(self) -> bool:
        return not self.todo and not self.held and not self.later

    def count(self, action: Action) -> int:
        return sum(one.action is action for one in self.changes)

    def of_role(self, role: str) -> list[Change]:
        return [one for one in self.changes if one.role == role]


def wanted(role: Role, host: object) -> list[Wanted]:
    """What a role yields for a host, each with the ways by which it comes to it."""
    found: list[Wanted] = []
    for one in role.wants(host):
        before: tuple[str, ...] = ()
        for resource in one if isinstance(one, Chain) else [one]:
            found.append(Wanted(role.name, resource, before))
            before = (*before, resource.address)
    return merged(found)


def merged(wants: Iterable[Wanted]) -> list[Wanted]:
    """Each resource once, with all ways that lead to it."""
    found: dict[str, Wanted] = {}
    for one in wants:
        first = found.setdefault(one.resource.address, one)
        if first is not one:
            others = [way for way in one.ways if way not in first.ways]
            found[one.resource.address] = replace(first, others=(*first.others, *others))
    return list(found.values())


def compare(one: Wanted, reading: Reading, memory: dict[str, str], role: str = "") -> Change:
    """What is to be done about one resource, were it alone."""
    resource, role = one.resource, role or one.role
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


def _was_made(told: str) -> bool:
    """Whether a deploy made it, or saw it as it should be: more than that it was begun."""
    return bool(told) and not told.endswith(f" {BEGUN}")


def _same(before: State | None, after: State | None) -> bool:
    if before is None or after is None:
        return before is after
    return all(before.get(key) == value for key, value in after.items())


def make(
    host: str,
    roles: Sequence[Role],
    wants: Iterable[Wanted],
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
    # A role may stand before one whose resource it stands on: then once more, with what is held.
    while seen != made.roots.keys():
        seen = {*made.roots}
        changes = made.walk()
    return Plan(
        host,
        [one for one in changes if one.role in chosen],
        [one for one in changes if one.role not in chosen and one.action is not Action.NONE],
    )


class _Making:
    """A plan while it is made. `chosen` are the roles that are to be changed."""

    def __init__(
        self,
        roles: Sequence[Role],
        wants: Sequence[Wanted],
        readings: dict[str, Reading],
        memory: dict[str, str],
        chosen: Collection[str],
    ) -> None:
        self.roles, self.readings, self.memory, self.chosen = roles, readings, memory, chosen
        self.links = links(one.resource for one in wants)
        self.of_role: dict[str, list[Wanted]] = {}
        for one in wants:
            for name in dict.fromkeys(way.role for way in one.ways):
                self.of_role.setdefault(name, []).append(one)
        self.roots: dict[str, str] = {}
        """What is held, or well and stands on what is held, with the address at the root of that."""
        self.left: set[str] = set()
        """What is not there yet and is of a role that is not to be changed."""

    def walk(self) -> list[Change]:
        """Plan role by role; what an earlier walk has found to be held is held from the beginning."""
        self.planned: dict[str, Change] = {}
        self.todo: dict[str, Change] = {}
        self.held_roles: dict[str, str] = {}
        coming = [role.name for role in self.roles]
        for role in self.roles:
            coming.remove(role.name)
            beneath = beneath_of(role, self.roles)
            there = [one for one in self.todo.values() if one.role in beneath]
            for one in self.of_role.get(role.name, ()):
                if one.resource.address in self.planned:
                    continue
                root = self._root(one, role)
                if not self._is_left_to(one, role, root, coming):
                    change = self._change(one, role, root, there)
                    self.planned[change.address] = change
                    if change.action in TODO and role.name in self.chosen:
                        self.todo[change.address] = change
                    self._note(change, root)
        return list(self.planned.values())

    def _root(self, one: Wanted, role: Role) -> str:
        """What holds a resource back: what it stands on, or all ways by which the role wants it."""
        links = self.links[one.resource.address]
        stands = self._held(links) or self._left(links, role)
        blocker = next((self.held_roles[need] for need in role.needs if need in self.held_roles), "")
        ways = [self._held(way.before) or self._left(way.before, role) or blocker for way in one.of(role.name)]
        return stands or (ways[0] if all(ways) else "")

    def _held(self, addresses: Iterable[str]) -> str:
        return next((self.roots[address] for address in addresses if address in self.roots), "")

    def _left(self, addresses: Iterable[str], role: Role) -> str:
        return next((one for one in addresses if one in self.left), "") if role.name in self.chosen else ""

    def _is_left_to(self, one: Wanted, role: Role, root: str, coming: Sequence[str]) -> bool:
        """Whether a later role wants the same, and comes to it by a way of its own."""
        others = [way.role for way in one.ways if way.role in coming]
        if role.name not in self.chosen and any(name in self.chosen for name in others):
            return True
        return bool(root and others) and not self._held(self.links[one.resource.address])

    def _change(self, one: Wanted, role: Role, root: str, beneath: Sequence[Change]) -> Change:
        reading = self.readings.get(one.resource.address, Unknown("it was not read"))
        change = compare(one, reading, self.memory, role.name)
        before = [address for way in one.of(role.name) for address in reversed(way.before)]
        near = [self.todo[address] for address in (*before, *self.links[change.address]) if address in self.todo]
        earlier = [*near, *beneath]
        if change.action is Action.NONE and any(
            change.resource.undone_by(two.resource, two.action is Action.CREATE) for two in earlier
        ):
            change = replace(change, action=Action.UPDATE, why="follows from a change before it", disrupts=True)
        if root and change.action in TODO | {Action.UNKNOWN}:
            why = f"waits for {root}" + (", which this run leaves alone" if root in self.left else "")
            return replace(change, action=Action.WAITING, why=why, hint="", waits_for=root)
        if isinstance(reading, Unknown) and not reading.lasting:
            return self._until_it_is_up(change, role) if one.resource.is_api() else _until_it_is_read(change, earlier)
        return change

    def _note(self, change: Change, root: str) -> None:
        """Keep for those that stand on it whether it is held."""
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
        """An API that does not answer, because what it belongs to is made or changed by this very plan.

        It is new only where all of its service is, and where nothing beneath it was there before: drives may hold data.
        """
        changes = self.planned.values()
        direct = [one for one in changes if one.role in (*role.needs, *role.after)]
        made = {one.role for one in changes if one.action is Action.CREATE}
        there = {one.role for one in changes}
        if (
            direct
            and all(one.action is Action.CREATE for one in direct)
            and all(name in made for name in beneath_of(role, self.roles) if name in there)
        ):
            return replace(change, action=Action.CREATE, why="")
        if any(one.action in TODO for one in direct):
            return replace(change, action=Action.WAITING, why="is read once its service is up", later=True)
        return change


def beneath_of(role: Role, roles: Sequence[Role]) -> list[str]:
    """The roles that a role stands on, its own needs first."""
    known = {one.name: one for one in roles}
    found = [*role.needs, *role.after]
    for name in found:
        if one := known.get(name):
            found += [need for need in (*one.needs, *one.after) if need not in found]
    return found


def _until_it_is_read(change: Change, earlier: Sequence[Change]) -> Change:
    """What the host could not tell, where this very plan first changes what stands before it: Docker is down, and is started."""
    if not earlier:
        return change
    return replace(change, action=Action.WAITING, why=f"is read after {earlier[0].address}", hint="", later=True)

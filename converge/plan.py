"""The plan: the ordered changes of a host. The one comparison of what is with what should be stands here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from converge.probe import BEGUN
from converge.resource import Action, Chain, Reading, Resource, State, Unknown
from converge.role import Role

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

    @property
    def address(self) -> str:
        return self.resource.address


@dataclass(frozen=True)
class Wanted:
    """A resource with the role that wants it and the resource that must stand before it."""

    role: str
    resource: Resource
    after: str | None = None


@dataclass
class Plan:
    """The changes of one host, in order; also those that change nothing, which are counted."""

    host: str
    changes: list[Change] = field(default_factory=list)

    @property
    def todo(self) -> list[Change]:
        return [one for one in self.changes if one.action in TODO]

    @property
    def held(self) -> list[Change]:
        return [one for one in self.changes if one.action in HELD and not one.later]

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
    """What a role yields for a host, flat, each with its predecessor in its chain."""
    found: list[Wanted] = []
    for one in role.wants(host):
        before: str | None = None
        for resource in one if isinstance(one, Chain) else [one]:
            found.append(Wanted(role.name, resource, before))
            before = resource.address
    return found


def compare(one: Wanted, reading: Reading, memory: dict[str, str]) -> Change:
    """What is to be done about one resource, were it alone."""
    resource = one.resource
    if isinstance(reading, Unknown):
        return Change(one.role, resource, None, Action.UNKNOWN, why=reading.why, hint=reading.hint)
    after = resource.desired()
    if _same(reading, after):
        return Change(one.role, resource, reading, Action.NONE)
    refusal = resource.refusal(reading)
    if reading is None and _was_made(memory.get(resource.address, "")):
        refusal = refusal or resource.lost()
    if refusal:
        return Change(one.role, resource, reading, Action.REFUSED, why=refusal.why, hint=refusal.hint)
    action = Action.REMOVE if after is None else Action.CREATE if reading is None else Action.UPDATE
    drift = memory.get(resource.address, "").endswith(f" {resource.remembered()}")
    return Change(one.role, resource, reading, action, drift=drift, disrupts=resource.disrupts(reading))


def _was_made(told: str) -> bool:
    """Whether a deploy made it, or saw it as it should be: more than that it was begun."""
    return bool(told) and not told.endswith(f" {BEGUN}")


def _same(before: State | None, after: State | None) -> bool:
    if before is None or after is None:
        return before is after
    return all(before.get(key) == value for key, value in after.items())


def make(
    host: str, roles: Sequence[Role], wants: Sequence[Wanted], readings: dict[str, Reading], memory: dict[str, str]
) -> Plan:
    """The plan of a host: every resource compared, then held back where what it needs is held back."""
    plan = Plan(host)
    held: dict[str, Change] = {}
    held_roles: dict[str, Change] = {}
    for role in roles:
        beneath = _beneath(role, roles)
        blocker = next((held_roles[need] for need in role.needs if need in held_roles), None)
        for one in (want for want in wants if want.role == role.name):
            reading = readings.get(one.resource.address, Unknown("it was not read"))
            change = compare(one, reading, memory)
            earlier = [*_before(one, wants, plan), *(two for two in plan.todo if two.role in beneath)]
            if change.action is Action.NONE and any(
                change.resource.undone_by(two.resource, two.action is Action.CREATE) for two in earlier
            ):
                change = replace(change, action=Action.UPDATE, why="follows from a change before it", disrupts=True)
            if isinstance(reading, Unknown) and not reading.lasting:
                is_api = one.resource.is_api()
                change = (
                    _until_it_is_up(change, role.needs, beneath, plan) if is_api else _until_it_is_read(change, earlier)
                )
            cause = held.get(one.after or "") or blocker
            if cause and change.action in TODO | {Action.UNKNOWN}:
                change = replace(change, action=Action.WAITING, why=f"waits for {_root(cause, held).address}", hint="")
            if change.later:
                plan.changes.append(change)
                continue
            if change.action in HELD or (cause and one.after in held):
                held[change.address] = change if change.action in HELD else held[one.after or ""]
            if change.action in HELD:
                held_roles.setdefault(role.name, change)
            plan.changes.append(change)
    return plan


def _beneath(role: Role, roles: Sequence[Role]) -> list[str]:
    """The roles that a role stands on, its own needs first."""
    found = list(role.needs)
    for name in found:
        found += [need for one in roles if one.name == name for need in one.needs if need not in found]
    return found


def _until_it_is_up(change: Change, needs: Sequence[str], beneath: Sequence[str], plan: Plan) -> Change:
    """An API that does not answer, because what it belongs to is made or changed by this very plan.

    It is new only where all of its service is, and where nothing beneath it was there before: drives may hold data.
    """
    direct = [one for one in plan.changes if one.role in needs]
    made = {one.role for one in plan.changes if one.action is Action.CREATE}
    there = {one.role for one in plan.changes}
    if (
        direct
        and all(one.action is Action.CREATE for one in direct)
        and all(name in made for name in beneath if name in there)
    ):
        return replace(change, action=Action.CREATE, why="")
    if any(one.action in TODO for one in direct):
        return replace(change, action=Action.WAITING, why="is read once its service is up", later=True)
    return change


def _until_it_is_read(change: Change, earlier: Sequence[Change]) -> Change:
    """What the host could not tell, where this very plan first changes what stands before it: Docker is down, and is started."""
    if not earlier:
        return change
    return replace(change, action=Action.WAITING, why=f"is read after {earlier[0].address}", hint="", later=True)


def _before(one: Wanted, wants: Sequence[Wanted], plan: Plan) -> list[Change]:
    """The changes that will be made to what stands before a resource in its chain."""
    by_address, made = {two.resource.address: two for two in wants}, {two.address: two for two in plan.changes}
    found: list[Change] = []
    while one.after and one.after in made:
        found.append(made[one.after])
        one = by_address[one.after]
    return [two for two in found if two.action in TODO]


def _root(cause: Change, held: dict[str, Change]) -> Change:
    """The refused or unknown resource at the beginning of a line of waiting ones."""
    while cause.action is Action.WAITING:
        cause = held[cause.why.removeprefix("waits for ")]
    return cause

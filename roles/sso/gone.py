"""People, groups and clients of the realm that the settings no longer name: removed, unless somebody else needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Call, Leftover, Reading, Refusal, State, Step
from converge.record import dataclass
from roles.sso.api import MOST, Api, Session
from roles.sso.client_kind import Client, find_client
from roles.sso.people_kinds import Group, User, find_person, groups

if TYPE_CHECKING:
    from converge.ssh.link import Link

PLACES = {User.kind: "users", Group.kind: "groups", Client.kind: "clients"}
"""Where Keycloak has each kind, in the order of removal: people before their groups."""


@dataclass(frozen=True)
class Gone(Leftover):
    """Something of the realm that the settings no longer name. A group stays while somebody is in it whom they do not name."""

    kind: ClassVar[str] = "sso-gone"
    api: Api = field(repr=False)
    was: str
    called: str
    users: frozenset[str] = frozenset()
    """The people of the inventory: they leave the group before it is removed."""
    asks: str = ""
    """The client of the settings by which MinIO asks for people."""

    @property
    def removed_last(self) -> int:
        return [*PLACES].index(self.was)

    def stands_on(self) -> list[str]:
        return [f"{User.kind}:{name}" for name in sorted(self.users)] if self.was == Group.kind else []

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Gone]) -> list[Reading]:
        session = wanted[0].api.session(link)
        leaving = {gone.called.lower() for gone in wanted if gone.was == User.kind}
        return [gone._state(session, leaving) for gone in wanted]

    def _state(self, session: Session, leaving: set[str]) -> Reading:
        there = self._there(session)
        if there is None:
            return None
        if self.was != Group.kind:
            return {"keeps": ""}
        released = leaving | {name.lower() for name in self.users}
        place = f"/groups/{there['id']}"
        members = [user["username"] for user in session.get(f"{place}/members", max=MOST) or []]
        within = [group["name"] for group in session.get(f"{place}/children", max=MOST) or []]
        others = [f"user {name}" for name in sorted({*members} - released)]
        return {"keeps": ", ".join([*others, *(f"group {name}" for name in sorted(within))])}

    def _there(self, session: Session) -> dict[str, Any] | None:
        if self.was == User.kind:
            return find_person(session, self.called)
        return groups(session).get(self.called) if self.was == Group.kind else find_client(session, self.called)

    def note(self, before: State | None) -> str:
        return "with their password; keys of MinIO that they made stay" if self.was == User.kind else ""

    def refusal(self, before: State | None) -> Refusal | None:
        if before and self.called == self.asks and self.was == Client.kind:
            return Refusal(
                "MinIO logs people in with it: minio.openid.client",
                "name it in sso.clients again, or another in minio.openid.client",
            )
        if before and before["keeps"]:
            return Refusal(
                f"{before['keeps'].split(', ')[0]} is in it, which the inventory does not name",
                "name it in sso.groups again, or take out of it in Keycloak whoever is in it",
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        return [Call(partial(_remove, self))]


def _remove(gone: Gone, link: Link) -> None:
    session = gone.api.session(link)
    if there := gone._there(session):
        session.change("DELETE", f"/{PLACES[gone.was]}/{there['id']}", missing_ok=True)

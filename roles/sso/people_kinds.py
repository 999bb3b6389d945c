"""Groups of the realm, and the people in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Call, Reading, Resource, State, Step, Unknown
from converge.record import dataclass
from roles.sso.api import MOST, Api, Session
from roles.sso.realm_kinds import Claim, Realm, word

if TYPE_CHECKING:
    from converge.ssh.link import Link
    from roles.sso import settings as model


def _claims(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {', '.join(sorted(texts))}" for name, texts in sorted(values.items()) if texts)


@dataclass(frozen=True)
class Group(Resource):
    """A group with exactly these claims."""

    kind: ClassVar[str] = "sso-group"
    api: Api = field(repr=False)
    settings: model.SsoGroup

    @property
    def name(self) -> str:
        return str(self.settings.name)

    def desired(self) -> State:
        return {"claims": _claims(self.settings.claims)}

    def stands_on(self) -> list[str]:
        return [f"{Realm.kind}:{self.api.realm}", *(f"{Claim.kind}:{claim}" for claim in self.settings.claims)]

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Group]) -> list[Reading]:
        known = groups(wanted[0].api.session(link))
        return [
            None if (there := known.get(group.name)) is None else {"claims": _claims(there.get("attributes") or {})}
            for group in wanted
        ]

    def fix(self, before: State | None) -> list[Step]:
        return [Call(partial(_make_group, self))]


def groups(session: Session) -> dict[str, dict[str, Any]]:
    """The top-level groups of the realm by their names."""
    answer = session.get("/groups", briefRepresentation="false", max=MOST) or []
    return {group["name"]: group for group in answer}


def _make_group(group: Group, link: Link) -> None:
    session = group.api.session(link)
    body = {"name": group.name, "attributes": {name: list(values) for name, values in group.settings.claims.items()}}
    there = groups(session).get(group.name)
    if there is None:
        session.change("POST", "/groups", body)
    else:
        session.change("PUT", f"/groups/{there['id']}", body)


@dataclass(frozen=True)
class User(Resource):
    """Somebody who logs in, with exactly these groups and claims. Their password is only given when they are made."""

    kind: ClassVar[str] = "sso-user"
    api: Api = field(repr=False)
    settings: model.SsoUser

    @property
    def name(self) -> str:
        return str(self.settings.name)

    @property
    def _email(self) -> str:
        """As Keycloak stores it."""
        return str(self.settings.email.lower())

    def desired(self) -> State:
        return {
            "enabled": "yes",
            "email": self._email,
            "first name": self.settings.first_name,
            "last name": self.settings.last_name,
            "groups": ", ".join(sorted(self.settings.groups)),
            "claims": _claims(self.settings.claims),
        }

    def stands_on(self) -> list[str]:
        realm = f"{Realm.kind}:{self.api.realm}"
        above = [f"{Group.kind}:{group}" for group in self.settings.groups]
        return [realm, *above, *(f"{Claim.kind}:{claim}" for claim in self.settings.claims)]

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[User]) -> list[Reading]:
        session = wanted[0].api.session(link)
        return [user._state(session) for user in wanted]

    def _state(self, session: Session) -> Reading:
        answer = find_person(session, self.name)
        if holder := self._holder_of_address(session, answer):
            return Unknown(
                f"in Keycloak {holder} has the address {self._email}, and no two may",
                f"if this deploy removes {holder}: the same deploy again; if not: another email for one of them",
                lasting=True,
            )
        if answer is None:
            return None
        within = session.get(f"/users/{answer['id']}/groups", max=MOST) or []
        return {
            "enabled": word(answer.get("enabled", False)),
            "email": answer.get("email") or "",
            "first name": answer.get("firstName") or "",
            "last name": answer.get("lastName") or "",
            # a group within another has its whole path
            "groups": ", ".join(sorted(group["path"].removeprefix("/") for group in within)),
            "claims": _claims(answer.get("attributes") or {}),
        }

    def _holder_of_address(self, session: Session, answer: Mapping[str, Any] | None) -> str:
        """Somebody else who has the address of this person."""
        if ((answer or {}).get("email") or "") == self._email:
            return ""
        users = session.get("/users", email=self._email, exact="true") or []
        others = (user["username"] for user in users if user.get("email") == self._email)
        return next((name for name in others if name != self.name.lower()), "")

    def note(self, before: State | None) -> str:
        addition = "" if self.settings.keep_password else ", and must choose another at the first login"
        return f"gets the first password{addition}" if before is None else ""

    def fix(self, before: State | None) -> list[Step]:
        return [Call(partial(_make_user, self))]


def find_person(session: Session, name: str) -> dict[str, Any] | None:
    """Somebody of the realm by their name."""
    answer = session.get("/users", username=name, exact="true", briefRepresentation="false") or []
    return next((user for user in answer if user["username"] == name.lower()), None)


def _make_user(user: User, link: Link) -> None:
    session, settings = user.api.session(link), user.settings
    body = {
        "username": user.name,
        "enabled": True,
        "email": settings.email,
        "emailVerified": True,
        "firstName": settings.first_name,
        "lastName": settings.last_name,
        "attributes": {name: list(values) for name, values in settings.claims.items()},
    }
    answer = find_person(session, user.name)
    if answer is None:
        first = {"type": "password", "value": settings.password.reveal(), "temporary": not settings.keep_password}
        session.change("POST", "/users", {**body, "credentials": [first]})
        answer = find_person(session, user.name)
    else:
        session.change("PUT", f"/users/{answer['id']}", body)
    assert answer
    place, known = f"/users/{answer['id']}/groups", groups(session)
    have = {group["path"].removeprefix("/"): group["id"] for group in session.get(place, max=MOST) or []}
    for name in sorted(set(settings.groups) - set(have)):
        session.change("PUT", f"{place}/{known[name]['id']}")
    for name in sorted(set(have) - set(settings.groups)):
        session.change("DELETE", f"{place}/{have[name]}")

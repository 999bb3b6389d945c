"""The realm itself, and its claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.probe import forgetting
from converge.engine.resource import Call, Reading, Refusal, Resource, State, Step
from converge.record import dataclass
from roles.sso.api import Api, Session

if TYPE_CHECKING:
    from converge.ssh.link import Link

RULES: dict[str, Any] = {
    "enabled": True,
    # Only administrators add users, and wrong passwords lock a user for a while.
    "registrationAllowed": False,
    "bruteForceProtected": True,
    "accessTokenLifespan": 900,
    # The edge decides about TLS: Keycloak may take the address of a container for one of the internet.
    "sslRequired": "none",
}


def word(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Realm(Resource):
    """A realm of Keycloak, with the rules for every login."""

    kind: ClassVar[str] = "realm"
    api: Api = field(repr=False)
    title: str

    @property
    def name(self) -> str:
        return self.api.realm

    @property
    def _rules(self) -> dict[str, Any]:
        return {**RULES, "displayName": self.title or self.name}

    @property
    def _attributes(self) -> dict[str, str]:
        """With an address of its own the realm would issue its tokens under another name, which no program expects."""
        return {"frontendUrl": ""}

    def desired(self) -> State:
        return {**{key: word(value) for key, value in self._rules.items()}, **self._attributes}

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Realm]) -> list[Reading]:
        return [realm._state(realm.api.session(link).get("")) for realm in wanted]

    def _state(self, answer: Any) -> Reading:
        if answer is None:
            return None
        attributes = answer.get("attributes") or {}
        return {
            **{key: word(answer.get(key, "")) for key in self._rules},
            **{key: attributes.get(key) or "" for key in self._attributes},
        }

    def lost(self) -> Refusal:
        return Refusal(
            "this host had it, with its people and their passwords, and now there is none of that name",
            "bring Keycloak's database back: inv restore latest --database NAME; or, to begin with the people of the "
            f"inventory alone, on the host: {forgetting(self.address)}",
        )

    def fix(self, before: State | None) -> list[Step]:
        return [Call(lambda link: self._make(self.api.session(link)))]

    def _make(self, session: Session) -> None:
        there = session.get("")
        if there is None:
            session.change("POST", "//realms", {"realm": self.name, **self._rules})
        else:
            # Keycloak takes away the attributes that a change leaves out.
            attributes = {**(there.get("attributes") or {}), **self._attributes}
            session.change("PUT", "", {**self._rules, "attributes": attributes})


@dataclass(frozen=True)
class Claim(Resource):
    """An attribute of users that only administrators see and change. Keycloak silently drops values of undeclared attributes."""

    kind: ClassVar[str] = "claim"
    api: Api = field(repr=False)
    claim: str

    @property
    def name(self) -> str:
        return self.claim

    def desired(self) -> State:
        return {"values": "many", "seen by": "admin", "changed by": "admin"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"{Realm.kind}:{self.api.realm}",)

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Claim]) -> list[Reading]:
        profile = wanted[0].api.session(link).get("/users/profile") or {}
        known = {attribute["name"]: attribute for attribute in profile.get("attributes") or []}
        return [claim._state(known.get(claim.name)) for claim in wanted]

    def _state(self, answer: Any) -> Reading:
        if answer is None:
            return None
        may = answer.get("permissions") or {}
        return {
            "values": "many" if answer.get("multivalued") else "one",
            "seen by": ", ".join(sorted(may.get("view") or [])),
            "changed by": ", ".join(sorted(may.get("edit") or [])),
        }

    def fix(self, before: State | None) -> list[Step]:
        return [Call(partial(_declare, self))]


def _declare(claim: Claim, link: Link) -> None:
    session = claim.api.session(link)
    profile = session.get("/users/profile")
    ours = {
        "name": claim.name,
        "displayName": claim.name,
        "multivalued": True,
        "permissions": {"view": ["admin"], "edit": ["admin"]},
    }
    others = [attribute for attribute in profile.get("attributes") or [] if attribute["name"] != claim.name]
    session.change("PUT", "/users/profile", {**profile, "attributes": [*others, ours]})

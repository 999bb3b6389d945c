"""A client of the realm: a program that sends people to Keycloak to log in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Call, Reading, Resource, State, Step
from converge.inventory.secret import Secret
from roles.minio.accounts import fingerprint
from roles.sso.api import Api, Session
from roles.sso.realm_kinds import Claim, Realm, word

if TYPE_CHECKING:
    from converge.ssh.link import Link
    from roles.sso import settings as model

FLOWS = {
    "standardFlowEnabled": True,
    "implicitFlowEnabled": False,
    "directAccessGrantsEnabled": False,
    "serviceAccountsEnabled": False,
}
BUILT_IN = ("acr", "basic", "roles", "web-origins")
"""Scopes that Keycloak gives to every client, and without which tokens lack what every program expects."""


def mapper(claim: str) -> dict[str, Any]:
    """How the values of an attribute, and those of all groups, get into the tokens as a claim of its name."""
    config = {
        "user.attribute": claim,
        "claim.name": claim,
        "jsonType.label": "String",
        "multivalued": "true",
        "aggregate.attrs": "true",
        "id.token.claim": "true",
        "access.token.claim": "true",
        "userinfo.token.claim": "true",
    }
    return {
        "name": claim,
        "protocol": "openid-connect",
        "protocolMapper": "oidc-usermodel-attribute-mapper",
        "config": config,
    }


@dataclass(frozen=True)
class Client(Resource):
    """A confidential client with exactly these addresses to return to, scopes and claims; all other ways in are shut."""

    kind: ClassVar[str] = "sso-client"
    api: Api = field(repr=False)
    called: str
    secret: Secret
    redirects: tuple[str, ...]
    scopes: tuple[str, ...]
    claims: tuple[str, ...]

    @classmethod
    def of(cls, api: Api, settings: model.SsoClient, url: str) -> Client:
        redirects = tuple(f"{url}{one}" if one.startswith("/") else one for one in settings.redirects)
        return cls(api, settings.name, settings.secret, redirects, tuple(settings.scopes), tuple(settings.claims))

    @property
    def name(self) -> str:
        return self.called

    @property
    def body(self) -> dict[str, Any]:
        """Always whole: what a change leaves out Keycloak fills in, origins from the addresses, say."""
        return {
            "clientId": self.called,
            "enabled": True,
            "protocol": "openid-connect",
            "publicClient": False,
            "clientAuthenticatorType": "client-secret",
            "secret": self.secret.reveal(),
            "redirectUris": list(self.redirects),
            "webOrigins": [],
            **FLOWS,
        }

    def desired(self) -> State:
        return {
            "enabled": "yes",
            "confidential": "yes",
            "secret": fingerprint(self.secret),
            "redirects": _lines(self.redirects),
            "origins": "",
            **{key: word(value) for key, value in FLOWS.items()},
            "scopes": _lines((*BUILT_IN, *self.scopes)),
            "claims": _lines(self.claims),
        }

    def stands_on(self) -> list[str]:
        return [f"{Realm.kind}:{self.api.realm}", *(f"{Claim.kind}:{claim}" for claim in self.claims)]

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Client]) -> list[Reading]:
        session = wanted[0].api.session(link)
        return [one._state(_found(session, one.name)) for one in wanted]

    def _state(self, found: Mapping[str, Any] | None) -> Reading:
        if found is None:
            return None
        return {
            "enabled": word(found.get("enabled", False)),
            "confidential": word(not found.get("publicClient")),
            "secret": fingerprint(Secret(found.get("secret") or "")),
            "redirects": _lines(found.get("redirectUris") or ()),
            "origins": _lines(found.get("webOrigins") or ()),
            **{key: word(found.get(key, False)) for key in FLOWS},
            "scopes": _lines(found.get("defaultClientScopes") or ()),
            "claims": _lines(_told(one) for one in found.get("protocolMappers") or ()),
        }

    def diff(self, before: State | None) -> list[str]:
        return ["secret: changed, hidden" if line.startswith("secret:") else line for line in super().diff(before)]

    def fix(self, before: State | None) -> list[Step]:
        return [Call(partial(_make, self))]


def _lines(values: Any) -> str:
    return ", ".join(sorted(values))


def _told(found: Mapping[str, Any]) -> str:
    """A claim by its name where it is made as it should be; by what it is called where not."""
    ours = mapper(found["name"])
    same = found.get("protocolMapper") == ours["protocolMapper"] and _covers(found.get("config") or {}, ours["config"])
    return str(found["name"]) if same else f"{found['name']} (made otherwise)"


def _covers(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(found.get(key) == value for key, value in wanted.items())


def _found(session: Session, name: str) -> dict[str, Any] | None:
    return next((one for one in session.get("/clients", clientId=name) or [] if one["clientId"] == name), None)


def _make(client: Client, link: Link) -> None:
    session = client.api.session(link)
    found = _found(session, client.name)
    if found is None:
        session.change("POST", "/clients", client.body)
        found = _found(session, client.name)
    else:
        session.change("PUT", f"/clients/{found['id']}", client.body)
    assert found
    place = f"/clients/{found['id']}"
    for one in found.get("protocolMappers") or []:
        if _told(one) not in client.claims:
            session.change("DELETE", f"{place}/protocol-mappers/models/{one['id']}")
    have = {_told(one) for one in found.get("protocolMappers") or []}
    for claim in client.claims:
        if claim not in have:
            session.change("POST", f"{place}/protocol-mappers/models", mapper(claim))
    _scope(session, place, set(found.get("defaultClientScopes") or []), {*BUILT_IN, *client.scopes})


def _scope(session: Session, place: str, have: set[str], want: set[str]) -> None:
    if have == want:
        return
    known = {one["name"]: one["id"] for one in session.get("/client-scopes") or []}
    for name in sorted(have - want):
        session.change("DELETE", f"{place}/default-client-scopes/{known[name]}")
    for name in sorted(want - have):
        # One that is optional cannot be a default one as well.
        session.change("DELETE", f"{place}/optional-client-scopes/{known[name]}")
        session.change("PUT", f"{place}/default-client-scopes/{known[name]}")

"""A client of the realm: a program that sends people to Keycloak to log in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Call, Reading, Resource, State, Step
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.record import dataclass
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
RULES: dict[str, Any] = {
    **FLOWS,
    "protocol": "openid-connect",
    "clientAuthenticatorType": "client-secret",
    "bearerOnly": False,
    "consentRequired": False,
}
"""Each of them, changed by hand, ends all logins with this client or opens another way to log in."""
OWN_FLOWS = ("browser", "direct_grant")
"""The flows of the realm that a client may replace by others: such as one that asks for no password."""
PKCE = "pkce.code.challenge.method"
"""An attribute with which Keycloak demands of the client what MinIO does not give."""
BUILT_IN = ("acr", "basic", "roles", "web-origins")
"""Scopes that Keycloak gives to every client; without them tokens lack claims that every program expects."""


def mapper(claim: str) -> dict[str, Any]:
    """The protocol mapper that puts an attribute of the user and of all their groups into the tokens, as a claim of the same name."""
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
    """A confidential client with exactly these redirect addresses, scopes and claims; all other login flows are off."""

    kind: ClassVar[str] = "sso-client"
    api: Api = field(repr=False)
    called: str
    secret: Secret
    redirects: tuple[str, ...]
    scopes: tuple[str, ...]
    claims: tuple[str, ...]

    @classmethod
    def of(cls, api: Api, settings: model.SsoClient, url: str) -> Client:
        redirects = tuple(
            f"{url}{redirect}" if redirect.startswith("/") else redirect for redirect in settings.redirects
        )
        return cls(api, settings.name, settings.secret, redirects, tuple(settings.scopes), tuple(settings.claims))

    @property
    def name(self) -> str:
        return self.called

    @property
    def body(self) -> dict[str, Any]:
        """Always complete: Keycloak fills in fields that a change leaves out, such as origins from the addresses."""
        return {
            "clientId": self.called,
            "enabled": True,
            "publicClient": False,
            "secret": self.secret.reveal(),
            "redirectUris": list(self.redirects),
            "webOrigins": [],
            **RULES,
            # An empty text takes away what somebody has set.
            "authenticationFlowBindingOverrides": dict.fromkeys(OWN_FLOWS, ""),
            "attributes": {PKCE: ""},
        }

    def desired(self) -> State:
        return {
            "enabled": "yes",
            "confidential": "yes",
            "secret": fingerprint(self.secret),
            "redirects": _lines(self.redirects),
            "origins": "",
            **{key: word(value) for key, value in RULES.items()},
            "flows of its own": "",
            "PKCE": "",
            "scopes": _lines((*BUILT_IN, *self.scopes)),
            "claims": _lines(self.claims),
        }

    def stands_on(self) -> list[str]:
        return [f"{Realm.kind}:{self.api.realm}", *(f"{Claim.kind}:{claim}" for claim in self.claims)]

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Client]) -> list[Reading]:
        session = wanted[0].api.session(link)
        shared = session.get("/client-scopes") or []
        return [client._state(find_client(session, client.name), shared) for client in wanted]

    def _state(self, answer: Mapping[str, Any] | None, shared: Sequence[Mapping[str, Any]] = ()) -> Reading:
        """`shared` are the scopes of the realm, with their mappers."""
        if answer is None:
            return None
        own = (_claim_of(protocol_mapper) for protocol_mapper in answer.get("protocolMappers") or ())
        foreign = (f"{claim} (by the scope {scope['name']})" for claim, scope, _ in self._foreign(answer, shared))
        return {
            "enabled": word(answer.get("enabled", False)),
            "confidential": word(not answer.get("publicClient")),
            "secret": fingerprint(Secret(answer.get("secret") or "")),
            "redirects": _lines(answer.get("redirectUris") or ()),
            "origins": _lines(answer.get("webOrigins") or ()),
            **{key: word(answer.get(key, False)) for key in RULES},
            "flows of its own": _lines(
                name for name, flow in (answer.get("authenticationFlowBindingOverrides") or {}).items() if flow
            ),
            "PKCE": (answer.get("attributes") or {}).get(PKCE) or "",
            "scopes": _lines(answer.get("defaultClientScopes") or ()),
            "claims": _lines((*own, *foreign)),
        }

    def _foreign(
        self, answer: Mapping[str, Any], shared: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
        """Mappers of its scopes that write one of its claims: with a fixed value, say, everybody would have that policy."""
        scopes = {*(answer.get("defaultClientScopes") or ()), *(answer.get("optionalClientScopes") or ())}
        for scope in shared:
            for protocol_mapper in (scope.get("protocolMappers") or ()) if scope["name"] in scopes else ():
                claim = (protocol_mapper.get("config") or {}).get("claim.name", "")
                if claim in self.claims:
                    yield claim, scope, protocol_mapper

    def diff(self, before: State | None) -> list[str]:
        return ["secret: changed, hidden" if line.startswith("secret:") else line for line in super().diff(before)]

    def fix(self, before: State | None) -> list[Step]:
        return [Call(partial(_make, self))]


def _lines(values: Any) -> str:
    return ", ".join(sorted(values))


def _claim_of(protocol_mapper: Mapping[str, Any]) -> str:
    """The name of a claim, marked if its mapper differs from ours."""
    ours = mapper(protocol_mapper["name"])
    same = protocol_mapper.get("protocolMapper") == ours["protocolMapper"] and _covers(
        protocol_mapper.get("config") or {}, ours["config"]
    )
    return str(protocol_mapper["name"]) if same else f"{protocol_mapper['name']} (made otherwise)"


def _covers(there: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(there.get(key) == value for key, value in wanted.items())


def find_client(session: Session, name: str) -> dict[str, Any] | None:
    """A client of the realm by its name, with its secret in clear."""
    return next((client for client in session.get("/clients", clientId=name) or [] if client["clientId"] == name), None)


def _make(client: Client, link: Link) -> None:
    session = client.api.session(link)
    answer = find_client(session, client.name)
    if answer is None:
        session.change("POST", "/clients", client.body)
        answer = find_client(session, client.name)
    else:
        session.change("PUT", f"/clients/{answer['id']}", client.body)
    assert answer
    place = f"/clients/{answer['id']}"
    for protocol_mapper in answer.get("protocolMappers") or []:
        if _claim_of(protocol_mapper) not in client.claims:
            session.change("DELETE", f"{place}/protocol-mappers/models/{protocol_mapper['id']}")
    have = {_claim_of(protocol_mapper) for protocol_mapper in answer.get("protocolMappers") or []}
    for claim in client.claims:
        if claim not in have:
            session.change("POST", f"{place}/protocol-mappers/models", mapper(claim))
    for _, scope, protocol_mapper in client._foreign(answer, session.get("/client-scopes") or []):
        session.change("DELETE", f"/client-scopes/{scope['id']}/protocol-mappers/models/{protocol_mapper['id']}")
    _scope(session, place, set(answer.get("defaultClientScopes") or []), {*BUILT_IN, *client.scopes})


def _scope(session: Session, place: str, have: set[str], want: set[str]) -> None:
    if have == want:
        return
    known = {scope["name"]: scope["id"] for scope in session.get("/client-scopes") or []}
    if unknown := sorted(want - {*known}):
        raise Trouble(
            f"the realm has no scope {', '.join(unknown)}",
            why=f"it has {', '.join(sorted(known))}",
            hint="correct sso.clients.scopes, or make it in Keycloak",
        )
    for name in sorted(have - want):
        session.change("DELETE", f"{place}/default-client-scopes/{known[name]}")
    for name in sorted(want - have):
        # an optional scope cannot be a default scope as well
        session.change("DELETE", f"{place}/optional-client-scopes/{known[name]}")
        session.change("PUT", f"{place}/default-client-scopes/{known[name]}")

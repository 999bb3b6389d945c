"""The login of a deploy: the secret of its client in Keycloak is that of the settings.

KNOWN has, on the host and for root alone, each secret that Keycloak may have: with it a deploy logs in while the settings have a
new one, wherever an earlier deploy was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from converge.engine.resource import Call, Reading, Resource, Shell, State, Step
from converge.record import dataclass
from converge.shell import quote
from roles.minio.accounts import fingerprint
from roles.sso.api import CLIENT, KNOWN, Api, forget

if TYPE_CHECKING:
    from converge.ssh.link import Link


@dataclass(frozen=True)
class Login(Resource):
    """The client `stowage` of Keycloak's own realm, with the secret of the settings."""

    kind: ClassVar[str] = "sso-login"
    api: Api = field(repr=False)

    @property
    def name(self) -> str:
        return CLIENT

    def desired(self) -> State:
        return {"secret": fingerprint(self.api.secret)}

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Login]) -> list[Reading]:
        return [{"secret": fingerprint(login.api.session(link).secret)} for login in wanted]

    def diff(self, before: State | None) -> list[str]:
        return ["secret: changed, hidden"] if before and before != self.desired() else []

    def fix(self, before: State | None) -> list[Step]:
        # Before Keycloak takes it: after a cut either of both may count, and this file has them.
        keep = f"printf '\\n%s\\n' {quote(self.api.secret.reveal())} >>{KNOWN}; sync {KNOWN}"
        return [Shell(keep), Call(partial(_change, self.api))]


def _change(api: Api, link: Link) -> None:
    """Sets the new secret with a session of the old one, and logs in with the new one."""
    session, place = api.session(link), "//realms/master/clients"
    (client,) = session.get(place, clientId=CLIENT)
    session.change("PUT", f"{place}/{client['id']}", {**client, "secret": api.secret.reveal()})
    forget(link)
    api.session(link, known=False)

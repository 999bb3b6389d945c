"""Single sign-on: the realm of Keycloak, its clients, groups and users, and the answers that the edge keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.engine.resource import Resource, in_order
from converge.engine.role import Wanted, role
from converge.inventory.secret import Secret
from converge.resources.compose import FOLDER
from converge.resources.file import Directory, File
from converge.resources.serving import Question
from roles.edge.nginx import CONTAINER
from roles.settings.sections import needed
from roles.sso.api import KNOWN, Api
from roles.sso.client_kind import Client
from roles.sso.consistency import PORT
from roles.sso.gone import PLACES, Gone
from roles.sso.kept import Kept
from roles.sso.login import Login
from roles.sso.people_kinds import Group, User
from roles.sso.realm_kinds import Claim, Realm

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings
    from roles.sso.settings import Sso


def _its_service(host: Host[Settings]) -> tuple[str, ...]:
    return (host.settings.sso.service,) if host.settings.sso else ()


def _gone(host: Host[Settings], kind: str, name: str) -> Resource | None:
    # Claims and realms stay: people whom somebody else added have them. And a host that no longer has this role keeps all of it.
    if kind not in PLACES or not host.settings.sso or "sso" not in host.settings.roles:
        return None
    users = frozenset(user.name for user in host.settings.sso.users)
    # Keycloak knows no capital letters in the names of people: this one only stands in the settings in another way.
    if kind == User.kind and name.lower() in {user.lower() for user in users}:
        return None
    openid = host.settings.minio.openid if host.settings.minio else None
    return Gone(api_of(host), kind, name, users, openid.client if openid else "")


@role(needs_of=_its_service, after=("edge",), gone=_gone)
def sso(host: Host[Settings]) -> Wanted:
    settings, api = settings_of(host), api_of(host)
    url = host.settings.edge.url or "" if host.settings.edge else ""
    yield in_order(
        Login(api),
        Directory(FOLDER),
        Directory(KNOWN.rpartition("/")[0], mode="0700"),
        File(KNOWN, Secret(f"{settings.secret.reveal()}\n"), mode="0400"),
    )
    yield in_order(
        Realm(api, settings.title),
        *(Claim(api, claim) for claim in settings.claims),
    )
    yield from (Client.of(api, client, url) for client in settings.clients)
    yield from (Group(api, group) for group in settings.groups)
    yield from (User(api, user) for user in settings.users)
    for row in host.settings.edge.routes if host.settings.edge and "edge" in host.settings.roles else ():
        if row.to.partition(":")[0] == settings.service:
            # Requested now, so that the edge has them when Keycloak is down.
            yield from (Kept(CONTAINER, Question(http=f":{row.port}{path}"), realm=api.realm) for path in row.kept)


def settings_of(host: Host[Settings]) -> Sso:
    """The sso section, which a host with this role must have."""
    return needed(host, "sso", host.settings.sso, "ai_infrastructure.yml")


def api_of(host: Host[Settings]) -> Api:
    """Keycloak's API: at the port that the service publishes on the host's loopback."""
    settings = settings_of(host)
    port = next(opened.port for opened in host.settings.services[settings.service].ports if opened.to == PORT)
    return Api(port, settings.path, settings.realm, settings.secret)

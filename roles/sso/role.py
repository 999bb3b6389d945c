"""Single sign-on: the realm of Keycloak, its clients, groups and users, and the answers that the edge keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.engine.resource import in_order
from converge.engine.role import Wanted, role
from converge.resources.serving import Question
from roles.edge.nginx import CONTAINER
from roles.settings.sections import needed
from roles.sso.api import Api
from roles.sso.client_kind import Client
from roles.sso.consistency import PORT
from roles.sso.kept import Kept
from roles.sso.people_kinds import Group, User
from roles.sso.realm_kinds import Claim, Realm

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings
    from roles.sso.settings import Sso


def _its_service(host: Host[Settings]) -> tuple[str, ...]:
    return (host.settings.sso.service,) if host.settings.sso else ()


@role(needs_of=_its_service, after=("edge",))
def sso(host: Host[Settings]) -> Wanted:
    settings, api = settings_of(host), api_of(host)
    url = host.settings.edge.url or "" if host.settings.edge else ""
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

"""Checks of single sign-on against the other settings: its service, its groups and its policies exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from roles.minio.policy_language import BUILT_IN
from roles.settings.faults import Faults, Path
from roles.settings.field_checks import known
from roles.settings.fields import UNREAD

if TYPE_CHECKING:
    from converge.inventory.secret import Secret
    from roles.settings.model import Settings
    from roles.sso.settings import Claims, Sso

PORT = 8080
"""Keycloak's port in its container."""
OWN_REALM = "master"
OWN_CLIENTS = ("account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console")
"""Clients that Keycloak makes for itself in each realm."""


def inconsistencies(settings: Settings) -> Faults:
    """Every place where single sign-on contradicts another setting, with the reason."""
    if minio := settings.minio:
        yield from _openid(minio.openid.secret if minio.openid else UNREAD)
    if sso := settings.sso:
        yield from _service(settings, sso)
        yield from _names(sso)
        yield from _clients(settings, sso)
        for path, claims in _claims(sso):
            yield from _known_claims(settings, sso, path, claims)
        for at, user in enumerate(sso.users):
            groups = [group.name for group in sso.groups]
            for number, name in enumerate(user.groups):
                if name not in groups:
                    yield ("sso", "users", at, "groups", number), f"sso.groups has no {known(name, groups)}"


def _openid(secret: Secret) -> Faults:
    if secret is not UNREAD and any(letter in "'\"\\$" for letter in secret.reveal()):
        yield (
            ("minio", "openid", "secret"),
            "it has none of ' \" $ and backslash: MinIO reads it from a file of variables",
        )


def _service(settings: Settings, sso: Sso) -> Faults:
    page = settings.services.get(sso.service)
    if page is None or not page.enabled:
        yield ("sso", "service"), f"there is no service {known(sso.service, settings.services)}"
    elif not any(port.to == PORT and port.listen.startswith("127.") for port in page.ports):
        why = f"services.{sso.service}.ports has no row to {PORT} that listens on 127.0.0.1: it is managed through that"
        yield ("sso", "service"), why


def _names(sso: Sso) -> Faults:
    for section, key in (("clients", "name"), ("groups", "name"), ("users", "name"), ("users", "email")):
        values = [getattr(entry, key).lower() for entry in getattr(sso, section)]
        for at, value in enumerate(values):
            if value in values[:at]:
                yield ("sso", section, at, key), f"{value} stands twice; it must differ from the other"


def _clients(settings: Settings, sso: Sso) -> Faults:
    url = settings.edge.url if settings.edge else None
    if sso.realm.lower() == OWN_REALM:
        yield ("sso", "realm"), "this realm is Keycloak's own, in which its administrators are: take another name"
    for at, client in enumerate(sso.clients):
        if client.name in OWN_CLIENTS:
            yield ("sso", "clients", at, "name"), "this client is Keycloak's own: take another name"
        for number, redirect in enumerate(client.redirects):
            if redirect.startswith("/") and not url:
                yield ("sso", "clients", at, "redirects", number), "set edge.url, or give the whole address"
        if "openid" in client.scopes:
            at_scope = ("sso", "clients", at, "scopes", client.scopes.index("openid"))
            yield at_scope, "openid is always there: leave it out"
        for number, claim in enumerate(client.claims):
            if claim not in sso.claims:
                yield ("sso", "clients", at, "claims", number), f"sso.claims has no {known(claim, sso.claims)}"


def _claims(sso: Sso) -> Iterator[tuple[Path, Claims]]:
    for section in ("groups", "users"):
        for at, entry in enumerate(getattr(sso, section)):
            yield ("sso", section, at, "claims"), entry.claims


def _known_claims(settings: Settings, sso: Sso, path: Path, claims: Claims) -> Faults:
    openid = settings.minio.openid if settings.minio else None
    policies = [*(policy.name for policy in settings.policies), *BUILT_IN]
    for claim, values in claims.items():
        if claim not in sso.claims:
            yield (*path, claim), f"sso.claims has no {known(claim, sso.claims)}"
        for at, value in enumerate(values):
            if openid and claim == openid.claim and value not in policies:
                yield (*path, claim, at), f"MinIO would turn them away: policies has no {known(value, policies)}"


def passwords(settings: Settings) -> Iterator[tuple[Path, str, Secret]]:
    """Each password that has been read, with the name that it belongs to."""
    sso = settings.sso
    given: list[tuple[Path, str, Secret]] = []
    if sso:
        given.append((("sso", "secret"), "stowage", sso.secret))
        given += [
            (("sso", "clients", at, "secret"), client.name, client.secret) for at, client in enumerate(sso.clients)
        ]
        given += [(("sso", "users", at, "password"), user.name, user.password) for at, user in enumerate(sso.users)]
    return (password for password in given if password[2] is not UNREAD)

"""What the inventory says of single sign-on: one realm of Keycloak, who may ask it, and who is in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from roles.settings.fields import (
    GroupName,
    Line,
    Mail,
    Name,
    PersonName,
    RoutePath,
    SecretValue,
    Section,
    UserName,
    WebUrl,
)

Claims = dict[Name, Annotated[list[Line], Field(min_length=1)]]
Redirect = RoutePath | WebUrl


class SsoClient(Section):
    """A program that sends people here to log in. Only the flows set here are open to it."""

    name: UserName
    secret: SecretValue
    redirects: list[Redirect] = Field(
        min_length=1,
        description="where people may be sent back to, exactly: a path beneath edge.url, or a whole address",
    )
    scopes: list[Name] = Field(default=["email", "profile"], description="what its tokens say, besides openid")
    claims: list[Name] = Field(default=[], description="those of sso.claims that its tokens carry")


class SsoGroup(Section):
    """A group; whoever is in it has its claims."""

    name: GroupName
    claims: Claims = Field(default={}, description="values by claim, such as {policy: [readonly-policy]}")


class SsoUser(Section):
    """Somebody who logs in."""

    name: UserName
    email: Mail
    first_name: PersonName
    last_name: PersonName
    password: SecretValue = Field(description="the first one; later it is theirs alone")
    keep_password: bool = Field(default=False, description="false: they must choose another at their first login")
    groups: list[GroupName] = Field(default=[], description="those they are in; they are taken out of all others")
    claims: Claims = Field(default={}, description="values by claim that they have besides those of their groups")


class Sso(Section):
    """A realm of Keycloak."""

    service: Name = Field(default="keycloak", description="the page of services that is Keycloak")
    path: RoutePath = Field(default="/auth", description="beneath which Keycloak was built to be")
    realm: UserName
    title: Annotated[Line, Field(max_length=255)] = Field(
        default="", description="what its login page says; not set: the realm's name"
    )
    secret: SecretValue = Field(description="of the client stowage, which Keycloak makes at its very first start")
    claims: list[Name] = Field(default=[], description="attributes that only administrators see and change")
    clients: list[SsoClient] = Field(default=[], description="programs that send people here")
    groups: list[SsoGroup] = Field(default=[], description="groups of people")
    users: list[SsoUser] = Field(default=[], description="people who log in")

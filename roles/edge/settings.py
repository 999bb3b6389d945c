"""The edge: one table of what is reached from outside. Each row is a place, the service that it leads to, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from roles.settings.fields import (
    EmailAddress,
    HostName,
    ListenAddress,
    LocalFile,
    Name,
    Origin,
    PortNumber,
    RoutePath,
    RouteTarget,
    SecretValue,
    Section,
    Size,
    UserName,
    WebUrl,
)


class Tls(Section):
    certificate: LocalFile = Field(description="PEM file on the operator's machine, with the chain")
    key: LocalFile = Field(description="PEM file of the key on the operator's machine")


class Acme(Section):
    """An authority that signs by itself, whoever proves that a name leads here: Let's Encrypt, or one that speaks as it does."""

    image: Name = Field(default="certbot", description="with kind: nginx, a row of images: the program that asks")
    email: EmailAddress = Field(description="who is told when a certificate is about to end")
    server: WebUrl = Field(
        default="https://acme-v02.api.letsencrypt.org/directory", description="the directory of the authority"
    )
    staging: bool = Field(
        default=False, description="Let's Encrypt's own server for trials: generous limits, and nobody trusts it"
    )
    authority: LocalFile | None = Field(
        default=None, description="PEM file of who signed the certificate of the server itself, where that is private"
    )
    lifetime_hours: int = Field(default=2160, ge=1, le=9600, description="for how long its certificates are good")

    @property
    def directory(self) -> str:
        return "https://acme-staging-v02.api.letsencrypt.org/directory" if self.staging else self.server


class Traefik(Section):
    """What only kind: traefik has; with another kind it rests."""

    dashboard: HostName | None = Field(
        default=None, description="the name at which its own page is shown, to edge.users; not set: nowhere"
    )
    docker: RouteTarget | None = Field(
        default=None,
        description="a service that passes Docker's API on to be read, such as docker-proxy:2375: labels of containers are routes as well",
    )


def _tls(value: Any) -> str | None:
    return "signed" if isinstance(value, str) else "mapping" if isinstance(value, (dict, BaseModel)) else None


EdgeTls = Annotated[
    Annotated[Literal["local-ca", "acme"], Tag("signed")] | Annotated[Tls, Tag("mapping")],
    Discriminator(
        _tls,
        custom_error_type="signed_or_mapping",
        custom_error_message="local-ca, acme, or a mapping with certificate and key",
    ),
]


def _off_or_mapping(value: Any) -> str | None:
    return "off" if value is False else "mapping" if isinstance(value, (dict, BaseModel)) else None


RowTls = Annotated[
    Annotated[Literal[False], Tag("off")] | Annotated[Tls, Tag("mapping")],
    Discriminator(
        _off_or_mapping,
        custom_error_type="off_or_mapping",
        custom_error_message="false, or a mapping with certificate and key",
    ),
]


class Route(Section):
    """One place, a port with perhaps a name and a path, and where it leads."""

    port: PortNumber = Field(description="of the host")
    to: RouteTarget = Field(
        description="a service and its port, such as grafana:3000; minio-api, minio-console; s3-elsewhere; https:443"
    )
    host: HostName | None = Field(default=None, description="the name that clients ask for; not set: any other")
    path: RoutePath | None = Field(default=None, description="this path and all beneath it; not set: any other")
    strip_path: bool = Field(default=False, description="the service is asked without the path")
    inside: bool = Field(default=False, description="for containers of the host alone: the port is not published")
    kept: list[RoutePath] = Field(
        default=[], description="of an inside row: paths whose last good answer is given while the service has none"
    )
    tcp: bool = Field(default=False, description="passes bytes as they are, whatever they are")
    sticky: bool = Field(default=False, description="one client stays on one node")
    websocket: bool = Field(default=False, description="passes WebSockets on")
    body_limit: Size | None = Field(default=None, description="the largest upload; not set: any size")
    auth: Literal["basic"] | None = Field(default=None, description="asks for a name and a password of edge.users")
    users: list[UserName] = Field(default=[], description="who of edge.users gets in; not set: all of them")
    tls: RowTls | None = Field(
        default=None, description="a certificate of its own, or false for none; not set: that of the edge"
    )


class Edge(Section):
    """What is reached from outside, and nothing else is."""

    kind: Literal["nginx", "traefik"] = Field(default="nginx", description="the program that carries the routes")
    image: Name = Field(default="nginx", description="a row of images; not set: the one that is named as the kind")
    url: Origin | None = Field(
        default=None, description="how clients reach it, such as https://storage.example.org; others are told so"
    )
    listen: ListenAddress = Field(default="127.0.0.1", description="where the host listens; Docker's ports bypass ufw")
    tls: EdgeTls | None = Field(
        default=None, description="the certificate of all routes that say nothing else, or who signs one"
    )
    acme: Acme | None = Field(default=None, description="needed for tls: acme")
    traefik: Traefik = Traefik()
    users: dict[UserName, SecretValue] = Field(default={}, description="names and passwords, for routes with auth")
    routes: list[Route] = Field(min_length=1, description="the table: no two rows are one place")

    @model_validator(mode="before")
    @classmethod
    def _image_of_its_kind(cls, section: Any) -> Any:
        if isinstance(section, dict) and section.get("kind") == "traefik" and section.get("image") is None:
            return {**section, "image": "traefik"}
        return section

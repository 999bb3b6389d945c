"""Checks of the routes: no two for one place, each to something that exists, and no setting without effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from roles.edge import tls_consistency
from roles.edge.routes import (
    API,
    CONSOLE,
    ELSEWHERE,
    HTTPS,
    POSTGRES_PORT,
    certificate,
    docker_proxy,
    leads_on,
    target,
    target_port,
)
from roles.settings.faults import Faults, Path
from roles.settings.field_checks import known
from roles.settings.fields import UNREAD

if TYPE_CHECKING:
    from converge.inventory.secret import Secret
    from roles.edge.settings import Edge, Route
    from roles.settings.model import Settings


OWN_PORTS = (65000, 65001, 65002)
"""The port at which the edge sends requests to itself: see templates/nginx/nginx.conf.j2."""
LONGEST_PASSWORD = 72
"""Bytes. bcrypt ignores the rest, so another password with the same beginning would be accepted."""
_SENT = "the edge answers by itself, and passes nothing on"
_HTTP = "a row with tcp passes bytes as they are, and knows no "
UNUSED: dict[str, dict[str, str]] = {
    "tcp": {
        **{
            key: f"{_HTTP}{key}" for key in ("path", "strip_path", "sticky", "websocket", "body_limit", "auth", "users")
        },
        "tls": "a row with tcp passes bytes as they are: the service itself speaks TLS",
    },
    API: {
        "path": "the path is part of what S3's clients sign: give the API a port or a host of its own",
        "strip_path": "the path is part of what S3's clients sign",
        "sticky": "each node answers for all, and an upload stays on one by itself",
        "websocket": "S3 has none",
        "auth": "S3's clients sign each request, and have no other password",
    },
    CONSOLE: {"strip_path": "it is always asked without the path"},
    HTTPS: {
        **{
            key: _SENT for key in ("strip_path", "sticky", "websocket", "body_limit", "auth", "users", "inside", "kept")
        },
        "path": "all of a port and name is sent on",
        "tls": "it is for those who come without",
    },
    ELSEWHERE: {
        key: _SENT for key in ("strip_path", "sticky", "websocket", "body_limit", "auth", "users", "inside", "kept")
    },
    "service": {"sticky": "a service is one container"},
}
"""Settings of a row without effect, by the target of the row, and why."""


def inconsistencies(settings: Settings) -> Faults:
    """Every row that contradicts another setting, with the reason."""
    if edge := settings.edge:
        yield from _rows(settings, edge)
        yield from _places(edge)
        yield from tls_consistency.inconsistencies(edge)
        yield from _users(edge)
        yield from _docker_proxy(settings, edge)


def _docker_proxy(settings: Settings, edge: Edge) -> Faults:
    """Traefik gets Docker's API only through a service that nobody outside reaches."""
    path: Path = ("edge", "traefik", "docker")
    if not (name := docker_proxy(edge)):
        return
    proxy = settings.services.get(name)
    if proxy is None:
        yield path, f"there is no service {known(name, settings.services)}"
    elif not proxy.enabled:
        yield path, f"{name} is not enabled"
    elif proxy.ports or any(target(row) == name for row in edge.routes):
        yield path, f"{name} is reached from outside: whoever reads Docker's API reads the secrets of all containers"


def _rows(settings: Settings, edge: Edge) -> Faults:
    for at, row in enumerate(edge.routes):
        path: Path = ("edge", "routes", at)
        if why := _astray(settings, row):
            yield (*path, "to"), why
        kind = "tcp" if row.tcp else leads_on(row) if leads_on(row) in UNUSED else "service"
        for key, why in UNUSED[kind].items():
            if getattr(row, key) not in (None, False, []):
                yield (*path, key), why
        if row.tcp and row.host and target(row) != "postgres":
            yield (*path, "host"), f"{_HTTP}host"
        elif row.tcp and row.host and not certificate(edge, row):
            yield (*path, "host"), "it is the name of a certificate: set edge.tls"
        if edge.kind == "traefik":
            yield from _nginx_alone(row, path)
        if row.tcp and row.to in (API, CONSOLE):
            yield (*path, "tcp"), "MinIO has many nodes: they are reached over HTTP"
        elif row.tcp and not target(row):
            yield (*path, "tcp"), "it is told over HTTP"
        yield from _inside(edge, row, path)
        if row.strip_path and not row.path:
            yield (*path, "strip_path"), "there is no path"
        if row.port in OWN_PORTS:
            yield (*path, "port"), "the edge asks itself there: take another"
        if row.to == CONSOLE and row.path and not _knows_its_path(settings, row.path):
            why = "under a path the console must know where it is: set edge.url"
            yield (*path, "path"), why


def _inside(edge: Edge, row: Route, path: Path) -> Faults:
    """Faults of rows that only containers reach, and of the paths that are kept."""
    if row.inside and row.tls:
        yield (*path, "tls"), "containers know the edge by a name that no certificate has"
    if row.inside and any(other.port == row.port and not other.inside for other in edge.routes):
        yield (*path, "inside"), "another row has this port, and is reached from outside"
    if row.kept and not row.inside:
        yield (*path, "kept"), "anybody outside could choose what is kept: it needs inside: true"
    if row.kept and (row.auth or row.strip_path):
        yield (*path, "kept"), "what is kept is the same for everybody, at the path at which the service has it"
    for at, inside in enumerate(row.kept):
        if row.path and not inside.startswith(f"{row.path}/"):
            yield (*path, "kept", at), f"it does not lie in {row.path}"
        elif any(inside in other.kept for other in edge.routes if other is not row) or inside in row.kept[:at]:
            yield (*path, "kept", at), f"{inside} stands twice"


def _nginx_alone(row: Route, path: Path) -> Faults:
    if row.body_limit:
        yield (*path, "body_limit"), "Traefik would keep each upload in memory to measure it: kind: nginx does not"
    if row.kept:
        yield (*path, "kept"), "Traefik keeps no answers: kind: nginx does"
    if row.to == ELSEWHERE:
        yield (*path, "to"), "Traefik says nothing by itself: kind: nginx does"


def _knows_its_path(settings: Settings, path: str) -> bool:
    address = settings.minio.environment.get("MINIO_BROWSER_REDIRECT_URL") if settings.minio else None
    return address.rstrip("/").endswith(path) if address else bool(settings.edge and settings.edge.url)


def _astray(settings: Settings, row: Route) -> str:
    """Why a row has no target that answers."""
    name, _, port = row.to.partition(":")
    if target_port(row):
        rows = settings.edge.routes if settings.edge else []
        leads = any(other.port == int(port) and certificate(settings.edge, other) for other in rows if settings.edge)
        return "" if leads else f"no row of port {port} has TLS: set edge.tls"
    if name == ELSEWHERE:
        there = settings.edge and any(route.to == API for route in settings.edge.routes)
        return "" if there else "no row leads to minio-api: there is nothing to tell"
    if "edge" in settings.roles and target(row) in ("minio", "postgres") and target(row) not in settings.roles:
        return f"roles has no {target(row)}"
    if row.to in (API, CONSOLE):
        return "" if settings.minio else "the inventory has no minio section"
    if name == "postgres" and settings.postgres:
        return "" if int(port) == POSTGRES_PORT else f"its container listens at {POSTGRES_PORT}"
    if name not in settings.services:
        names = [*(["postgres:5432"] if settings.postgres else []), *settings.services, API, CONSOLE, ELSEWHERE]
        return f"there is no service {known(name, names)}"
    return ""


def _places(edge: Edge) -> Faults:
    """No two rows have the same place, and none hides another."""
    for at, row in enumerate(edge.routes):
        for number, other in enumerate(edge.routes[:at]):
            if row.port != other.port:
                continue
            same_name, beside = row.host == other.host, f"edge.routes[{number}]"
            if row.tcp or other.tcp:
                yield (
                    ("edge", "routes", at, "port"),
                    f"{beside} has this port, and one of them passes bytes as they are",
                )
            elif same_name and row.path == other.path:
                yield ("edge", "routes", at), f"it is the same place as {beside}"
            elif same_name and API in (row.to, other.to):
                why = f"{beside} has this port and host, and a bucket of MinIO may have the name of any path"
                yield ("edge", "routes", at, "path"), why


def _users(edge: Edge) -> Faults:
    for at, row in enumerate(edge.routes):
        if row.auth and not edge.users:
            yield ("edge", "routes", at, "auth"), "edge.users has nobody who could get in"
        if row.users and not row.auth:
            yield ("edge", "routes", at, "users"), "they are asked for nothing without auth: basic"
        for number, name in enumerate(row.users):
            if name not in edge.users:
                yield ("edge", "routes", at, "users", number), f"edge.users has no {known(name, edge.users)}"
    if edge.users and not edge.traefik.dashboard and not any(row.auth for row in edge.routes):
        yield ("edge", "users"), "no route has auth: basic"
    for name, password in edge.users.items():
        if password is UNREAD:
            continue
        if not 8 <= len(password.reveal().encode()) <= LONGEST_PASSWORD:
            yield ("edge", "users", name), f"a password has 8 to {LONGEST_PASSWORD} bytes here"


def passwords(settings: Settings) -> Iterator[tuple[Path, str, Secret]]:
    """Each password that has been read, with the name that it belongs to."""
    for name, password in settings.edge.users.items() if settings.edge else ():
        if password is not UNREAD:
            yield ("edge", "users", name), name, password

"""Contradictions between the rows of the edge and their certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roles.edge.routes import ACME, certificate, dashboard, dashboard_port, target_port
from roles.settings.faults import Faults, Path

if TYPE_CHECKING:
    from roles.edge.settings import Edge, Route

NOT_OF_THE_INTERNET = ("test", "example", "invalid", "localhost", "local", "internal", "onion", "lan", "home", "corp")
"""Last parts of names that no public name service has, by standard or by habit."""


def inconsistencies(edge: Edge) -> Faults:
    """Every row whose certificate cannot be served or signed, with the reason."""
    yield from _certificates(edge)
    yield from _signed(edge)
    yield from _dashboard(edge)
    yield from _address(edge)


def _certificates(edge: Edge) -> Faults:
    for where, tls in (
        (("edge", "tls"), edge.tls),
        *((("edge", "routes", at, "tls"), row.tls) for at, row in enumerate(edge.routes)),
    ):
        if tls and not isinstance(tls, str) and tls.key == tls.certificate:
            yield (*where, "key"), "the certificate has this file: the key is in one of its own"
    for at, row in enumerate(edge.routes):
        for number, other in enumerate(edge.routes[:at]):
            if row.port != other.port or row.tcp or other.tcp:
                continue
            mine, its = certificate(edge, row), certificate(edge, other)
            if bool(mine) != bool(its):
                yield ("edge", "routes", at, "tls"), f"edge.routes[{number}] has this port, and one of them has no TLS"
            elif row.host == other.host and mine != its:
                yield (
                    ("edge", "routes", at, "tls"),
                    f"edge.routes[{number}] has this port and host, and another certificate",
                )


def _address(edge: Edge) -> Faults:
    """People who are told an address without TLS, where there is nothing but TLS, send their first request in clear."""
    address = urlsplit(edge.url or "")
    for row in edge.routes:
        here = row.port == (address.port or 80) and row.host in (None, address.hostname) and not row.inside
        if address.scheme == "http" and here and (certificate(edge, row) or target_port(row)):
            yield ("edge", "url"), f"it begins with https://, for what leads to port {row.port} has TLS"
            return


def _signed(edge: Edge) -> Faults:
    """A row that an authority signs needs a name; a public authority resolves that name and connects to port 80."""
    acme = edge.tls == ACME
    if acme and not edge.acme:
        yield ("edge", "acme"), "tls: acme needs it: the address to which the authority writes"
    if edge.acme and edge.acme.staging and "server" in edge.acme.model_fields_set:
        yield ("edge", "acme", "staging"), "it is Let's Encrypt's own server, and acme.server names another"
    for at, row in enumerate(edge.routes):
        if acme and row.port == 80:
            yield from _at_the_port_of_proofs(row, ("edge", "routes", at))
        signer = certificate(edge, row)
        if not isinstance(signer, str):
            continue
        if not row.host:
            yield ("edge", "routes", at, "host"), f"a certificate of {signer} is for a name: give the row one"
        elif acme and (why := _not_public(edge, row.host)):
            yield ("edge", "routes", at, "host"), why
        if acme and row.port == 80:
            yield ("edge", "routes", at, "port"), "the authority asks there in clear: take another, or tls: false"


def _not_public(edge: Edge, name: str) -> str:
    """Why the authority will never sign for this name."""
    last = name.rpartition(".")[2]
    server = urlsplit(edge.acme.directory).hostname if edge.acme else ""
    if "." not in name or last.isdigit():
        return "a public authority signs names of the internet only"
    if last in NOT_OF_THE_INTERNET and (server or "").endswith(".letsencrypt.org"):
        return (
            f"names beneath .{last} are nowhere on the internet: Let's Encrypt does not sign them. tls: local-ca does"
        )
    return ""


def _dashboard(edge: Edge) -> Faults:
    """Traefik's own page asks for a password, so it has a certificate, and a place that no row has."""
    path: Path = ("edge", "traefik", "dashboard")
    if not (name := dashboard(edge)):
        return
    if not edge.users:
        yield path, "edge.users has nobody who could get in"
    if not edge.tls:
        yield path, "it asks for a password, which nobody is to send in clear: set edge.tls"
    elif edge.tls == ACME and (why := _not_public(edge, name)):
        yield path, why
    for at, row in enumerate(edge.routes):
        beside = f"edge.routes[{at}]"
        if row.port != dashboard_port(edge):
            continue
        if row.host == name:
            yield path, f"{beside} has this name: one of the two would hide the other"
        elif row.tcp or row.inside or not certificate(edge, row):
            yield path, f"it is shown at port {row.port}, of which {beside} makes something else than HTTP with TLS"


def _at_the_port_of_proofs(row: Route, path: Path) -> Faults:
    """What keeps an authority from asking at port 80 whether a name leads here."""
    if row.tcp or row.inside:
        key = "tcp" if row.tcp else "inside"
        yield (
            (*path, key),
            "an authority asks there over HTTP, from outside, for the proof of tls: acme: take another port",
        )
    if row.path and f"{row.path}/".startswith("/.well-known/acme-challenge/"):
        yield (*path, "path"), "the proof of tls: acme lies there"

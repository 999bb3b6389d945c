"""Contradictions between the rows of the edge and their certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roles.edge.routes import ACME, certificate, target_port
from roles.settings.faults import Faults, Path

if TYPE_CHECKING:
    from roles.edge.settings import Edge, Route


def inconsistencies(edge: Edge) -> Faults:
    """Every row whose certificate cannot be served or signed, with the reason."""
    yield from _certificates(edge)
    yield from _signed(edge)
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
        elif acme and ("." not in row.host or row.host.rpartition(".")[2].isdigit()):
            yield ("edge", "routes", at, "host"), "a public authority signs names of the internet only"
        if acme and row.port == 80:
            yield ("edge", "routes", at, "port"), "the authority asks there in clear: take another, or tls: false"
    if edge.kind == "traefik" and edge.traefik.dashboard and not edge.users:
        yield ("edge", "traefik", "dashboard"), "edge.users has nobody who could get in"


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

"""Certificates of the operator's own: read from files, and refused where no program could serve them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.shell import quote
from roles.edge import nginx
from roles.edge.routes import certificate
from roles.settings import key_pair
from roles.settings.local_file import local_text

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge, Tls
    from roles.settings.model import Settings


def setting(edge: Edge, tls: Tls) -> str:
    """The place in the inventory that names these files."""
    row = next(at for at, route in enumerate(edge.routes) if certificate(edge, route) == tls)
    return "edge.tls" if tls == edge.tls else f"edge.routes[{row}].tls"


def read(host: Host[Settings], where: str, tls: Tls) -> tuple[str, str]:
    """The texts of a certificate with its chain, and of its key, which fit each other."""
    chain = local_text(host, f"{where}.certificate", tls.certificate)
    key = local_text(host, f"{where}.key", tls.key)
    try:
        key_pair.chain(chain, key)
    except key_pair.Unfit as why:
        raise Trouble(
            f"{where} cannot be served",
            where=host.name,
            why=f"{why} ({tls.certificate}, {tls.key})",
            untouched="nothing was changed",
            hint=f"openssl x509 -noout -subject -enddate -ext subjectAltName -in {quote(tls.certificate)}",
        ) from None
    return chain, key


def troubles(host: Host[Settings], edge: Edge) -> Iterator[str]:
    """What clients will not like about a certificate that can be served all the same."""
    for tls in nginx.certificates(edge).values():
        where = setting(edge, tls)
        leaf = key_pair.chain(*read(host, where, tls))[0]
        if day := key_pair.ended(leaf):
            yield f"the certificate of {where} ended on {day}: clients refuse it"
        names = dict.fromkeys(row.host for row in edge.routes if row.host and certificate(edge, row) == tls)
        if missing := key_pair.lacking(leaf, list(names)):
            yield f"the certificate of {where} is not for {', '.join(missing)}: clients refuse it there"

"""Certificates of the operator's own: read from files, and refused where no program could serve them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.shell import quote
from roles.edge import nginx
from roles.edge.routes import certificate, dashboard
from roles.settings import key_pair
from roles.settings.local_file import local_text

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge, Tls
    from roles.settings.model import Settings


def setting(edge: Edge, tls: Tls) -> str:
    """The place in the inventory that names these files."""
    rows = [at for at, row in enumerate(edge.routes) if certificate(edge, row) == tls]
    return "edge.tls" if tls == edge.tls else f"edge.routes[{rows[0]}].tls"


def read(host: Host[Settings], where: str, tls: Tls) -> tuple[str, str]:
    """The texts of a certificate with its chain, and of its key, which fit each other."""
    chain = local_text(host, f"{where}.certificate", tls.certificate)
    key = local_text(host, f"{where}.key", tls.key)
    try:
        leaf = key_pair.chain(chain, key)[0]
    except key_pair.Unfit as why:
        raise _unfit(host, where, tls, str(why)) from None
    edge = host.settings.edge
    if edge and edge.kind == "traefik" and (missing := key_pair.lacking(leaf, _names(edge, tls))):
        raise _unfit(host, where, tls, f"it is not for {', '.join(missing)}: there Traefik shows none at all")
    return chain, key


def _unfit(host: Host[Settings], where: str, tls: Tls, why: str) -> Trouble:
    hint = f"openssl x509 -noout -subject -enddate -ext subjectAltName -in {quote(tls.certificate)}"
    why = f"{why} ({tls.certificate}, {tls.key})"
    return Trouble(f"{where} cannot be served", host.name, why, "nothing was changed", hint)


def _names(edge: Edge, tls: Tls) -> list[str]:
    """The names at which it is shown."""
    page = [dashboard(edge)] if dashboard(edge) and tls == edge.tls else []
    return list(
        dict.fromkeys([*(row.host for row in edge.routes if row.host and certificate(edge, row) == tls), *page])
    )


def troubles(host: Host[Settings], edge: Edge) -> Iterator[str]:
    """What clients will not like about a certificate that can be served all the same."""
    for tls in nginx.certificates(edge).values():
        where = setting(edge, tls)
        chain = key_pair.chain(*read(host, where, tls))
        if why := key_pair.untimely(chain[0]):
            yield f"the certificate of {where} {why}: clients refuse it"
        yield from (f"in the file of {where} {why}" for why in key_pair.broken(chain))
        if missing := key_pair.lacking(chain[0], _names(edge, tls)):
            yield f"the certificate of {where} is not for {', '.join(missing)}: clients refuse it there"

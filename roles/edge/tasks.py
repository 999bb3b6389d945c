"""The commands of certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.ui.cli import command, end
from roles.settings.hosts import hosts, one_host

if TYPE_CHECKING:
    from invoke.context import Context


@command(name="show", at_once=True)
def certs_show(c: Context, host: str = "", json: bool = False) -> None:
    """Show every certificate that the edge serves, as clients see it, and when it ends. Exit code 2 when one ends soon."""
    from roles.edge.served import show

    end(max([show(each, json) for each in hosts(c, host)], default=0))


@command(name="renew", help={"new-account": "make another account first: the authority no longer knows the old one"})
def certs_renew(c: Context, host: str = "", new_account: bool = False) -> None:
    """Have certificates signed anew: by the host's own authority, or by a public one where that is due."""
    from roles.edge.renewal import renew

    renew(one_host(c, host), "certs.renew", new_account)


@command(name="authority", at_once=True)
def certs_authority(c: Context, host: str = "") -> None:
    """Print the certificate of a host's own authority, for clients to trust."""
    from roles.edge.served import root

    print(root(one_host(c, host)), end="")


CERTS = (certs_show, certs_renew, certs_authority)

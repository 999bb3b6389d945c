"""`inv certs.renew`: certificates are signed anew, and clients see it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, NoReturn

from converge.errors import Trouble
from converge.shell import quote
from converge.ssh.root_shell import run_locked
from converge.ui.screen import WARNING
from roles.edge import acme, authority, traefik_acme
from roles.edge.routes import ACME, LOCAL
from roles.edge.served import Served, seen

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge
    from roles.settings.model import Settings

NOW = 45
"""Seconds within which a new certificate should be served."""
ACCOUNT_UNKNOWN = re.compile(r"account\b.*(not found|does ?n.t exist|not valid|deactivated)", re.IGNORECASE)
"""What an authority says that has lost or closed the account. Its own words: certbot does not pass on the type of an error."""
ACCOUNT_DAMAGED = re.compile(r"Deserialization ?error|AccountStorageError|JSONDecodeError", re.IGNORECASE)
"""What certbot says that cannot read the account on the host."""
AWAY = re.compile(r"cannot be reached|has not answered within")
"""What the host says of an authority that is away: see files/acme.sh and files/acme-traefik.sh."""
LIMITED = re.compile(r"rate ?limit|too many ", re.IGNORECASE)


def renew(host: Host[Settings], command: str, new_account: bool = False) -> None:
    """Have certificates signed again, and connect to see whether the new ones are served."""
    edge = host.settings.edge
    before = seen(host)
    if edge is None or not before:
        raise Trouble("there is nothing to renew", host.name, "no row of edge.routes has TLS", "nothing was changed")
    if new_account and edge.tls != ACME:
        raise Trouble("there is no account", host.name, "edge.tls is not acme", "nothing was changed")
    if edge.tls == ACME:
        old = _ask_authority(host, edge, command, new_account, before)
    elif authority.names_of(edge):
        status, output = run_locked(host.target, command, f"sh {authority.SCRIPT} renew all 2>&1")
        if status:
            hint = f"inv check --host {host.name}, and docs/runbook.md, The host's own authority"
            raise Trouble("not all were renewed", host.name, output[-600:], "what was there is served on", hint)
        print("\n".join(f"  {line}" for line in output.splitlines()), flush=True)
        old = [served for served in before if served.signer == LOCAL]
    else:
        why = "they are files of your own: edge.tls names them"
        hint = f"put new ones in their place, then: inv deploy --host {host.name}"
        raise Trouble("they are not renewed here", host.name, why, "nothing was changed", hint)
    if old:
        _await(host, edge, old)
        print(f"{host.name}: {len(old)} renewed, as clients see it")


def _await(host: Host[Settings], edge: Edge, old: list[Served]) -> None:
    """Wait until clients see none of these any more: Traefik reads a new certificate a moment after it was told of it."""
    serials, until = {(served.port, served.name): served.serial for served in old}, time.monotonic() + NOW
    while True:
        same = [
            served.name or str(served.port)
            for served in seen(host)
            if serials.get((served.port, served.name)) == served.serial
        ]
        if not same:
            return
        if time.monotonic() > until:
            why = f"the same is shown by {', '.join(same)}"
            hint = f"inv logs --service {edge.kind} --host {host.name}"
            raise Trouble("they were signed anew, and are not served", host.name, why, "both are good", hint)
        time.sleep(1)


def _ask_authority(
    host: Host[Settings], edge: Edge, command: str, new_account: bool, before: list[Served]
) -> list[Served]:
    """Ask for what is due: what is in the last third of its life, or not signed at all. Returns what was served for it before."""
    assert edge.acme
    if new_account:
        _forget_account(host, edge, command)
    seconds = edge.acme.lifetime_hours * 1200 if edge.kind == "nginx" else traefik_acme.renews(edge)[0]
    asked = traefik_acme.names(edge)
    due = [
        served
        for served in before
        if served.signer == ACME
        and served.name in asked
        and (served.ends - time.time() < seconds or served.refused or served.temporary)
    ]
    if not due and not new_account:
        print(f"  none is due: {edge.kind} gets new ones by itself, a third of their life before they end")
        return []
    status, output = run_locked(
        host.target, command, f"sh {acme.script_of(edge)} renew {seconds}{' restarted' if new_account else ''}"
    )
    lines = output.splitlines()
    refusals = [line.removeprefix(WARNING) for line in lines if line.startswith(WARNING)]
    for line in lines:
        if not line.startswith(WARNING):
            print(f"  {line}", flush=True)
    if status:
        _refuse(host, edge.acme.directory, "\n".join(refusals) or output[-600:])
    return due


def _refuse(host: Host[Settings], server: str, why: str) -> NoReturn:
    """The error for a person, with what helps against this refusal."""
    again = f"inv certs.renew --host {host.name}"
    if ACCOUNT_UNKNOWN.search(why):
        hint = f"{again} --new-account: it knows the account no more, another one is made"
    elif ACCOUNT_DAMAGED.search(why):
        hint = f"{again} --new-account: the account on the host is damaged, another one is made"
    elif LIMITED.search(why):
        hint = f"wait: to ask again before that moment only makes it longer. Then: {again}"
    elif AWAY.search(why):
        hint = f"is the authority up, and does the host get there? On the host: curl -sS -o /dev/null {quote(server)}. Then: {again}"
    else:
        hint = f"do the names lead to this host, and is its port 80 reached from outside? Then: {again}"
    raise Trouble(
        "the authority has not signed",
        host.name,
        why or f"no answer of {server}",
        "the old certificates are served on, and it is asked again by itself",
        f"{hint}. docs/runbook.md, The authority does not sign",
    )


def _forget_account(host: Host[Settings], edge: Edge, command: str) -> None:
    status, output = run_locked(host.target, command, f"sh {acme.script_of(edge)} forget 2>&1")
    if status:
        raise Trouble("the account cannot be put aside", host.name, output[-600:], "certificates are served as before")
    print("  the account is put aside: another one is made when the authority is asked next", flush=True)

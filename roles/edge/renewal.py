"""`inv certs.renew`: certificates are signed anew, and clients see it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.ssh.root_shell import run_locked
from converge.ui.screen import WARNING
from roles.edge import acme, authority, traefik
from roles.edge.routes import ACME, by_certbot
from roles.edge.served import Served, seen

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge
    from roles.settings.model import Settings

NOW = 45
"""Seconds within which an authority should sign."""


def renew(host: Host[Settings], command: str) -> None:
    """Have certificates signed again, and connect to see whether the new ones are served."""
    edge = host.settings.edge
    before = {(served.port, served.name): served.serial for served in seen(host)}
    if edge is None or not before:
        raise Trouble("there is nothing to renew", host.name, "no row of edge.routes has TLS", "nothing was changed")
    if edge.tls == ACME:
        _ask_authority(host, edge, command)
    elif authority.names_of(edge):
        status, output = run_locked(host.target, command, f"sh {authority.SCRIPT} renew all")
        print("\n".join(f"  {line}" for line in output.splitlines()), flush=True)
        if status:
            hint = f"inv status --host {host.name}"
            raise Trouble("not all were renewed", host.name, output[-600:], "what was there is served on", hint)
    else:
        why = "they are files of your own: edge.tls names them"
        hint = f"put new ones in their place, then: inv deploy --host {host.name}"
        raise Trouble("they are not renewed here", host.name, why, "nothing was changed", hint)
    until = time.monotonic() + NOW
    while True:
        after = seen(host)
        same = [
            served.name or str(served.port)
            for served in after
            if before.get((served.port, served.name)) == served.serial
        ]
        if not same or edge.tls == ACME or time.monotonic() > until:
            break
        time.sleep(1)  # Traefik reads a new certificate a moment after it was told of it
    if same and edge.tls != ACME:
        why = f"the same is shown by {', '.join(same)}"
        hint = f"inv logs --service {edge.kind} --host {host.name}"
        raise Trouble("they were signed anew, and are not served", host.name, why, "both are good", hint)
    print(f"{host.name}: {len(after) - len(same)} renewed, as clients see it")


def _ask_authority(host: Host[Settings], edge: Edge, command: str) -> None:
    """Ask for what is due: what is in the last third of its life, or not signed at all."""
    assert edge.acme
    seconds = edge.acme.lifetime_hours * 1200
    due = [served for served in seen(host) if served.ends - time.time() < seconds or served.refused or served.temporary]
    if not due:
        print(f"  none is due: {edge.kind} gets new ones by itself, a third of their life before they end")
        return
    status, why = _by_certbot(host, command, seconds) if by_certbot(edge) else _by_traefik(host, command, due)
    if status:
        raise Trouble(
            "the authority has not signed",
            host.name,
            why or f"no answer of {edge.acme.directory} within {NOW} s",
            "the old certificates are served on, and it is asked again by itself",
            "do the names lead to this host, and is its port 80 reached from outside? "
            f"Then: inv certs.renew --host {host.name}",
        )


def _by_certbot(host: Host[Settings], command: str, seconds: int) -> tuple[int, str]:
    """Have the host ask now for what ends within these seconds, however often it was refused."""
    status, output = run_locked(host.target, command, f"sh {acme.SCRIPT} renew {seconds}")
    signed = [line for line in output.splitlines() if not line.startswith(WARNING)]
    print("\n".join(f"  {line}" for line in signed), end="\n" if signed else "", flush=True)
    return status, "\n".join(line.removeprefix(WARNING) for line in output.splitlines() if line not in signed)


def _by_traefik(host: Host[Settings], command: str, due: list[Served]) -> tuple[int, str]:
    """Restart Traefik: it renews certificates in the last third of their life, and checks for that when it starts."""
    restart = f"docker restart -t 60 -- {traefik.CONTAINER} >/dev/null\n{traefik.answers().waits()}"
    status, output = run_locked(host.target, command, restart)
    until, old = time.monotonic() + NOW, {(served.port, served.name): served.serial for served in due}
    halfway = time.monotonic() + NOW / 2
    while not status and time.monotonic() < until:
        time.sleep(2)
        waiting = [
            served for served in seen(host) if not served.ends or old.get((served.port, served.name)) == served.serial
        ]
        if not waiting:
            return 0, ""
        if time.monotonic() > halfway:
            # The authority may have asked at port 80 before Traefik had its routes: it was there, and refused.
            halfway = until
            again = (
                f"docker logs --since {NOW}s -- {traefik.CONTAINER} 2>&1 | grep -q 'invalid authorization' || exit 0"
            )
            status, output = run_locked(host.target, command, f"{again}\n{restart}")
    _, why = run_locked(
        host.target,
        command,
        f"docker logs --since 3m -- {traefik.CONTAINER} 2>&1 | grep -iE 'acme|certificate' | tail -n 4",
    )
    return 1, why or output

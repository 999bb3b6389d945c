"""Certificates as clients see them: where each is served, its issuer, and when it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from converge.errors import PENDING, Trouble
from converge.shell import quote
from converge.ssh.link import connect
from converge.ssh.root_shell import run_locked
from roles.edge import authority, traefik
from roles.edge.routes import ACME, active, certificate

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge
    from roles.settings.model import Settings

SOON = 21
"""A certificate with fewer days left is reported: it should have been renewed long before."""
PATIENCE = 5
DAY = 86400
NOW = 45
"""Seconds within which an authority should sign."""


@dataclass(frozen=True)
class Place:
    """A port and name with a certificate, and the protocol to ask with."""

    port: int
    name: str
    starttls: str = ""


@dataclass(frozen=True)
class Served:
    """The certificate served there; `ends` is in seconds, 0 without an answer."""

    port: int
    name: str
    ends: int = 0
    issuer: str = ""
    serial: str = ""

    @property
    def days(self) -> int:
        return int((self.ends - time.time()) // DAY)

    def trouble(self) -> str:
        """A warning; empty while the certificate is valid for long."""
        where = f"{self.name or 'the certificate'} on port {self.port}"
        if not self.ends:
            return f"{where} shows no certificate"
        end = "has ended" if self.ends < time.time() else f"ends in {self.days} day{'' if self.days == 1 else 's'}"
        return f"{where}: its certificate {end}" if self.days < SOON else ""


def places(settings: Settings) -> list[Place]:
    """Each port and name of the edge that speaks TLS."""
    edge = settings.edge if "edge" in settings.roles else None
    return list(dict.fromkeys(_places(settings, edge))) if edge else []


def _places(settings: Settings, edge: Edge) -> Iterator[Place]:
    for row in active(settings, edge):
        if certificate(edge, row) and not row.inside:
            yield Place(row.port, row.host or "", "postgres" if row.tcp else "")
    if edge.kind == "traefik" and edge.traefik.dashboard and edge.tls:
        yield Place(443, edge.traefik.dashboard)


def look(settings: Settings) -> str:
    """Shell that prints a line for each place: port, name, end, serial, issuer. All are asked at once."""
    listen = settings.edge.listen if settings.edge else ""
    address = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listen, f"[{listen}]" if ":" in listen else listen)
    lines = ["ask() { # PORT NAME MORE...", "  port=$1 name=$2; shift 2"]
    lines += [
        f'  pem=$(timeout {PATIENCE} openssl s_client -connect {quote(address)}:"$port" "$@" </dev/null 2>/dev/null) || :',
        "  said=$(printf '%s\\n' \"$pem\" | openssl x509 -noout -enddate -serial -issuer -nameopt RFC2253 2>/dev/null) || said=",
        '  end=$(printf \'%s\\n\' "$said" | sed -n \'s/^notAfter=//p\'); ends=0; [ -z "$end" ] || ends=$(date -d "$end" +%s)',
        '  printf \'%s|%s|%s|%s|%s\\n\' "$port" "$name" "$ends" "$(printf \'%s\\n\' "$said" | sed -n \'s/^serial=//p\')"'
        " \"$(printf '%s\\n' \"$said\" | sed -n 's/^issuer=//p')\"",
        "}",
    ]
    for place in places(settings):
        more = f" -servername {quote(place.name)}" if place.name else ""
        more += f" -starttls {place.starttls}" if place.starttls else ""
        lines.append(f"ask {place.port} {quote(place.name)}{more} &")
    return "\n".join([*lines, "wait"])


def read(settings: Settings, lines: list[str]) -> list[Served]:
    """The answers of the host, in the order of the table."""
    by_place = {}
    for line in lines:
        port, name, ends, serial, issuer = (line.split("|", 4) + [""] * 5)[:5]
        if port.isdigit() and ends.isdigit():
            by_place[int(port), name] = Served(int(port), name, int(ends), issuer, serial)
    return [by_place.get((place.port, place.name), Served(place.port, place.name)) for place in places(settings)]


def seen(host: Host[Settings]) -> list[Served]:
    """What a host serves now."""
    link = connect(host.target)
    try:
        _, out, _ = link.send(look(host.settings), iter(()))
        return read(host.settings, out.decode(errors="replace").splitlines())
    finally:
        link.close()


def show(host: Host[Settings], as_json: bool) -> int:
    """Print the certificates; the exit code says whether one ends soon."""
    certificates = seen(host)
    if as_json:
        print(json.dumps({"host": host.name, "certificates": [asdict(served) for served in certificates]}))
    else:
        print(f"{host.name}:" if certificates else f"{host.name}: no row of edge.routes has TLS")
        for served in certificates:
            shown = f"{served.days} days, until {time.strftime('%Y-%m-%d %H:%M', time.gmtime(served.ends))} UTC"
            what = f"{shown:38} {served.serial[-16:]:16}  {served.issuer}" if served.ends else "no certificate is shown"
            print(f"  {served.port:<5} {served.name or '(any name)':32} {what}")
    return PENDING if any(served.trouble() for served in certificates) else 0


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
    after = seen(host)
    same = [
        served.name or str(served.port) for served in after if before.get((served.port, served.name)) == served.serial
    ]
    if same and edge.tls != ACME:
        why = f"the same is shown by {', '.join(same)}"
        hint = f"inv logs --service {edge.kind} --host {host.name}"
        raise Trouble("they were signed anew, and are not served", host.name, why, "both are good", hint)
    print(f"{host.name}: {len(after) - len(same)} renewed, as clients see it")


def _ask_authority(host: Host[Settings], edge: Edge, command: str) -> None:
    """Restart Traefik: it renews certificates in the last third of their life, and checks for that when it starts."""
    assert edge.acme
    due = [served for served in seen(host) if served.ends - time.time() < edge.acme.lifetime_hours * 1200]
    if not due:
        return print(
            f"  none is due: {traefik.CONTAINER} asks for new ones by itself, a third of their life before they end"
        )
    status, output = run_locked(
        host.target, command, f"docker restart -t 60 -- {traefik.CONTAINER} >/dev/null\n{traefik.answers().waits()}"
    )
    until, old = time.monotonic() + NOW, {(served.port, served.name): served.serial for served in due}
    while not status and time.monotonic() < until:
        time.sleep(2)
        waiting = [
            served for served in seen(host) if not served.ends or old.get((served.port, served.name)) == served.serial
        ]
        if not waiting:
            return None
    _, why = run_locked(
        host.target,
        command,
        f"docker logs --since 3m -- {traefik.CONTAINER} 2>&1 | grep -iE 'acme|certificate' | tail -n 4",
    )
    raise Trouble(
        "the authority has not signed",
        host.name,
        why or output or f"no answer of {edge.acme.directory} within {NOW} s",
        "the old certificates are served on, and Traefik tries again by itself",
        "do the names lead to this host, and is its port 80 reached from outside? "
        f"Then: inv certs.renew --host {host.name}",
    )


def root(host: Host[Settings]) -> str:
    """The certificate of the host's own authority, for clients to trust."""
    link = connect(host.target)
    try:
        _, out, _ = link.send(f"cat {authority.AUTHORITY} 2>/dev/null || :", iter(()))
    finally:
        link.close()
    if not out:
        why = (
            "it signs nothing yet"
            if host.settings.edge and authority.names_of(host.settings.edge)
            else "edge.tls is not local-ca"
        )
        raise Trouble("there is no authority of its own", host.name, why, "", f"inv deploy --host {host.name}")
    return out.decode()

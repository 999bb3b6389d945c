"""Certificates as clients see them: where each is served, its issuer, and when it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from converge.errors import PENDING, Trouble
from converge.record import dataclass
from converge.shell import quote
from converge.ssh.link import connect
from roles.edge import acme, authority
from roles.edge.routes import ACME, active, certificate, dashboard, dashboard_port

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge, Tls
    from roles.settings.model import Settings

REFUSED = "refused"
"""The first word of a line about a certificate that an authority has not signed."""
DAY = 86400
SOON = 21 * DAY
"""A certificate with fewer seconds left is reported: it should have been renewed long before."""
PATIENCE = 5


@dataclass(frozen=True)
class Place:
    """A port and name with a certificate, and the protocol to ask with."""

    port: int
    name: str
    starttls: str = ""
    signer: str = ""
    """Who signs its certificate; empty for files of the operator's own."""


@dataclass(frozen=True)
class Served:
    """The certificate served there; `ends` is in seconds, 0 without an answer."""

    port: int
    name: str
    ends: int = 0
    issuer: str = ""
    serial: str = ""
    refused: str = ""
    """Why the authority has not signed another one, though it was asked."""
    soon: int = SOON
    """With fewer seconds left it is reported."""
    signer: str = ""
    """Who is to sign it; empty for files of the operator's own."""

    @property
    def days(self) -> int:
        return int((self.ends - time.time()) // DAY)

    @property
    def temporary(self) -> bool:
        """Whether it only stands in until an authority has signed."""
        return self.issuer == acme.TEMPORARY

    def trouble(self) -> str:
        """A warning; empty while the certificate is valid for long."""
        where = f"{self.name or 'the certificate'} on port {self.port}"
        if not self.ends:
            return f"{where} shows no certificate{f', and none is signed: {self.refused}' if self.refused else ''}"
        end = "has ended" if self.ends < time.time() else f"ends in {self.days} day{'' if self.days == 1 else 's'}"
        troubles = [
            *(["it has a temporary certificate, which nobody trusts"] if self.temporary else []),
            *([f"its certificate {end}"] if self.ends - time.time() < self.soon else []),
            *([f"no new one is signed: {self.refused}"] if self.refused else []),
        ]
        return f"{where}: {', and '.join(troubles)}" if troubles else ""

    def way_out(self, host: str) -> str:
        """What to type against that."""
        if self.signer:
            return f"inv certs.renew --host {host}"
        return (
            f"put a new one in the place of the files that edge.routes or edge.tls names, then inv deploy --host {host}"
        )


def places(settings: Settings) -> list[Place]:
    """Each port and name of the edge that speaks TLS."""
    edge = settings.edge if "edge" in settings.roles else None
    if edge is None:
        return []
    return list(dict.fromkeys(_places(edge.model_copy(update={"routes": active(settings, edge)}))))


def _places(edge: Edge) -> Iterator[Place]:
    for row in edge.routes:
        if (signer := certificate(edge, row)) and not row.inside:
            yield Place(row.port, row.host or "", "postgres" if row.tcp else "", _signer(signer))
    if dashboard(edge) and edge.tls:
        yield Place(dashboard_port(edge), dashboard(edge), signer=_signer(edge.tls))


def _signer(tls: Tls | str) -> str:
    return tls if isinstance(tls, str) else ""


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
    if settings.edge and settings.edge.tls == ACME:
        # HOST:LABEL is the name of the file, with how often, until when, which server and why in one line.
        lines.append(
            f'for file in {acme.HERE}/failed/*; do [ ! -s "$file" ] || printf \'{REFUSED}|%s|%s\\n\' "${{file##*/}}" "$(cat "$file")"; done'
        )
    return "\n".join([*lines, "wait"])


def read(settings: Settings, lines: list[str]) -> list[Served]:
    """The answers of the host, in the order of the table."""
    by_place, refused = {}, {}
    for line in lines:
        if line.startswith(f"{REFUSED}|"):
            _, file, record = line.split("|", 2)
            refused[file.partition(":")[0]] = _refusal(record)
            continue
        port, name, ends, serial, issuer = (line.split("|", 4) + [""] * 5)[:5]
        if port.isdigit() and ends.isdigit():
            by_place[int(port), name] = Served(int(port), name, int(ends), issuer, serial)
    soon = ends_soon(settings.edge)
    return [
        replace(
            by_place.get((place.port, place.name), Served(place.port, place.name)),
            refused=refused.get(place.name, "") if place.signer else "",
            soon=soon if place.signer else SOON,
            signer=place.signer,
        )
        for place in places(settings)
    ]


def ends_soon(edge: Edge | None) -> int:
    """The seconds before an end from which it is reported; of certificates that live for days, the last third of their life."""
    lives = edge.acme.lifetime_hours * 3600 if edge and edge.tls == ACME and edge.acme else 3 * SOON
    return min(SOON, lives // 3)


def _refusal(record: str) -> str:
    """Why an authority has not signed, and when it is asked again: TRIES NEXT SERVER WHY."""
    tries, moment, _, why = (record.split(" ", 3) + [""] * 4)[:4]
    if not moment.isdigit():
        return record
    again = time.strftime("%Y-%m-%d %H:%M", time.gmtime(int(moment)))
    return f"{why} (asked {tries} time{'' if tries == '1' else 's'}, again at {again} UTC)"


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
            left = f"{served.days} days, until" if served.ends > time.time() else "ENDED"
            shown = f"{left} {time.strftime('%Y-%m-%d %H:%M', time.gmtime(served.ends))} UTC"
            what = f"{shown:38} {served.serial[-16:]:16}  {served.issuer}" if served.ends else "no certificate is shown"
            print(f"  {served.port:<5} {served.name or '(any name)':32} {what}")
            if served.refused:
                print(f"        no new one is signed: {served.refused}")
    return PENDING if any(served.trouble() for served in certificates) else 0


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

"""nginx as the edge: the rows of the table as its servers and locations, and MinIO's API before all of its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.record import dataclass
from converge.resources.compose import FOLDER
from converge.shell import quote, quote_all
from converge.templates import render
from roles.edge import acme
from roles.edge.consistency import OWN_PORTS
from roles.edge.routes import ACME, API, CONSOLE, ELSEWHERE, certificate, dashboard, leading_to, target_port, url
from roles.minio.tls import scheme
from roles.settings.fields import size_in_bytes

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge, Route, Tls
    from roles.settings.model import Settings

CONTAINER = "nginx"
HERE = f"{FOLDER}/nginx/conf"
INSIDE = "/etc/stowage"
MINIO_AUTHORITY = "minio-authority.crt"
"""Who signed the certificate of MinIO's nodes."""
SETTLED = "/tmp/settled"
"""This file exists while no node came or went lately, or a proof shows that it does not matter: see files/nginx-settled.sh."""
PROVEN = "/run/stowage-proven"
"""A file of the host: its modification time is when data was last proven to pass through all nodes."""
MOST_ASKED = 4
"""How many nodes must answer 404 when all of them answer."""
MOST_SILENT = 4
"""How many nodes may stay silent while others are asked: nginx passes a request on ten times at most."""
ALIVE, AWAY, RELAY = OWN_PORTS
KEPT, KEPT_INSIDE = "/srv/stowage/nginx", "/var/cache/stowage"
"""The folder of answers that are served while a service is down; they outlive the container."""


@dataclass(frozen=True)
class Location:
    """A row as a location of nginx: what it matches, and how it is passed on."""

    row: Route
    users: str
    """The file of users that are let in; empty when everybody is."""

    @property
    def path(self) -> str:
        return self.row.path or ""

    @property
    def stripped(self) -> bool:
        """Whether its path is removed before the request is passed on."""
        return bool(self.row.path) and (self.row.strip_path or self.row.to == CONSOLE)

    @property
    def pattern(self) -> str:
        """Its path as a regular expression; of the characters that a path may have, only these two need escaping."""
        return self.path.replace(".", r"\.").replace("+", r"\+")

    @property
    def https(self) -> int:
        """The port with TLS to which it redirects; 0 if it does not redirect."""
        return target_port(self.row)

    @property
    def elsewhere(self) -> bool:
        return self.row.to == ELSEWHERE

    @property
    def limit(self) -> int:
        return size_in_bytes(self.row.body_limit) if self.row.body_limit else 0


@dataclass(frozen=True)
class Server:
    """The rows of one port and name, with their common certificate."""

    port: int
    host: str | None
    certificate: str
    """The names of the files of its certificate without their endings; empty without TLS."""
    locations: tuple[Location, ...]

    @property
    def api(self) -> Location | None:
        return next((location for location in self.locations if location.row.to == API), None)


def config(host: Host[Settings], edge: Edge) -> str:
    """The whole configuration."""
    minio = host.settings.minio
    nodes = minio.nodes if minio else []
    http = [row for row in edge.routes if not row.tcp]
    return render(
        host,
        "nginx/nginx.conf.j2",
        servers=servers(edge),
        streams=[row for row in edge.routes if row.tcp],
        # Ports where every row has a name: a request for another name gets a 404.
        http_ports={row.port for row in http},
        named=sorted({row.port for row in http} - {row.port for row in http if not row.host}),
        encrypted={row.port for row in http if certificate(edge, row)},
        odd_headers={row.port for row in http if row.to == API},
        api=any(row.to == API for row in http),
        consoles=sorted({row.sticky for row in http if row.to == CONSOLE}),
        nodes=nodes,
        minio_scheme=scheme(minio) if minio else "http",
        minio_authority=MINIO_AUTHORITY,
        kept=[(row, path) for row in http for path in row.kept],
        kept_in=KEPT_INSIDE,
        itself=CONTAINER,
        relay=RELAY,
        endpoint=_endpoint(edge),
        opinions=min(len(nodes), MOST_ASKED),
        enough=enough(len(nodes)),
        missing=min(len(nodes) - enough(len(nodes)), MOST_SILENT),
        domain=minio.environment.get("MINIO_DOMAIN", "") if minio else "",
        inside=INSIDE,
        settled=SETTLED,
        proofs=acme.PROOFS_INSIDE if edge.tls == ACME else "",
        proofs_port=acme.PORT,
        alive=ALIVE,
        away=AWAY,
    )


def keeps(edge: Edge) -> bool:
    """Whether answers of services are kept."""
    return any(row.kept for row in edge.routes)


def _endpoint(edge: Edge) -> str:
    """The address of S3, shown to clients that asked elsewhere; parts that the row does not name come from their request."""
    row = next((row for row in edge.routes if row.to == API), None)
    return url(edge, row, "$host", "") if row else ""


def servers(edge: Edge) -> list[Server]:
    """The servers of nginx, in the order in which the table first names them."""
    rows: dict[tuple[int, str | None], list[Route]] = {}
    for row in edge.routes:
        if not row.tcp:
            rows.setdefault((row.port, row.host), []).append(row)
    files = user_files(edge)
    return [
        Server(
            port,
            name,
            _file_of_server(edge, name, certificate(edge, server_rows[0])),
            tuple(Location(row, files[who(edge, row)] if row.auth else "") for row in server_rows),
        )
        for (port, name), server_rows in rows.items()
    ]


def _file_of_server(edge: Edge, name: str | None, tls: Tls | str | None) -> str:
    """A public authority signs for each name alone, so that one that does not lead here holds back no other."""
    return acme.label(name) if tls == ACME and name else file_of(certificates(edge), tls)


def certificates(edge: Edge) -> dict[str, Tls]:
    """The certificates of the operator's own that are served, by the names of their files."""
    signers = [*(certificate(edge, row) for row in edge.routes), *([edge.tls] if dashboard(edge) else [])]
    own = [tls for tls in signers if tls and not isinstance(tls, str)]
    each = [tls for at, tls in enumerate(own) if tls not in own[:at]]
    return {f"tls{at or ''}": tls for at, tls in enumerate(each)}


def file_of(names: dict[str, Tls], tls: Tls | str | None) -> str:
    """The name of the files of a certificate; one that an authority signs is named after that."""
    return tls if isinstance(tls, str) else next((name for name, other in names.items() if other == tls), "")


def who(edge: Edge, row: Route) -> tuple[str, ...]:
    """The users that a row lets in."""
    return tuple(sorted(set(row.users or edge.users)))


def user_files(edge: Edge) -> dict[tuple[str, ...], str]:
    """Each set of users that rows admit, and the name of its file."""
    everybody = [tuple(sorted(edge.users))] if dashboard(edge) else []
    sets = dict.fromkeys([*(who(edge, row) for row in edge.routes if row.auth), *everybody])
    return {names: f"users{at}" for at, names in enumerate(sets)}


def enough(nodes: int) -> int:
    """How many nodes must say that something is not there when the others are silent: more than half, four at most."""
    return min(nodes // 2 + 1, MOST_ASKED)


def proven(host: Host[Settings]) -> str:
    """Shell to run after a proof that every node reaches the others' drives: nginx need not wait until the nodes are older."""
    return f": >{PROVEN}\n{settle(host)}"


def settle(host: Host[Settings]) -> str:
    """Shell that tells a running nginx that no node is young: each was there at the last proof, or 40 s ago."""
    minio = host.settings.minio
    if minio is None or not leading_to(host.settings, API):
        return ":"
    started = "{{if .State.Running}}{{.State.StartedAt}}{{else}}9999-01-01{{end}}"
    nodes = quote_all(node.name for node in minio.nodes)
    return f"""(
[ "$(docker inspect -f '{{{{.State.Running}}}}' -- {CONTAINER} 2>/dev/null)" = true ] || exit 0
! docker exec {CONTAINER} test -e {SETTLED} || exit 0
old=$(($(date +%s) - 40)) mark=$(stat -c %Y {PROVEN} 2>/dev/null || echo 0)
[ "$mark" -lt "$old" ] || old=$mark
all=$(docker inspect -f {quote(started)} -- {nodes}) || exit 0
for one in $all; do [ "$(date -d "$one" +%s)" -le "$old" ] || exit 0; done
sleep 3 # by then its script has seen that they came back
docker exec {CONTAINER} touch {SETTLED}
)"""


def passes(host: Host[Settings]) -> str:
    """Shell that waits until the edge reached a cluster that accepts writes eight times in a row."""
    settings = host.settings
    rows = leading_to(settings, API)
    if settings.edge is None or not rows:
        return ":"
    asked = quote(url(settings.edge, rows[0], "127.0.0.1", "/minio/health/cluster"))
    inside = f"nsenter -t \"$(docker inspect -f '{{{{.State.Pid}}}}' {settings.edge.kind})\" -n"
    return f"""n=0 well=0
while [ $well -lt 8 ]; do
  said=$({inside} curl -q -s -k --noproxy '*' --connect-to ::127.0.0.1: -o /dev/null -m 3 -w '%{{http_code}}' {asked}) || :
  if [ "$said" = 200 ]; then well=$((well + 1)); continue; fi
  well=0 n=$((n + 1)); [ $n -lt 60 ] || {{ echo {asked} answers "$said"; exit 1; }}
  sleep 0.5
done"""

"""Traefik as the edge: its container, its arguments, and how it loads a new table of routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converge.resources.compose import FOLDER
from converge.resources.definition import bind
from converge.resources.fresh import FreshContainer
from converge.resources.serving import Question, Serving
from converge.shell import quote, quote_all
from roles.edge.consistency import OWN_PORTS
from roles.edge.nginx import INSIDE
from roles.edge.routes import ACME, dashboard, dashboard_port
from roles.edge.traefik_routes import marker, resolver
from roles.images import image
from roles.services.configuration import Folder
from roles.services.definition import definition
from roles.services.settings import Port, Service
from roles.settings.networks import containers, joins

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge
    from roles.settings.model import Settings

CONTAINER = "traefik"
HERE = f"{FOLDER}/traefik/conf"
ROUTES = f"{HERE}/routes.yaml"
KEPT = f"{FOLDER}/traefik/acme"
"""The account at the authority, and the certificates that it signed."""
ACME_AUTHORITY = "acme-authority.crt"
ALIVE = OWN_PORTS[0]
CHECK = "stowage-traefik-check"
PATIENCE = 15
"""Seconds within which a new table is loaded."""


def ports(edge: Edge) -> list[int]:
    """The ports that it listens at: those of the table, that of its own page, and 80 if an authority checks names there."""
    own = {dashboard_port(edge)} if dashboard(edge) else set()
    return sorted({*(row.port for row in edge.routes), *own, *([80] if edge.tls == ACME else [])})


def arguments(edge: Edge, routes: str = f"{INSIDE}/routes.yaml", storage: str = "/acme/acme.json") -> list[str]:
    """Traefik's arguments. It gets no socket of Docker: its routes are a file."""
    flags = {
        "global.checkNewVersion": "false",
        "global.sendAnonymousUsage": "false",
        "log.level": "INFO",
        "log.noColor": "true",
        "providers.file.filename": routes,
        "providers.file.watch": "true",
        # For health checks inside the container: nothing outside of it reaches this address.
        "entryPoints.traefik.address": f"127.0.0.1:{ALIVE}",
        "api.insecure": "true",
        "ping.entryPoint": "traefik",
        "accessLog": "true",
        "accessLog.format": "json",
        # Not logged: a query may hold a signature with which anybody could fetch the same object.
        "accessLog.fields.queryParameters.defaultMode": "redact",
        "accessLog.fields.headers.defaultMode": "drop",
    }
    if edge.traefik.docker:
        flags["providers.docker.endpoint"] = f"tcp://{edge.traefik.docker}"
        # Who wants a route says so: `traefik.enable=true`.
        flags["providers.docker.exposedByDefault"] = "false"
    bytes_alone = {row.port for row in edge.routes if row.tcp}
    for port in ports(edge):
        flags[f"entryPoints.p{port}.address"] = f":{port}"
        if port not in bytes_alone:
            flags |= {f"entryPoints.p{port}.{key}": value for key, value in _HTTP.items()}
    if edge.tls == ACME and edge.acme:
        flags |= {
            f"certificatesResolvers.{resolver(edge.acme)}.acme.{key}": value
            for key, value in _acme(edge, storage).items()
        }
        # A change of what it serves makes it ask again for names without a certificate: see files/acme-traefik.sh.
        flags["providers.rest.insecure"] = "true"
    return [f"--{key}={value}" for key, value in flags.items()]


_HTTP = {
    # Object keys may have two slashes in a row, and an upload may take any time.
    "http.sanitizePath": "false",
    "transport.respondingTimeouts.readTimeout": "0",
    "http.aliasHeadersStrategy": "delete",
}


def _acme(edge: Edge, storage: str) -> dict[str, str]:
    assert edge.acme
    resolver = {
        "email": edge.acme.email,
        "caServer": edge.acme.directory,
        "storage": storage,
        "keyType": "EC256",
        "certificatesDuration": str(edge.acme.lifetime_hours),
        "httpChallenge.entryPoint": "p80",
    }
    return resolver | ({"caCertificates": f"{INSIDE}/{ACME_AUTHORITY}"} if edge.acme.authority else {})


def service(host: Host[Settings], edge: Edge) -> dict[str, Any]:
    """The container, hardened like that of a service: no root, no capabilities, and only its certificates can be written."""
    inside = {row.port for row in edge.routes if row.inside}
    page = Service(
        image=edge.image,
        entrypoint=["traefik"],
        command=arguments(edge),
        ports=[Port(port=port, to=port, listen=edge.listen) for port in ports(edge) if port not in inside],
        grace=60,
    )
    reference, uid = image(host, edge.image).reference, host.settings.data_user.uid
    networks = joins(containers(host.settings)[CONTAINER])
    made = definition(CONTAINER, page, uid, reference, networks, "", [Folder(HERE, INSIDE, (), ())])
    # Not in the folder of its configuration, which every backup set copies.
    return {**made, "volumes": [*made["volumes"], *([bind(KEPT, "/acme")] if edge.tls == ACME else [])]}


def answers() -> Serving:
    return Serving(CONTAINER, Question(http=f":{ALIVE}/ping"), 30)


def check(host: Host[Settings], edge: Edge, text: str) -> str:
    """Traefik checks the new file, in a container beside the running one, with the same image."""
    reference, uid = image(host, edge.image).reference, host.settings.data_user.uid
    given = quote_all(arguments(edge, "@ROUTES@", "/tmp/acme.json")).replace("@ROUTES@", f"{INSIDE}/$(basename {{}})")
    return (
        f"{{ docker rm -f {CHECK} >/dev/null 2>&1 || :; "
        f"docker run -d --name {CHECK} --network none --read-only --tmpfs /tmp -u {uid}:{uid} -v {HERE}:{INSIDE}:ro"
        f" --entrypoint traefik {quote(reference)} {given} >/dev/null; "
        f"ended=0; ( {_takes_up(CHECK, text, bool(edge.traefik.docker))} ) || ended=1; docker rm -f {CHECK} >/dev/null 2>&1 || :; [ $ended = 0 ]; }}"
    )


def taken_up(edge: Edge, text: str, files: tuple[str, ...]) -> FreshContainer:
    """Traefik watches its file of routes; a changed certificate or list of users is read when that file is touched."""
    act = f"touch {ROUTES}\n( {_takes_up(CONTAINER, text, bool(edge.traefik.docker))}\n)"
    return FreshContainer(CONTAINER, (ROUTES, *files), act, f"waits until {CONTAINER} has taken up its routes")


def _takes_up(container: str, text: str, labels: bool) -> str:
    """Shell that exits with 0 when a container serves exactly this table without an error, else prints why not."""
    ask = f"nsenter -t \"$pid\" -n curl -q -s --noproxy '*' -m 2 http://127.0.0.1:{ALIVE}/api"
    # What labels of containers have wrong is no fault of this table.
    others = '[ -n "$errors" ] || exit 0' if labels else ":"
    return f"""n=0
while :; do
  pid=$(docker inspect -f '{{{{.State.Pid}}}}' -- {container} 2>/dev/null) || pid=0
  if [ "$pid" != 0 ] && {ask}/http/middlewares/{marker(text)}@file | grep -q stripPrefix; then
    # A certificate that ends soon is a warning there, and no reason to refuse routes.
    bad=$({ask}/overview | sed 's/"certificates":{{[^}}]*}}//' | grep -oE '"(errors|warnings)":[1-9]' || :)
    [ -n "$bad" ] || exit 0
    errors=$({ask}/rawdata | grep -oE '"[^"]*@[a-z]+":|"error":\\["[^]]*' | grep -B1 '"error"' | grep -A1 '@file":' || :)
    {others}
    printf '%s\n' "$errors" | head -n 6
    exit 1
  fi
  n=$((n + 1)); [ $n -lt {PATIENCE * 5} ] || {{ docker logs --tail 5 -- {container} 2>&1; exit 1; }}
  sleep 0.2
done"""

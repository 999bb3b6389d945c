"""The edge: S3 on one port and the console on another, spread over the nodes, streaming, failing over off a dead one."""

from __future__ import annotations

import hashlib
from typing import Any

from converge.engine.resource import Shell, in_order
from converge.engine.role import Wanted, role
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.resources.account import Group, User
from converge.resources.compose import FOLDER, Answers, Project
from converge.resources.definition import bind, hardened, published
from converge.resources.file import Directory, File
from converge.resources.fresh import reloaded
from converge.shell import quote, words
from converge.templates import render
from roles.images import image, salt
from roles.settings.local_file import local_text

HERE = f"{FOLDER}/nginx/conf"
INSIDE = "/etc/stowage"
CONFIG = f"{HERE}/nginx.conf"
SETTLED = "/tmp/settled"
"""There while no node has come or gone lately, or that is proven to be no matter: see files/nginx-settled.sh."""
PROVEN = "/run/stowage-proven"
"""A file of the host whose time is that of the last proof that data passes through all nodes."""
MOST_ASKED = 4
"""Nodes whose 404 is wanted when all of them answer."""
MOST_SILENT = 4
"""Nodes that may stay silent while others are asked: nginx leads a request on ten times at most."""


@role(needs=("docker", "images"))
def nginx(host: Any) -> Wanted:
    settings, owner = host.settings.nginx, host.settings.data_user
    if settings is None:
        raise Trouble(
            "the role nginx needs settings",
            where=host.name,
            why="the inventory has no nginx section",
            hint="see inventory/group_vars/weatherlearn.yml",
        )
    reference = image(host, settings.image).reference
    if host.settings.minio is None:
        raise Trouble(
            "the role nginx has nothing to stand before",
            where=host.name,
            why="the inventory has no minio section",
            hint="see inventory/group_vars/weatherlearn.yml",
        )
    # Proven by the very program that will read it; the directory is bound, since a renamed file stays the old one inside.
    # By name, so that what a cut run has left of it goes with the next one.
    check = (
        "docker rm -f stowage-nginx-check >/dev/null 2>&1 || :; "
        f"docker run --rm --name stowage-nginx-check --network none --read-only --tmpfs /tmp -u {owner.uid}:{owner.uid} -v {HERE}:{INSIDE}:ro"
        f" --entrypoint nginx {quote(reference)} -t -q -c {INSIDE}/$(basename {{}})"
    )
    certificates = _certificates(host)
    nodes = host.settings.minio.nodes
    config = render(
        host,
        "nginx.conf.j2",
        settings=settings,
        nodes=nodes,
        opinions=min(len(nodes), MOST_ASKED),
        enough=enough(len(nodes)),
        missing=min(len(nodes) - enough(len(nodes)), MOST_SILENT),
        domain=host.settings.minio.environment.get("MINIO_DOMAIN", ""),
        inside=INSIDE,
        settled=SETTLED,
    )
    settled = (host.root / "files/nginx-settled.sh").read_text()
    scheme = "https" if settings.tls else "http"
    yield in_order(Group(owner.name, owner.uid), User(owner.name, owner.uid))
    yield in_order(
        Directory(FOLDER),
        Directory(f"{FOLDER}/nginx"),
        Directory(HERE, group=owner.name, mode="0750"),
        *certificates,
        File(f"{HERE}/settled", settled),
        File(CONFIG, config, mode="0644", check=check, until_loaded=True),
        Project(
            "nginx",
            {"nginx": service(host)},
            {host.settings.network.name: {"external": True}},
            salt={"nginx": f"{salt(host, settings.image)} {hashlib.sha256(settled.encode()).hexdigest()}"},
            warning=_exposed(settings),
        ),
        reloaded(
            "nginx",
            (CONFIG, *(one.path for one in certificates)),
            *("nginx", "-s", "reload", "-c", f"{INSIDE}/nginx.conf"),
            retired="worker process is shutting down",
        ),
        Answers(
            "nginx",
            (f"{scheme}://{settings.address}:9000/stowage/alive", f"{scheme}://{settings.address}:9001/stowage/alive"),
            within=30,
            after=(Shell(settle(host)),),
        ),
    )


def proven(host: Any) -> str:
    """The shell after a proof that every node reaches the others' drives: nginx need not wait until they are older."""
    return f": >{PROVEN}\n{settle(host)}"


def settle(host: Any) -> str:
    """The shell that tells nginx, where it runs, that no node is young: each was there at the last proof, or 40 s ago."""
    if host.settings.nginx is None or "nginx" not in host.settings.roles:
        return ":"
    started = "{{if .State.Running}}{{.State.StartedAt}}{{else}}9999-01-01{{end}}"
    nodes = words(node.name for node in host.settings.minio.nodes)
    return f"""(
[ "$(docker inspect -f '{{{{.State.Running}}}}' -- nginx 2>/dev/null)" = true ] || exit 0
! docker exec nginx test -e {SETTLED} || exit 0
old=$(($(date +%s) - 40)) mark=$(stat -c %Y {PROVEN} 2>/dev/null || echo 0)
[ "$mark" -lt "$old" ] || old=$mark
all=$(docker inspect -f {quote(started)} -- {nodes}) || exit 0
for one in $all; do [ "$(date -d "$one" +%s)" -le "$old" ] || exit 0; done
sleep 3 # by then its script has seen that they came back
docker exec nginx touch {SETTLED}
)"""


def passes(host: Any) -> str:
    """The shell that waits until nginx passes requests on to a cluster that takes writes, eight times in a row."""
    settings = host.settings.nginx
    url = f"{'https' if settings.tls else 'http'}://{settings.address}:9000/minio/health/cluster"
    return f"""n=0 well=0
while [ $well -lt 8 ]; do
  said=$(curl -q -s -k --noproxy '*' -o /dev/null -m 3 -w '%{{http_code}}' {quote(url)}) || :
  if [ "$said" = 200 ]; then well=$((well + 1)); continue; fi
  well=0 n=$((n + 1)); [ $n -lt 60 ] || {{ echo {quote(url)} answers "$said"; exit 1; }}
  sleep 0.5
done"""


def enough(nodes: int) -> int:
    """How many nodes must say that something is not there when the others are silent: more than half, four at most."""
    return min(nodes // 2 + 1, MOST_ASKED)


def _exposed(settings: Any) -> str:
    from ipaddress import ip_address

    if settings.tls or ip_address(settings.listen).is_loopback:
        return ""
    return f"{settings.listen} without TLS: keys are signed, data is not hidden; and ports of Docker bypass ufw"


def _certificates(host: Any) -> list[File]:
    tls, owner = host.settings.nginx.tls, host.settings.data_user
    if tls is None:
        return []
    certificate, key = (local_text(host, f"nginx.tls.{name}", getattr(tls, name)) for name in ("certificate", "key"))
    return [
        File(f"{HERE}/tls.crt", certificate, group=owner.name, mode="0640", until_loaded=True),
        File(f"{HERE}/tls.key", Secret(key), owner=owner.name, group=owner.name, mode="0400", until_loaded=True),
    ]


def service(host: Any) -> dict[str, Any]:
    """The container: no root, no capabilities, nothing to write but its own /tmp."""
    settings, owner = host.settings.nginx, host.settings.data_user
    return hardened(
        "nginx",
        image(host, settings.image).reference,
        owner.uid,
        entrypoint=["sh", "-c"],
        command=[
            f"sh {INSIDE}/settled {INSIDE}/nginx.conf {SETTLED} & exec nginx -c {INSIDE}/nginx.conf -g 'daemon off;'"
        ],
        ports=[
            published(settings.listen, settings.api_port, 9000),
            published(settings.listen, settings.console_port, 9001),
        ],
        volumes=[bind(HERE, INSIDE, read_only=True)],
        networks={host.settings.network.name: {"ipv4_address": settings.address}},
        stop_signal="SIGQUIT",
        stop_grace_period="60s",
    )

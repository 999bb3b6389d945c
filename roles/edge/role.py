"""The edge of a host: only what the table of routes names is reached from outside."""

from __future__ import annotations

import base64
import hashlib
import string
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from converge.engine.resource import Shell, in_order
from converge.engine.role import Wanted, role
from converge.inventory.secret import Secret
from converge.resources.account import Group, User
from converge.resources.compose import FOLDER, NoProject, Project
from converge.resources.file import Directory, File
from converge.resources.fresh import FreshContainer, reloaded
from converge.resources.package import Packages
from converge.resources.serving import Question, Serving
from converge.shell import quote
from roles.edge import acme, authority, nginx, own_certificates, traefik, traefik_acme, traefik_routes
from roles.edge.gone import gone
from roles.edge.nginx import ALIVE, CONTAINER, HERE, INSIDE, SETTLED
from roles.edge.routes import ACME, API, LOCAL, active, certificate, target_port
from roles.edge.served import places
from roles.images import image, image_identity
from roles.minio.tls import authority as minio_authority
from roles.services.configuration import Folder
from roles.services.definition import definition
from roles.services.settings import Port, Service
from roles.settings.networks import containers, external, joins
from roles.settings.sections import needed

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge
    from roles.settings.model import Settings

CONFIG = f"{HERE}/nginx.conf"
WITHIN = 30
"""Seconds in which it must answer."""


@role(needs=("docker", "images"), gone=gone)
def edge(host: Host[Settings]) -> Wanted:
    settings, owner = settings_of(host), host.settings.data_user
    yield in_order(Group(owner.name, owner.uid), User(owner.name, owner.uid))
    if places(host.settings):
        # Makes certificates, and looks at those that are served; a small system has it not.
        yield Packages("certificates", ("openssl",))
    yield from (_nginx if settings.kind == "nginx" else _traefik)(host, settings)


def _nginx(host: Host[Settings], settings: Edge) -> Wanted:
    files = [*_certificates(host, settings, HERE), *_users(host, settings, HERE)]
    helper = File(f"{HERE}/settled", (host.root / "files/nginx-settled.sh").read_text())
    signed = authority.names_of(settings)
    owner = host.settings.data_user.name
    leaf = authority.LocalCertificate(HERE, LOCAL, owner, signed)
    asked = acme.leaves(host, settings, HERE)
    keys = [path for each in (*([leaf] if signed else []), *asked) for path in each.files]
    loaded = reloaded(
        CONTAINER,
        (CONFIG, *(file.path for file in files), *keys),
        *("nginx", "-s", "reload", "-c", f"{INSIDE}/nginx.conf"),
        retired="worker process is shutting down",
    )
    told = _told(host, settings, loaded)
    yield in_order(
        *_folders(host, HERE),
        *([*authority.tools(host), leaf] if signed else []),
        *([*acme.tools(host), *acme.shown(host), *asked] if settings.tls == ACME else []),
        *files,
        helper,
        *([Directory(nginx.KEPT, owner=owner, group=owner, mode="0700")] if nginx.keeps(settings) else []),
        File(CONFIG, nginx.config(host, settings), mode="0644", check=_check(host, settings), until_loaded=True),
        NoProject(traefik.CONTAINER, keeps=f"its account at an authority, if it has one, in {traefik.KEPT}"),
        Project(
            CONTAINER,
            {CONTAINER: service(host)},
            external(containers(host.settings)[CONTAINER]),
            also_hashed={CONTAINER: f"{image_identity(host, settings.image)} {helper.sha256}"},
            warning=_warning(host, settings),
        ),
        told,
        answers(host),
    )
    if signed:
        yield in_order(*authority.renewed(host, leaf, CONTAINER, loaded.taken_up(loaded.act)))
    if settings.tls == ACME:
        yield in_order(*acme.renewed(host, settings, asked, loaded.taken_up(loaded.act)))


def _traefik(host: Host[Settings], settings: Edge) -> Wanted:
    files = [*_certificates(host, settings, traefik.HERE), *_users(host, settings, traefik.HERE)]
    hashes = {file.path.rpartition("/")[2]: file.sha256[:8] for file in files}
    text = traefik_routes.config(host, settings, hashes)
    signed = authority.names_of(settings)
    leaf = authority.LocalCertificate(traefik.HERE, LOCAL, host.settings.data_user.name, signed)
    loaded = traefik.taken_up(settings, text, (*(file.path for file in files), *(leaf.files if signed else ())))
    kept = traefik_acme.kept(host, settings)
    told = _told(host, settings, loaded)
    yield in_order(
        *_folders(host, traefik.HERE),
        *([*authority.tools(host), leaf] if signed else []),
        *files,
        *kept,
        File(traefik.ROUTES, text, check=traefik.check(host, settings, text), until_loaded=True),
        NoProject(CONTAINER, keeps=f"its account at an authority, if it has one, in {acme.ACCOUNT}"),
        Project(
            traefik.CONTAINER,
            {traefik.CONTAINER: traefik.service(host, settings)},
            external(containers(host.settings)[traefik.CONTAINER]),
            also_hashed={
                traefik.CONTAINER: " ".join(
                    [image_identity(host, settings.image), *(part.sha256 for part in kept if isinstance(part, File))]
                )
            },
            warning=_warning(host, settings),
        ),
        told,
        traefik.answers(),
    )
    if signed:
        yield in_order(*authority.renewed(host, leaf, traefik.CONTAINER, loaded.taken_up(f"touch {traefik.ROUTES}")))
    if settings.tls == ACME:
        yield in_order(*traefik_acme.asked(host, settings))


def _told(host: Host[Settings], settings: Edge, loaded: FreshContainer) -> FreshContainer:
    """The reload, with what clients will not like: certificates change without the project."""
    troubles = "; ".join(own_certificates.troubles(host, settings))
    return replace(loaded, says=f"{loaded.says}; warning: {troubles}") if troubles else loaded


def _folders(host: Host[Settings], here: str) -> list[Directory]:
    owner = host.settings.data_user.name
    return [Directory(FOLDER), Directory(here.rpartition("/")[0]), Directory(here, group=owner, mode="0750")]


def answers(host: Host[Settings]) -> Serving:
    """A check that the edge answers; nginx has a port for that, as each port of the table may need a name, a password or another protocol."""
    if settings_of(host).kind == "traefik":
        return traefik.answers()
    return Serving(CONTAINER, Question(http=f":{ALIVE}/stowage/alive"), WITHIN, after=(Shell(nginx.settle(host)),))


def settings_of(host: Host[Settings]) -> Edge:
    """The edge section, which a host with this role must have."""
    section = needed(host, "edge", host.settings.edge, "weatherlearn.yml")
    return section.model_copy(update={"routes": active(host.settings, section)})


def _check(host: Host[Settings], settings: Edge) -> str:
    """nginx checks the new file, in a container beside the running one, with the same image."""
    reference, uid = image(host, settings.image).reference, host.settings.data_user.uid
    kept = f" --tmpfs {nginx.KEPT_INSIDE}" if nginx.keeps(settings) else ""
    # with a name, so that the next run removes what an interrupted one left
    return (
        "docker rm -f stowage-nginx-check >/dev/null 2>&1 || :; "
        f"docker run --rm --name stowage-nginx-check --network none --read-only --tmpfs /tmp{kept} -u {uid}:{uid} -v {HERE}:{INSIDE}:ro"
        f" --entrypoint nginx {quote(reference)} -t -q -c {INSIDE}/$(basename {{}})"
    )


def _warning(host: Host[Settings], settings: Edge) -> str:
    return "; ".join(filter(None, (_exposed(settings), *own_certificates.troubles(host, settings))))


def _exposed(settings: Edge) -> str:
    rows = [row for row in settings.routes if not row.tcp and not row.inside and not target_port(row)]
    clear = sorted({row.port for row in rows if not certificate(settings, row)})
    if not clear or ip_address(settings.listen).is_loopback:
        return ""
    ports = ", ".join(map(str, clear))
    shown = "data and passwords are" if any(row.auth and row.port in clear for row in rows) else "data is"
    return f"{settings.listen}:{ports} without TLS: keys are signed, {shown} not hidden; and ports of Docker bypass ufw"


def _certificates(host: Host[Settings], settings: Edge, here: str) -> Iterator[File]:
    owner = host.settings.data_user.name
    for name, tls in nginx.certificates(settings).items():
        where = own_certificates.setting(settings, tls)
        chain, key = own_certificates.read(host, where, tls)
        yield File(f"{here}/{name}.crt", chain, group=owner, mode="0640", until_loaded=True)
        yield File(f"{here}/{name}.key", Secret(key), owner=owner, group=owner, mode="0400", until_loaded=True)
    if signer := minio_authority(host):
        yield File(f"{here}/{nginx.MINIO_AUTHORITY}", signer, group=owner, mode="0640", until_loaded=True)


def _users(host: Host[Settings], settings: Edge, here: str) -> Iterator[File]:
    owner = host.settings.data_user.name
    for names, file in nginx.user_files(settings).items():
        lines = "".join(f"{name}:{hashed(host.name, name, settings.users[name])}\n" for name in names)
        if settings.kind == "traefik":
            lines = lines.replace(":$2b$", ":$2y$")  # two prefixes of the same hash, of which nginx knows one
        yield File(f"{here}/{file}", Secret(lines), owner=owner, group=owner, mode="0400", until_loaded=True)


def hashed(host: str, user: str, password: Secret) -> str:
    """The hash of a password for nginx. The salt is made of the names, so that the file stays the same from one run to the next.

    2^5 rounds, as `htpasswd -B` has them: nginx hashes again for each request.
    """
    import bcrypt

    salt = base64.b64encode(hashlib.sha256(f"{host} {user}".encode()).digest()[:16]).rstrip(b"=")
    return bcrypt.hashpw(password.reveal().encode(), b"$2b$05$" + salt.translate(_BCRYPT)).decode()


_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
_BCRYPT = bytes.maketrans(f"{_LETTERS}+/".encode(), f"./{_LETTERS}".encode())
"""bcrypt has its own order of base64's letters."""


def service(host: Host[Settings]) -> dict[str, Any]:
    """The container, hardened like that of a service: no root, no capabilities, and only its own /tmp can be written."""
    settings = settings_of(host)
    serves = f"exec nginx -c {INSIDE}/nginx.conf -g 'daemon off;'"
    helper = f"sh {INSIDE}/settled {INSIDE}/nginx.conf {SETTLED} & " if _leads_to_api(settings) else ""
    signed = settings.tls == ACME
    ports = sorted({*(row.port for row in settings.routes if not row.inside), *([acme.PORT] if signed else [])})
    page = Service(
        image=settings.image,
        entrypoint=["sh", "-c"],
        command=[f"{helper}{serves}"],
        ports=[Port(port=port, to=port, listen=settings.listen) for port in ports],
        data={nginx.KEPT_INSIDE: nginx.KEPT} if nginx.keeps(settings) else {},
        grace=60,
    )
    reference, uid = image(host, settings.image).reference, host.settings.data_user.uid
    networks = joins(containers(host.settings)[CONTAINER])
    folders = [Folder(HERE, INSIDE, (), ()), *([Folder(acme.PROOFS, acme.PROOFS_INSIDE, (), ())] if signed else [])]
    made = definition(CONTAINER, page, uid, reference, networks, "", folders)
    return {**made, "stop_signal": "SIGQUIT"}


def _leads_to_api(settings: Edge) -> bool:
    return any(row.to == API for row in settings.routes)

"""PostgreSQL, with what its databases need of extensions: one server, on the private network, its data in a folder of the host."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from converge.engine.resource import Resource, in_order
from converge.engine.role import Wanted, role
from converge.inventory.secret import Secret
from converge.resources.account import Group, User
from converge.resources.compose import FOLDER, GRACE, Project
from converge.resources.definition import healthcheck
from converge.resources.file import Directory, File
from converge.resources.mount import Mount
from roles.edge import acme, authority, own_certificates
from roles.edge.gone import gone
from roles.edge.routes import certificate as certificate_of
from roles.images import image, image_identity
from roles.postgres.configuration import Configuration
from roles.postgres.server import CONTAINER, Server
from roles.postgres.server_kinds import Data, Offer, Ready
from roles.postgres.trial import Trial
from roles.services.configuration import Folder
from roles.services.definition import definition
from roles.services.settings import Port, Service
from roles.settings.fields import size_in_bytes
from roles.settings.networks import external, joined, joins
from roles.settings.sections import needed

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.postgres.settings import Postgres
    from roles.settings.model import Settings

HERE = f"{FOLDER}/postgres"
SECRETS, CONFIG = f"{HERE}/secrets", f"{HERE}/conf"
SECRETS_INSIDE, CONFIG_INSIDE = "/run/secrets/postgres", "/etc/stowage"
DATA_INSIDE = "/var/lib/postgresql/data"
# Its socket cannot be reached from outside of the container, where only root of the host gets in.
ACCESS = """# Written by Stowage. Who reaches the port is Docker's business (postgres.listen), who gets in is that of passwords.
local all,replication {superuser} trust
local all all scram-sha-256
host all,replication all all scram-sha-256
"""


# With a certificate nobody is let in without TLS, but for who asks from within the container.
ENCRYPTED = """# Written by Stowage. Who reaches the port is the edge's business (edge.routes), who gets in is that of passwords.
local all,replication {superuser} trust
local all all scram-sha-256
host all,replication all 127.0.0.1/32 scram-sha-256
hostssl all,replication all all scram-sha-256
"""


@role(needs=("docker", "images"), gone=gone)
def postgres(host: Host[Settings]) -> Wanted:
    server, settings, owner = server_of(host), settings_of(host), host.settings.data_user
    certificate = list(_certificate(host))
    keys = tuple(path for resource in certificate for path in _paths(resource))
    access = (ENCRYPTED if keys else ACCESS).format(superuser='"' + settings.superuser + '"')
    needed = tuple(sorted({name for base in host.settings.databases for name in base.extensions}))
    # The folder may be on a data drive: then the drive comes first, and nothing is written in its place.
    drives = [drive for drive in host.settings.drives if settings.data.startswith(f"{drive.path}/")]
    yield in_order(
        # What other roles want as well stands first: a link that is theirs passes on no refusal from before it.
        Group(owner.name, owner.uid),
        User(owner.name, owner.uid),
        Directory(FOLDER),
        *(Mount(drive.path, label=drive.label, options=drive.options) for drive in drives),
        Data(settings.data, settings.major),
        Offer(image(host, settings.image).reference, settings.major, needed),
        Directory(HERE),
        Directory(SECRETS, owner=owner.name, group=owner.name, mode="0500"),
        # Read once, when a new cluster is made. Later the role `databases` keeps the password.
        File(f"{SECRETS}/password", settings.superuser_password, owner=owner.name, group=owner.name, mode="0400"),
        Directory(CONFIG, group=owner.name, mode="0750"),
        *certificate,
        File(f"{CONFIG}/pg_hba.conf", access, until_loaded=True),
        Directory(settings.data, owner=owner.name, group=owner.name, mode="0700"),
        *([_trial(host)] if settings.settings else []),
        Project(
            "postgres",
            {CONTAINER: service(host)},
            external(joined(host.settings, settings.networks)),
            also_hashed={CONTAINER: image_identity(host, settings.image)},
            warning=_exposed(settings),
        ),
        authority.databases_loaded(keys),
        Ready(server),
        Configuration(server, DATA_INSIDE),
    )


def _certificate(host: Host[Settings]) -> Iterator[Resource]:
    """The server's own, where the edge passes its bytes on as they are: of files of the operator's, or signed on the host."""
    name, edge, owner = authority.databases_name(host.settings), host.settings.edge, host.settings.data_user.name
    if leaf := authority.databases_leaf(host):
        yield from authority.tools(host)
        yield leaf
    elif waiting := acme.databases_leaf(host):
        yield from acme.tools(host)
        yield waiting
    elif name and edge:
        row = next(route for route in edge.routes if route.tcp and route.host == name)
        tls = certificate_of(edge, row)
        assert tls and not isinstance(tls, str)
        chain, key = own_certificates.read(host, "edge.tls", tls)
        yield File(f"{CONFIG}/server.crt", chain, group=owner, mode="0640", until_loaded=True)
        yield File(f"{CONFIG}/server.key", Secret(key), owner=owner, group=owner, mode="0400", until_loaded=True)


def _paths(resource: Resource) -> tuple[str, ...]:
    if isinstance(resource, authority.LocalCertificate):
        return resource.files
    return (resource.path,) if isinstance(resource, File) and resource.path.startswith(f"{CONFIG}/") else ()


def _trial(host: Host[Settings]) -> Trial:
    settings = settings_of(host)
    return Trial(
        image(host, settings.image).reference,
        host.settings.data_user.uid,
        size_in_bytes(settings.shm_size),
        CONFIG,
        CONFIG_INSIDE,
        settings.settings,
    )


def settings_of(host: Host[Settings]) -> Postgres:
    """The postgres section, which a host with this role must have."""
    return needed(host, "postgres", host.settings.postgres)


def server_of(host: Host[Settings]) -> Server:
    """How the server is reached on the host."""
    settings = settings_of(host)
    return Server(settings.superuser, settings.data)


def _exposed(settings: Postgres) -> str:
    if settings.listen is None or ip_address(settings.listen).is_loopback:
        return ""
    return (
        f"{settings.listen} without TLS: passwords are never sent, data is not hidden; and ports of Docker bypass ufw"
    )


def service(host: Host[Settings]) -> dict[str, Any]:
    """The container, hardened like that of a service: no root, no capabilities, and only its data and memory can be written."""
    settings = settings_of(host)
    # Arguments are stronger than ALTER SYSTEM: what the inventory says is in force, whatever was tried out by hand.
    own = ("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")
    tls = {"ssl": "on", **{key: f"{CONFIG_INSIDE}/{file}" for key, file in own}}
    server_settings = {
        "listen_addresses": "*",
        "hba_file": f"{CONFIG_INSIDE}/pg_hba.conf",
        **(tls if authority.databases_name(host.settings) else {}),
        **settings.settings,
    }
    page = Service(
        image=settings.image,
        command=["postgres", *(word for key, value in server_settings.items() for word in ("-c", f"{key}={value}"))],
        environment={
            "PGDATA": DATA_INSIDE,
            "POSTGRES_USER": settings.superuser,
            "POSTGRES_PASSWORD_FILE": f"{SECRETS_INSIDE}/password",
            "POSTGRES_DB": "postgres",
            "POSTGRES_INITDB_ARGS": "--data-checksums --encoding=UTF8 --auth-local=trust --auth-host=scram-sha-256",
        },
        data={DATA_INSIDE: settings.data},
        # The home as well: newer images declare a volume there, and a nameless one would be left behind by each container.
        temporary=["/tmp", "/run/postgresql", "/var/lib/postgresql"],
        ports=[Port(port=settings.port, to=5432, listen=settings.listen)] if settings.listen else [],
        grace=GRACE,
    )
    reference, uid = image(host, settings.image).reference, host.settings.data_user.uid
    networks = joins(joined(host.settings, settings.networks), settings.address)
    folders = [Folder(SECRETS, SECRETS_INSIDE, (), ()), Folder(CONFIG, CONFIG_INSIDE, (), ())]
    return {
        **definition(CONTAINER, page, uid, reference, networks, HERE, folders),
        # Fast shutdown: sessions end, and nothing has to be recovered at the next start.
        "stop_signal": "SIGINT",
        "shm_size": str(size_in_bytes(settings.shm_size)),
        "healthcheck": healthcheck("pg_isready", "-q", "-h", "127.0.0.1", "-U", settings.superuser),
    }

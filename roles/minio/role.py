"""The MinIO cluster: one node for each drive, bound to the directory of that drive; all nodes are one unit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from converge.engine.resource import Call, Shell, in_order
from converge.engine.role import Wanted, role
from converge.inventory.secret import Secret
from converge.resources.compose import FOLDER, GRACE, Answers, Project
from converge.resources.definition import bind, hardened, healthcheck
from converge.resources.file import Directory, File
from converge.shell import quote_all
from roles.edge.nginx import proven
from roles.edge.routes import CONSOLE, leading_to
from roles.images import image, image_identity
from roles.minio import tls
from roles.minio.api import Api
from roles.minio.environment import QUEUE
from roles.minio.kms import KmsKey
from roles.minio.kms_key import fingerprint
from roles.minio.proof import prove_data_path
from roles.settings.networks import external, joined, joins
from roles.settings.sections import needed

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.minio.settings import Minio, Node, OpenId
    from roles.settings.model import Settings

SECRETS = f"{FOLDER}/minio/secrets"
INSIDE = "/run/secrets/minio"
OPENID = "openid.env"


# Without its identity provider MinIO only knows root, so the answers that it needs are there first.
@role(needs=("drives", "docker", "images"), after=("sso",))
def minio(host: Host[Settings]) -> Wanted:
    settings, owner = settings_of(host), host.settings.data_user
    names = [node.name for node in settings.nodes]
    secret = {"root_user": settings.root_user, "root_password": settings.root_password}
    if settings.kms_key:
        secret["kms_key"] = settings.kms_key
    if settings.openid:
        secret[OPENID] = _openid(settings.openid)
    files = [
        File(f"{SECRETS}/{name}", value, owner=owner.name, group=owner.name, mode="0400")
        for name, value in secret.items()
    ]
    # A new root credential must reach all nodes at once; only its hash goes into the label.
    certificates = tls.files(host, settings)
    # MinIO reads the authority only when it starts.
    read_at_start = files + [
        resource for resource in certificates if isinstance(resource, File) and "/CAs/" in resource.path
    ]
    identity = f"{image_identity(host, settings.image)} {' '.join(file.sha256[:12] for file in read_at_start)}"
    api = api_of(host)
    health = [f"{tls.scheme(settings)}://{node.address}:9000/minio/health" for node in settings.nodes]
    yield in_order(
        Directory(FOLDER),
        Directory(f"{FOLDER}/minio"),
        Directory(SECRETS, owner=owner.name, group=owner.name, mode="0500"),
        KmsKey(fingerprint(settings.kms_key.reveal()) if settings.kms_key else ""),
        *files,
        *certificates,
        *_queues(settings, owner.name),
        Project(
            "minio",
            {node.name: service(host, node) for node in settings.nodes},
            networks=external(joined(host.settings, settings.networks)),
            also_hashed=dict.fromkeys(names, identity),
            together=True,
            read_at_start=tuple(file.path for file in read_at_start),
            warning="; ".join(_warnings(settings)),
        ),
        Answers(
            "minio",
            tuple(f"{url}/{what}" for what in ("live", "cluster") for url in health),
            within=180,
            after=(
                Call(
                    partial(prove_data_path, api, folders=folders(host)),
                    says="a small object through each node, read through all",
                ),
                Shell(proven(host)),
                # Sync, so that a power cut cannot bring the proof bucket back. Dead drives are reported elsewhere.
                Shell(f"sync -f {quote_all(drive.path for drive in host.settings.drives)} || :"),
            ),
        ),
        *tls.served(settings, certificates),
    )


def _queues(settings: Minio, owner: str) -> Iterator[Directory]:
    """A folder for each node: two in one would send the same twice."""
    if settings.queue:
        folders = [settings.queue, *(f"{settings.queue}/{node.name}" for node in settings.nodes)]
        yield from (Directory(folder, owner=owner, group=owner, mode="0700") for folder in folders)


def _warnings(settings: Minio) -> Iterator[str]:
    if len(settings.nodes) == 1:
        yield "one node on one drive: no redundancy, all is lost with this drive"
    if settings.metrics.auth == "public":
        yield "minio.metrics is public: whoever reaches a node reads the names of all buckets"
    if not settings.root_drive_threshold:
        yield "no minio.root_drive_threshold: one guard less against data on the root disk"


def settings_of(host: Host[Settings]) -> Minio:
    """The minio section, which a host with this role must have."""
    return needed(host, "minio", host.settings.minio, "weatherlearn.yml")


def api_of(host: Host[Settings]) -> Api:
    """The cluster's API: at each node's own address, as root."""
    settings = settings_of(host)
    nodes = tuple((node.address, 9000) for node in settings.nodes)
    return Api(nodes, settings.root_user, settings.root_password, tls.authority(host))


def folders(host: Host[Settings]) -> tuple[str, ...]:
    """The nodes' data folders on the host."""
    paths = {drive.label: drive.path for drive in host.settings.drives}
    return tuple(f"{paths[node.drive]}/{node.drive}" for node in settings_of(host).nodes)


def service(host: Host[Settings], node: Node) -> dict[str, Any]:
    """One node's container, without the settings of the first or last node."""
    settings, owner = settings_of(host), host.settings.data_user
    path = next(drive.path for drive in host.settings.drives if drive.label == node.drive)
    environment = {
        "HOME": "/tmp",
        "MINIO_ROOT_USER_FILE": f"{INSIDE}/root_user",
        "MINIO_ROOT_PASSWORD_FILE": f"{INSIDE}/root_password",
        **({"MINIO_KMS_SECRET_KEY_FILE": f"{INSIDE}/kms_key"} if settings.kms_key else {}),
        # A secret without a file variable of its own goes into a file of variables.
        **({"MINIO_CONFIG_ENV_FILE": f"{INSIDE}/{OPENID}"} if settings.openid else {}),
        # The server asks for a token by default.
        **({"MINIO_PROMETHEUS_AUTH_TYPE": "public"} if settings.metrics.auth == "public" else {}),
        **_console_url(host),
        **settings.environment,
    }
    if settings.root_drive_threshold:
        from roles.settings.model import size_in_bytes

        # Without this MinIO, in a container, takes an empty directory on the root disk for a new drive.
        environment["MINIO_ROOTDRIVE_THRESHOLD_SIZE"] = str(size_in_bytes(settings.root_drive_threshold))
    return hardened(
        node.name,
        image(host, settings.image).reference,
        owner.uid,
        hostname=node.name,
        command=[
            "server",
            "--address",
            ":9000",
            "--console-address",
            ":9001",
            "--certs-dir",
            tls.INSIDE if settings.tls else "/tmp/certs",
            *endpoints(settings.nodes, tls.scheme(settings)),
        ],
        stop_grace_period=f"{GRACE}s",
        environment=environment,
        volumes=[
            # Only on the right drive, and never created by Docker: without it the node does not start.
            bind(f"{path}/{node.drive}", "/data"),
            bind(SECRETS, INSIDE, read_only=True),
            *([bind(tls.CERTIFICATES, tls.INSIDE, read_only=True)] if settings.tls else []),
            *([bind(f"{settings.queue}/{node.name}", QUEUE)] if settings.queue else []),
        ],
        networks=joins(joined(host.settings, settings.networks), node.address),
        # Fixed, so that the name of a node that is down still resolves.
        extra_hosts=[f"{other.name}:{other.address}" for other in settings.nodes if other is not node],
        healthcheck=healthcheck(
            *("curl", "-fsS", *(["-k"] if settings.tls else []), "-o", "/dev/null"),
            f"{tls.scheme(settings)}://127.0.0.1:9000/minio/health/live",
        ),
    )


def _openid(settings: OpenId) -> Secret:
    """The identity provider; its address and the secret are in one file."""
    variables = {
        "CONFIG_URL": settings.config_url,
        "CLIENT_ID": settings.client,
        "CLIENT_SECRET": settings.secret.reveal(),
        "CLAIM_NAME": settings.claim,
        "SCOPES": ",".join(settings.scopes),
        "DISPLAY_NAME": settings.label,
    }
    return Secret("".join(f'MINIO_IDENTITY_OPENID_{key}="{value}"\n' for key, value in variables.items()))


def _console_url(host: Host[Settings]) -> dict[str, str]:
    """The console's address, which it needs below a path; else it uses the address of the request."""
    edge = host.settings.edge
    path = next((row.path for row in leading_to(host.settings, CONSOLE) if row.path), None)
    return {"MINIO_BROWSER_REDIRECT_URL": f"{edge.url}{path}"} if edge and edge.url and path else {}


def endpoints(nodes: Sequence[Node], scheme: str = "http") -> list[str]:
    """The cluster's endpoints: `minio{1...4}` where the names are numbered without a gap, which MinIO's pools want."""
    if len(nodes) == 1:
        return ["/data"]
    numbered = [re.fullmatch(r"(.*\D|)(0|[1-9]\d*)", node.name) for node in nodes]
    if all(numbered):
        prefixes = {match[1] for match in numbered if match}
        numbers = [int(match[2]) for match in numbered if match]
        if len(prefixes) == 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return [f"{scheme}://{prefixes.pop()}{{{numbers[0]}...{numbers[-1]}}}:9000/data"]
    return [f"{scheme}://{node.name}:9000/data" for node in nodes]

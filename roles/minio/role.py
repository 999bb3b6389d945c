"""The MinIO cluster: one node a drive, each bound to its own drive's directory, all of them one unit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from converge.engine.resource import Call, Shell, in_order
from converge.engine.role import Wanted, role
from converge.errors import Trouble
from converge.resources.compose import FOLDER, GRACE, Answers, Project
from converge.resources.definition import bind, hardened, healthcheck
from converge.resources.file import Directory, File
from converge.shell import words
from roles.images import image, salt
from roles.minio.api import Api, prove_data_path
from roles.minio.kms import KmsKey
from roles.minio.kms_key import fingerprint
from roles.nginx import proven

SECRETS = f"{FOLDER}/minio/secrets"
INSIDE = "/run/secrets/minio"


@role(needs=("drives", "docker", "images"))
def minio(host: Any) -> Wanted:
    settings, owner = settings_of(host), host.settings.data_user
    names = [node.name for node in settings.nodes]
    secret = {"root_user": settings.root_user, "root_password": settings.root_password}
    if settings.kms_key:
        secret["kms_key"] = settings.kms_key
    files = [
        File(f"{SECRETS}/{name}", value, owner=owner.name, group=owner.name, mode="0400")
        for name, value in secret.items()
    ]
    # A new root credential must reach all nodes at once; only its hash goes into the label.
    salted = f"{salt(host, settings.image)} {' '.join(one.sha256[:12] for one in files)}"
    api = api_of(host)
    health = [f"http://{node.address}:9000/minio/health" for node in settings.nodes]
    yield in_order(
        Directory(FOLDER),
        Directory(f"{FOLDER}/minio"),
        Directory(SECRETS, owner=owner.name, group=owner.name, mode="0500"),
        KmsKey(fingerprint(settings.kms_key.reveal()) if settings.kms_key else ""),
        *files,
        Project(
            "minio",
            {node.name: service(host, node) for node in settings.nodes},
            networks={host.settings.network.name: {"external": True}},
            salt=dict.fromkeys(names, salted),
            together=True,
            read_at_start=tuple(one.path for one in files),
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
                # A power cut would bring the bucket of the proof back. A dead drive is told by others.
                Shell(f"sync -f {words(drive.path for drive in host.settings.drives)} || :"),
            ),
        ),
    )


def _warnings(settings: Any) -> Iterator[str]:
    if len(settings.nodes) == 1:
        yield "one node on one drive: no redundancy, all is lost with this drive"
    if not settings.root_drive_threshold:
        yield "no minio.root_drive_threshold: one guard less against data on the root disk"


def settings_of(host: Any) -> Any:
    """The minio section, which a host with this role must have."""
    if host.settings.minio is None:
        raise Trouble(
            "the role minio needs settings",
            where=host.name,
            why="the inventory has no minio section",
            hint="see inventory/group_vars/weatherlearn.yml",
        )
    return host.settings.minio


def api_of(host: Any) -> Api:
    """How the cluster's API is reached: at each node's own address, as root."""
    settings = settings_of(host)
    return Api(tuple((node.address, 9000) for node in settings.nodes), settings.root_user, settings.root_password)


def folders(host: Any) -> tuple[str, ...]:
    """Where the nodes keep their data on the host."""
    paths = {drive.label: drive.path for drive in host.settings.drives}
    return tuple(f"{paths[node.drive]}/{node.drive}" for node in settings_of(host).nodes)


def service(host: Any, node: Any) -> dict[str, Any]:
    """One node's container, as far as it does not depend on being the first or the last."""
    settings, owner, network = host.settings.minio, host.settings.data_user, host.settings.network
    path = next(drive.path for drive in host.settings.drives if drive.label == node.drive)
    environment = {
        "HOME": "/tmp",
        "MINIO_ROOT_USER_FILE": f"{INSIDE}/root_user",
        "MINIO_ROOT_PASSWORD_FILE": f"{INSIDE}/root_password",
        **({"MINIO_KMS_SECRET_KEY_FILE": f"{INSIDE}/kms_key"} if settings.kms_key else {}),
        **settings.environment,
    }
    if settings.root_drive_threshold:
        from roles.settings.model import size_in_bytes

        # In a container MinIO takes an empty directory on the root disk for a new drive, unless it is told this.
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
            "/tmp/certs",
            *endpoints(settings.nodes),
        ],
        stop_grace_period=f"{GRACE}s",
        environment=environment,
        volumes=[
            # Missing on any drive but the right one, and never made by Docker: then the node does not start.
            bind(f"{path}/{node.drive}", "/data"),
            bind(SECRETS, INSIDE, read_only=True),
        ],
        networks={network.name: {"ipv4_address": node.address}},
        # Fixed, so that a node that is away does not lose its name.
        extra_hosts=[f"{one.name}:{one.address}" for one in settings.nodes if one is not node],
        healthcheck=healthcheck("curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:9000/minio/health/live"),
    )


def endpoints(nodes: Any) -> list[str]:
    """The cluster's endpoints: `minio{1...4}` where the names are numbered without a gap, which MinIO's pools want."""
    if len(nodes) == 1:
        return ["/data"]
    numbered = [re.fullmatch(r"(.*\D|)(0|[1-9]\d*)", node.name) for node in nodes]
    if all(numbered):
        prefixes = {one[1] for one in numbered if one}
        numbers = [int(one[2]) for one in numbered if one]
        if len(prefixes) == 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return [f"http://{prefixes.pop()}{{{numbers[0]}...{numbers[-1]}}}:9000/data"]
    return [f"http://{node.name}:9000/data" for node in nodes]

"""The configuration of a host's worker: the parts of the stack, what a set holds of them, and the targets."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.resources.compose import FOLDER
from roles.images import image
from roles.minio.role import SECRETS as MINIO_SECRETS
from roles.minio.role import folders
from roles.minio.role import settings_of as minio_settings
from roles.minio.tls import scheme
from roles.postgres.role import SECRETS as POSTGRES_SECRETS
from roles.postgres.role import settings_of as postgres_settings
from roles.postgres.server import CONTAINER
from roles.settings.model import size_in_bytes
from roles.settings.sections import needed
from worker.contract import STATE

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.backup.settings import Backup, Target
    from roles.settings.model import Settings

HERE = f"{FOLDER}/backup"
SECRETS = f"{HERE}/secrets"
STACK_AUTHORITY = f"{HERE}/minio.authority.pem"
"""Of the stack's own MinIO; no target has a name with a dot."""
# The files that a deploy writes on a host; with PostgreSQL's they are the configuration in a set.
DEPLOYED = (FOLDER, "/etc/docker/daemon.json", "/etc/fstab", "/var/lib/stowage/applied")


def settings_of(host: Host[Settings]) -> Backup:
    """The backup section, which a host with this role must have."""
    return needed(host, "backup", host.settings.backup)


def stack_of(host: Host[Settings]) -> str:
    name = str(settings_of(host).stack or host.name)
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise Trouble(
            f"{name} cannot be the name of a stack",
            where=host.name,
            why="on targets a stack is a folder: a word of a-z, 0-9 and -",
            untouched="nothing was changed",
            hint="backup: {stack: NAME} in the inventory",
        )
    return name


def text(host: Host[Settings], code: bytes) -> str:
    """The worker's configuration file, for the program `code`."""
    settings = settings_of(host)
    content = {
        "stack": stack_of(host),
        "host": host.name,
        "version": hashlib.sha256(code).hexdigest()[:12],
        "components": components(host.settings),
        "image": image(host, settings.image).reference,
        "services": services(host),
        **({"buckets": _buckets(host)} if has_buckets(host.settings) else {}),
        "identity_file": f"{SECRETS}/identity",
        "staging": settings.staging,
        # The user of programs in the staging directory: PostgreSQL's tools, servers of drills.
        "owner": f"{host.settings.data_user.uid}:{host.settings.data_user.uid}",
        "paths": list(DEPLOYED),
        "memory": size_in_bytes(settings.memory),
        "uploads": settings.uploads,
        "limit_rate": size_in_bytes(settings.limit_rate) if settings.limit_rate else 0,
        "dependents": settings.dependents,
        "answers": _answers(host),
        "retention": {"days": settings.keep_days},
        "textfile": settings.textfile,
        "ping": settings.ping,
        "single_copy": all(target.kind == "stack" for target in settings.targets),
        **({"postgres": _postgres(host)} if has_databases(host.settings) else {}),
        "targets": [_target(host, target) for target in settings.targets],
    }
    return json.dumps(content, indent=2) + "\n"


def _postgres(host: Host[Settings]) -> dict[str, Any]:
    """How the worker reaches the server, and the image that has its tools."""
    settings, server = settings_of(host), postgres_settings(host)
    return {
        "container": CONTAINER,
        "data": server.data,
        "address": server.address,
        "port": 5432,
        "user": server.superuser,
        "password_file": f"{POSTGRES_SECRETS}/password",
        "image": image(host, server.image).reference,
        "major": server.major,
        "jobs": settings.jobs,
    }


def components(settings: Settings) -> list[str]:
    """The components of a set of this host."""
    parts = {
        "config": True,
        "postgres": has_databases(settings),
        "buckets": has_buckets(settings),
        "services": any(service.backup for service in settings.services.values()),
    }
    return [name for name, there in parts.items() if there]


def has_databases(settings: Settings) -> bool:
    """Whether a set has databases of PostgreSQL."""
    return "postgres" in settings.roles and settings.postgres is not None


def has_buckets(settings: Settings) -> bool:
    """Whether a set has buckets of MinIO."""
    return "minio" in settings.roles and settings.minio is not None


def _buckets(host: Host[Settings]) -> dict[str, Any]:
    """The buckets of a set, and the access of the worker: as root, because it saves users and policies as well."""
    settings = settings_of(host)
    chosen = settings.buckets
    return {
        **_cluster(host),
        "access_key_file": f"{MINIO_SECRETS}/root_user",
        "secret_key_file": f"{MINIO_SECRETS}/root_password",
        # The image of the MinIO that a drill restores objects into.
        "image": image(host, minio_settings(host).image).reference,
        **({"kms_key_file": f"{MINIO_SECRETS}/kms_key"} if minio_settings(host).kms_key else {}),
        "names": chosen.names,
        "prefixes": chosen.prefixes,
        "versions": chosen.versions,
        # The nodes' folders by the names of the nodes: there the worker looks for objects that no listing shows.
        "drives": dict(zip((node.name for node in minio_settings(host).nodes), folders(host), strict=True)),
        "without": [target.bucket for target in settings.targets if target.kind == "stack"],
    }


def _cluster(host: Host[Settings]) -> dict[str, Any]:
    """The nodes of the stack's MinIO by their own addresses, and the authority of their certificate."""
    minio = minio_settings(host)
    nodes = [f"{scheme(minio)}://{node.address}:9000" for node in minio.nodes]
    return {"endpoints": nodes, **({"ca_file": STACK_AUTHORITY} if minio.tls else {})}


def services(host: Host[Settings]) -> dict[str, Any]:
    """The services with folders in a set: the folders on the host, and the shell that waits until the service answers."""
    from roles.services.role import answers

    kept = {}
    for name, service in host.settings.services.items():
        if service.backup:
            kept[name] = {
                "folders": {inside: service.data[inside] for inside in service.backup.folders},
                "stop": service.backup.stop,
                "waits": "".join(asked.waits() for asked in answers(name, service)),
            }
    return kept


def _answers(host: Host[Settings]) -> dict[str, str]:
    """For each dependent service the shell that waits until it answers."""
    from roles.services.role import answers

    pages = {
        name: host.settings.services[name] for name in settings_of(host).dependents if name in host.settings.services
    }
    waits = {name: "".join(asked.waits() for asked in answers(name, page)) for name, page in pages.items()}
    return {name: text for name, text in waits.items() if text}


def _target(host: Host[Settings], target: Target) -> dict[str, Any]:
    """The worker's configuration of a target."""

    def secret(key: str) -> str:
        return f"{SECRETS}/{target.name}-{key}"

    if target.kind == "path":
        server = host.settings.postgres
        elsewhere = [FOLDER, STATE, *([server.data] if server else [])]
        return {"kind": "path", "name": target.name, "path": target.path, "not_on": elsewhere}
    if target.kind == "sftp":
        place = {key: getattr(target, key) for key in ("host", "port", "user", "host_key", "path")}
        return {"kind": "sftp", "name": target.name, "key_file": secret("key"), **place}
    if target.kind == "stack":
        place = {**_cluster(host), "bucket": target.bucket, "prefix": ""}
        keys = {"access_key_file": secret("writer-name"), "secret_key_file": secret("writer")}
        pruner = {"access_key_file": secret("pruner-name"), "secret_key_file": secret("pruner")}
        return {"kind": "s3", "name": target.name, **place, **keys, "pruner": pruner}
    place = {"endpoints": [target.endpoint], "bucket": target.bucket, "prefix": target.prefix, "region": target.region}
    if target.certificate:
        place["ca_file"] = f"{HERE}/{target.name}.pem"
    settings = {"kind": "s3", "name": target.name, **place}
    settings |= {"access_key_file": secret("access_key"), "secret_key_file": secret("secret_key")}
    if target.pruner_access_key is not None:
        settings["pruner"] = {
            "access_key_file": secret("pruner_access_key"),
            "secret_key_file": secret("pruner_secret_key"),
        }
    return settings

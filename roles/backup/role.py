"""Backups that the host makes by itself: the worker, its targets and keys, the units, and the timer that starts it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from converge import templates
from converge.engine.resource import Resource, in_order
from converge.engine.role import Wanted, role
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.resources.compose import FOLDER
from converge.resources.file import Directory, File
from converge.resources.unit import StaticUnit, Unit
from roles.backup.settings import PRUNER, WRITER
from roles.images import image
from roles.minio.account_kinds import User
from roles.minio.bucket_kinds import Bucket
from roles.minio.policy_kinds import Policy
from roles.minio.role import SECRETS as MINIO_SECRETS
from roles.minio.role import api_of
from roles.minio.role import settings_of as minio_settings
from roles.minio.settings import Bucket as BucketSettings
from roles.minio.settings import Policy as PolicySettings
from roles.minio.settings import User as UserSettings
from roles.minio.tls import authority, scheme
from roles.postgres.role import SECRETS as POSTGRES_SECRETS
from roles.postgres.role import settings_of as postgres_settings
from roles.postgres.server import CONTAINER
from roles.settings.local_file import local_text
from roles.settings.model import size_in_bytes
from roles.settings.networks import first
from roles.settings.sections import needed
from worker.contract import CONFIG, RUNS, STATE

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.backup.settings import Backup, StackTarget, Target
    from roles.settings.model import Settings

HERE = f"{FOLDER}/backup"
SECRETS = f"{HERE}/secrets"
STACK_AUTHORITY = f"{HERE}/minio.authority.pem"
"""Of the stack's own MinIO; no target has a name with a dot."""
CODE = "/usr/local/lib/stowage/worker.pyz"
SCRIPT = "/usr/local/lib/stowage/backup"
# What a deploy writes on a host; with PostgreSQL's own this is what a set holds of configuration.
DEPLOYED = (FOLDER, "/etc/docker/daemon.json", "/etc/fstab", "/var/lib/stowage/applied")


@role(needs=("docker", "images", "postgres"), after=("minio",))
def backup(host: Host[Settings]) -> Wanted:
    settings = settings_of(host)
    for target in settings.targets:
        if target.kind == "stack":
            yield from _own_bucket(host, target)
    code = program(host.root / "worker")
    secrets = dict(_secrets(settings))
    yield in_order(
        Directory("/usr/local/lib/stowage"),
        File(CODE, code),
        Directory(FOLDER),
        Directory(HERE, mode="0700"),
        Directory(SECRETS, mode="0700"),
        *(File(f"{SECRETS}/{name}", value, mode="0400") for name, value in secrets.items()),
        *_authorities(host),
        File(CONFIG, _configuration(host, code), mode="0600"),
        Directory(STATE, mode="0700"),
        Directory(RUNS, mode="0700"),
        Directory(settings.staging, mode="0711"),
        *([Directory(settings.textfile)] if settings.textfile else []),
        File(SCRIPT, _script(host), mode="0755", check="sh -n {}"),
        File("/etc/systemd/system/stowage-backup@.service", _plain(host, "stowage-backup@.service")),
        File("/etc/systemd/system/stowage-backup.service", _plain(host, "stowage-backup.service")),
        File(
            "/etc/systemd/system/stowage-backup.timer",
            templates.render(host, "stowage-backup.timer.j2", schedule=settings.schedule),
            check=f"systemd-analyze calendar '{settings.schedule}' >/dev/null #",
            until_loaded=True,
        ),
        File("/etc/systemd/system/stowage-backup-cut.service", _plain(host, "stowage-backup-cut.service")),
        Unit("stowage-backup-cut.service"),
        Unit("stowage-backup.timer"),
        StaticUnit("stowage-backup.service"),
        StaticUnit("stowage-backup@any.service"),  # a template is asked about by one that could be
    )


def settings_of(host: Host[Settings]) -> Backup:
    """The backup section, which a host with this role must have."""
    return needed(host, "backup", host.settings.backup)


def stack_of(host: Host[Settings]) -> str:
    found = str(settings_of(host).stack or host.name)
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", found):
        raise Trouble(
            f"{found} cannot be the name of a stack",
            where=host.name,
            why="on targets a stack is a folder: a word of a-z, 0-9 and -",
            untouched="nothing was changed",
            hint="backup: {stack: NAME} in the inventory",
        )
    return found


def _own_bucket(host: Host[Settings], target: StackTarget) -> Wanted:
    """The stack's own bucket, a user who writes there and cannot delete, and one who removes old sets."""
    api, here = api_of(host), f"arn:aws:s3:::{target.bucket}"
    reads = ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation", "s3:GetLifecycleConfiguration"]
    reads += ["s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning"]
    for user, password, actions in (
        (WRITER, target.writer, ["s3:PutObject"]),
        (PRUNER, target.pruner, ["s3:DeleteObject", "s3:PutObject"]),
    ):
        statements = [{"Effect": "Allow", "Action": reads + actions, "Resource": [here, f"{here}/*"]}]
        chain: list[Resource] = [Policy(api, PolicySettings(name=user, statements=statements))]
        chain.append(User(api, UserSettings(name=user, password=password, policies=[user])))
        yield in_order(Bucket(api, BucketSettings(name=target.bucket)), *chain)


def _secrets(settings: Backup) -> list[tuple[str, Secret]]:
    """Files of their own: neither the configuration nor a request holds a secret."""
    found = [("identity", settings.identity)]
    for one in settings.targets:
        named = {"stack": ("writer", "pruner"), "sftp": ("key",), "path": ()}.get(
            one.kind, ("access_key", "secret_key", "pruner_access_key", "pruner_secret_key")
        )
        found += [(f"{one.name}-{key}", value) for key in named if (value := getattr(one, key)) is not None]
        if one.kind == "stack":
            found += [(f"{one.name}-writer-name", Secret(WRITER)), (f"{one.name}-pruner-name", Secret(PRUNER))]
    return found


def _authorities(host: Host[Settings]) -> list[File]:
    """Certificates of private authorities, for targets that have one."""
    own = [File(STACK_AUTHORITY, text)] if (text := authority(host)) else []
    return own + [
        File(f"{HERE}/{one.name}.pem", local_text(host, f"the certificate of {one.name}", one.certificate))
        for one in settings_of(host).targets
        if one.kind == "s3" and one.certificate
    ]


def _target(host: Host[Settings], one: Target) -> dict[str, Any]:
    """A target as the worker takes it."""

    def secret(key: str) -> str:
        return f"{SECRETS}/{one.name}-{key}"

    if one.kind == "path":
        server = host.settings.postgres
        elsewhere = [FOLDER, STATE, *([server.data] if server else [])]
        return {"kind": "path", "name": one.name, "path": one.path, "not_on": elsewhere}
    if one.kind == "sftp":
        told = {key: getattr(one, key) for key in ("host", "port", "user", "host_key", "path")}
        return {"kind": "sftp", "name": one.name, "key_file": secret("key"), **told}
    if one.kind == "stack":
        told = {**_cluster(host), "bucket": one.bucket, "prefix": ""}
        keys = {"access_key_file": secret("writer-name"), "secret_key_file": secret("writer")}
        pruner = {"access_key_file": secret("pruner-name"), "secret_key_file": secret("pruner")}
        return {"kind": "s3", "name": one.name, **told, **keys, "pruner": pruner}
    told = {"endpoints": [one.endpoint], "bucket": one.bucket, "prefix": one.prefix, "region": one.region}
    if one.certificate:
        told["ca_file"] = f"{HERE}/{one.name}.pem"
    found = {"kind": "s3", "name": one.name, **told}
    found |= {"access_key_file": secret("access_key"), "secret_key_file": secret("secret_key")}
    if one.pruner_access_key is not None:
        found["pruner"] = {
            "access_key_file": secret("pruner_access_key"),
            "secret_key_file": secret("pruner_secret_key"),
        }
    return found


def program(folder: Path) -> bytes:
    """The worker's modules as one file that Python imports from. The same for everybody who has the same modules: dates are left
    out, and nothing is compressed, which no two versions of zlib promise to do alike."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in sorted(folder.rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(str(path.relative_to(folder.parent))), path.read_bytes())
    return made.getvalue()


def _configuration(host: Host[Settings], code: bytes) -> str:
    settings, server = settings_of(host), postgres_settings(host)
    told = {
        "stack": stack_of(host),
        "host": host.name,
        "version": hashlib.sha256(code).hexdigest()[:12],
        "components": components(host.settings),
        "image": image(host, settings.image).reference,
        "services": _services(host),
        **({"buckets": _buckets(host)} if has_buckets(host.settings) else {}),
        "identity_file": f"{SECRETS}/identity",
        "staging": settings.staging,
        "paths": list(DEPLOYED),
        "memory": size_in_bytes(settings.memory),
        "uploads": settings.uploads,
        "dependents": settings.dependents,
        "retention": {"days": settings.keep_days},
        "textfile": settings.textfile,
        "ping": settings.ping,
        "single_copy": all(one.kind == "stack" for one in settings.targets),
        "postgres": {
            "container": CONTAINER,
            "data": server.data,
            "address": server.address,
            "port": 5432,
            "user": server.superuser,
            "password_file": f"{POSTGRES_SECRETS}/password",
            "image": image(host, server.image).reference,
            "major": server.major,
            "owner": f"{host.settings.data_user.uid}:{host.settings.data_user.uid}",
            "jobs": settings.jobs,
        },
        "targets": [_target(host, one) for one in settings.targets],
    }
    return json.dumps(told, indent=2) + "\n"


def components(settings: Settings) -> list[str]:
    """What a set of this host is made of."""
    buckets = ["buckets"] if has_buckets(settings) else []
    return [
        "config",
        "postgres",
        *buckets,
        *(["services"] if any(one.backup for one in settings.services.values()) else []),
    ]


def has_buckets(settings: Settings) -> bool:
    """Whether there is a MinIO whose buckets belong into a set."""
    return "minio" in settings.roles and settings.minio is not None


def _buckets(host: Host[Settings]) -> dict[str, Any]:
    """Which buckets a set holds, and how the worker reaches them: as root, for it saves who may use them as well."""
    settings = settings_of(host)
    told = settings.buckets
    return {
        **_cluster(host),
        "access_key_file": f"{MINIO_SECRETS}/root_user",
        "secret_key_file": f"{MINIO_SECRETS}/root_password",
        # What a drill puts objects back into.
        "image": image(host, minio_settings(host).image).reference,
        **({"kms_key_file": f"{MINIO_SECRETS}/kms_key"} if minio_settings(host).kms_key else {}),
        "names": told.names,
        "prefixes": told.prefixes,
        "versions": told.versions,
        "without": [one.bucket for one in settings.targets if one.kind == "stack"],
    }


def _cluster(host: Host[Settings]) -> dict[str, Any]:
    """The nodes of the stack's MinIO, by their own addresses, and who signed their certificate."""
    minio = minio_settings(host)
    nodes = [f"{scheme(minio)}://{node.address}:9000" for node in minio.nodes]
    return {"endpoints": nodes, **({"ca_file": STACK_AUTHORITY} if minio.tls else {})}


def _services(host: Host[Settings]) -> dict[str, Any]:
    """The services whose folders a set holds: where these lie, and how one waits until the service answers."""
    from roles.services.role import answers

    found = {}
    for name, one in host.settings.services.items():
        if one.backup:
            found[name] = {
                "folders": {inside: one.data[inside] for inside in one.backup.folders},
                "stop": one.backup.stop,
                "waits": "".join(asked.waits() for asked in answers(name, one)),
            }
    return found


def _folders(host: Host[Settings]) -> list[str]:
    return [path for one in _services(host).values() for path in one["folders"].values()]


def _script(host: Host[Settings]) -> str:
    settings = settings_of(host)
    places = [one.path for one in settings.targets if one.kind == "path"]
    values = SimpleNamespace(
        state=STATE,
        code=CODE,
        # Half a day less: the backup before which it is due does not begin at the same second each time.
        drilled_within=max(0, settings.drill_days * 24 * 60 - 12 * 60),
        networks=_networks(host.settings),
        memory=size_in_bytes(settings.memory),
        seen=[*DEPLOYED, postgres_settings(host).data, *_folders(host)],
        written=[STATE, settings.staging, *places, *([settings.textfile] if settings.textfile else [])],
        image=image(host, settings.image).reference,
        textfile=settings.textfile,
        stack=stack_of(host),
    )
    return templates.render(host, "backup.sh.j2", **vars(values))


def _networks(settings: Settings) -> list[str]:
    """Where the worker reaches the server, and the nodes of the stack's own bucket."""
    pages = [page for page in (settings.postgres, settings.minio) if page]
    return list(dict.fromkeys(first(settings, page.networks) for page in pages))


def _plain(host: Host[Settings], name: str) -> str:
    return str((host.root / "files" / name).read_text())

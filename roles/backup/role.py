"""Backups that the host makes itself: the worker, its targets and keys, the units, and the timer."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from converge import templates
from converge.engine.resource import Resource, in_order
from converge.engine.role import Wanted, role
from converge.inventory.secret import Secret
from converge.resources.compose import FOLDER
from converge.resources.file import Directory, File
from converge.resources.unit import StaticUnit, Unit
from roles.backup import configuration
from roles.backup.configuration import (
    DEPLOYED,
    HERE,
    SECRETS,
    STACK_AUTHORITY,
    has_buckets,
    has_databases,
    services,
    settings_of,
    stack_of,
)
from roles.backup.settings import PRUNER, WRITER
from roles.images import image
from roles.minio.account_kinds import User
from roles.minio.bucket_kinds import Bucket
from roles.minio.policy_kinds import Policy
from roles.minio.role import api_of, folders
from roles.minio.settings import Bucket as BucketSettings
from roles.minio.settings import Policy as PolicySettings
from roles.minio.settings import User as UserSettings
from roles.minio.tls import authority
from roles.postgres.role import settings_of as postgres_settings
from roles.settings.local_file import local_text
from roles.settings.model import size_in_bytes
from roles.settings.networks import first
from worker.contract import CONFIG, RUNS, STATE

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.backup.settings import Backup, StackTarget
    from roles.settings.model import Settings

CODE = "/usr/local/lib/stowage/worker.pyz"
SCRIPT = "/usr/local/lib/stowage/backup"


@role(needs=("docker", "images"), after=("minio", "postgres"))
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
        File(CONFIG, configuration.text(host, code), mode="0600"),
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


def _own_bucket(host: Host[Settings], target: StackTarget) -> Wanted:
    """The stack's own bucket, a user that writes there and cannot delete, and a user that removes old sets."""
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
    """The secrets as separate files: neither the configuration nor a request holds a secret."""
    secrets = [("identity", settings.identity)]
    for target in settings.targets:
        named = {"stack": ("writer", "pruner"), "sftp": ("key",), "path": ()}.get(
            target.kind, ("access_key", "secret_key", "pruner_access_key", "pruner_secret_key")
        )
        secrets += [(f"{target.name}-{key}", value) for key in named if (value := getattr(target, key)) is not None]
        if target.kind == "stack":
            secrets += [(f"{target.name}-writer-name", Secret(WRITER)), (f"{target.name}-pruner-name", Secret(PRUNER))]
    return secrets


def _authorities(host: Host[Settings]) -> list[File]:
    """Certificates of private authorities, for targets that have one."""
    own = [File(STACK_AUTHORITY, text)] if (text := authority(host)) else []
    return own + [
        File(f"{HERE}/{target.name}.pem", local_text(host, f"the certificate of {target.name}", target.certificate))
        for target in settings_of(host).targets
        if target.kind == "s3" and target.certificate
    ]


def program(folder: Path) -> bytes:
    """The worker's modules as one file that Python imports from. Equal modules give equal bytes: without dates, and without
    compression, which may differ between versions of zlib."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path in sorted(folder.rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(str(path.relative_to(folder.parent))), path.read_bytes())
    return made.getvalue()


def _script(host: Host[Settings]) -> str:
    settings = settings_of(host)
    places = [target.path for target in settings.targets if target.kind == "path"]
    values = SimpleNamespace(
        state=STATE,
        code=CODE,
        # Half a day less: the backup that makes the drill does not begin at the same second each time.
        drilled_within=max(0, settings.drill_days * 24 * 60 - 12 * 60),
        networks=_networks(host.settings),
        memory=size_in_bytes(settings.memory),
        seen=[*DEPLOYED, *_data(host), *_drives(host)],
        written=[STATE, settings.staging, *places, *([settings.textfile] if settings.textfile else [])],
        image=image(host, settings.image).reference,
        textfile=settings.textfile,
        stack=stack_of(host),
    )
    return templates.render(host, "backup.sh.j2", **vars(values))


def _networks(settings: Settings) -> list[str]:
    """The networks of PostgreSQL and of the nodes of the stack's own bucket."""
    pages = [page for page in (settings.postgres, settings.minio) if page]
    return list(dict.fromkeys(first(settings, page.networks) for page in pages))


def _data(host: Host[Settings]) -> list[str]:
    """The folders that the worker reads: configuration of PostgreSQL, and folders of services."""
    server = [postgres_settings(host).data] if has_databases(host.settings) else []
    return server + [path for service in services(host).values() for path in service["folders"].values()]


def _drives(host: Host[Settings]) -> tuple[str, ...]:
    """The drives of MinIO's nodes, on which the worker looks for objects that no listing shows."""
    return folders(host) if has_buckets(host.settings) else ()


def _plain(host: Host[Settings], name: str) -> str:
    return str((host.root / "files" / name).read_text())

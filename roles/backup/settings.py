"""What the inventory says of backups: where they go, when, and for how long they are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from roles.settings.fields import (
    AbsolutePath,
    BucketName,
    LocalFile,
    Name,
    OwnFolder,
    SecretValue,
    Section,
    Size,
    WebUrl,
    matches,
    within,
)

WRITER, PRUNER = "stowage-backup-writer", "stowage-backup-pruner"
"""The users of the stack's own bucket, each with a policy of the same name."""


def _schedule(value: str) -> str:
    # Loaded only for a schedule other than the default.
    from roles.backup.calendar import checked

    return checked(value)


Calendar = Annotated[
    str,
    matches(
        r"[A-Za-z0-9*,:./~+_ -]{1,200}", "a calendar event of systemd such as *-*-* 02:00:00 (systemd-analyze calendar)"
    ),
    AfterValidator(_schedule),
]
StackName = Annotated[str, matches(r"[a-z0-9][a-z0-9-]{0,62}", "a word of a-z, 0-9 and -")]
HostName = Annotated[str, matches(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}", "a host name or an address")]
UserName = Annotated[str, matches(r"[A-Za-z_][A-Za-z0-9_.-]*", "a user name")]
HostKey = Annotated[
    str, matches(r"(ssh-|ecdsa-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+", "a kind and a key, as ssh-keyscan prints them")
]
Prefix = Annotated[
    str, matches(r"([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?", "words of letters, digits, . _ - with / between")
]


ObjectPrefix = Annotated[str, matches(r"[^\x00-\x1f]{1,900}", "the beginning of a key, such as runs/")]


class StackTarget(Section):
    """The stack's own MinIO: it protects against mistakes, not against the loss of the machine."""

    name: Name
    kind: Literal["stack"]
    bucket: BucketName = Field(
        default="backups-postgresql", description="made by this role; nothing else belongs there"
    )
    writer: SecretValue = Field(description="password of the user that writes sets and cannot delete any")
    pruner: SecretValue = Field(description="password of the user that removes old sets")


class S3Target(Section):
    name: Name
    kind: Literal["s3"]
    endpoint: WebUrl
    bucket: BucketName
    prefix: Prefix = ""
    region: Name = "us-east-1"
    access_key: SecretValue
    secret_key: SecretValue
    pruner_access_key: SecretValue | None = Field(default=None, description="who may delete, where the first may not")
    pruner_secret_key: SecretValue | None = None
    certificate: LocalFile | None = Field(default=None, description="PEM file of a private certificate authority")


class SftpTarget(Section):
    name: Name
    kind: Literal["sftp"]
    host: HostName
    port: int = Field(default=22, ge=1, le=65535)
    user: UserName
    key: SecretValue = Field(description="private key, without a passphrase")
    host_key: HostKey = Field(description="the server's key: ssh-keyscan HOST, compared with its console")
    path: AbsolutePath


class PathTarget(Section):
    """A directory of another filesystem: a drive of its own, an NFS mount."""

    name: Name
    kind: Literal["path"]
    path: OwnFolder


Target = Annotated[StackTarget | S3Target | SftpTarget | PathTarget, Field(discriminator="kind")]


class Objects(Section):
    """The buckets and keys that a set holds; by default all."""

    names: list[BucketName] = Field(default=[], description="only these buckets; none named means all")
    prefixes: dict[BucketName, list[ObjectPrefix]] = Field(
        default={}, description="of a bucket only the keys that begin with one of these"
    )
    versions: int = Field(default=0, ge=0, description="of each key so many of its newest versions; 0 is all")


class Backup(Section):
    image: Name = "worker"
    stack: StackName | None = Field(default=None, description="whose sets these are; by default the host's name")
    identity: SecretValue = Field(description="the age identity that all of it is encrypted for; keep a copy elsewhere")
    schedule: Calendar = "*-*-* 02:00:00"
    fresh_hours: int = Field(
        default=26, ge=1, le=8784, description="older than this, a backup is missing: inv status says so"
    )
    keep_days: int = Field(default=30, ge=1, le=36500)
    drill_days: int = Field(
        default=7,
        ge=0,
        le=366,
        description="when no drill has passed for so long, the schedule restores the newest set in a throwaway server; 0 is never",
    )
    staging: OwnFolder = Field(default="/var/lib/stowage/staging", description="holds the dumps of a run, in clear")
    memory: Annotated[Size, within("256MiB", "1TiB")] = "2GiB"
    jobs: int = Field(default=2, ge=1, le=64, description="sessions of pg_dump and pg_restore")
    uploads: int = Field(default=2, ge=1, le=32, description="parts of 64 MiB on their way at a time")
    limit_rate: Size | None = Field(
        default=None, description="bytes a second that a backup sends to each target, on average; not set, all it can"
    )
    accept_single_copy: bool = Field(default=False, description="the stack's own bucket may be the only target")
    dependents: list[Name] = Field(default=[], description="containers that are stopped while a restore swaps")
    textfile: OwnFolder | None = Field(default=None, description="directory of the node exporter's textfiles")
    ping: WebUrl | None = Field(default=None, description="called with /start, with nothing and with /fail")
    buckets: Objects = Objects()
    targets: list[Target] = Field(min_length=1)

"""The settings of a host, typed: what may stand in the inventory, with its defaults and its limits.

`inventory/group_vars/all.yml` shows every key with a comment; a test loads it and fails when a key is missing there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag, ValidationInfo, model_validator

from converge.inventory.validation import Problems
from roles.backup.settings import Backup
from roles.minio.policy_faults import faults, outside
from roles.minio.policy_language import BUILT_IN
from roles.postgres.settings import Database, DatabaseUser, Postgres
from roles.services.settings import Service
from roles.settings.agreement import disagreements
from roles.settings.fields import (
    AbsolutePath,
    AccessKey,
    Address,
    BucketName,
    CodeName,
    DataUserName,
    Device,
    GroupName,
    ImageReference,
    KernelSetting,
    Label,
    Line,
    ListenAddress,
    LocalFile,
    MinioVariable,
    MountPath,
    Name,
    NetworkName,
    Options,
    Package,
    PolicyName,
    Prefix,
    SecretValue,
    Section,
    Size,
    Subnet,
    Url,
    UserName,
    size_in_bytes,
    text_or_mapping,
    within,
)

__all__ = ["AbsolutePath", "Section", "Settings", "size_in_bytes"]


class Base(Section):
    """What every storage host needs."""

    packages: list[Package] = Field(
        default=["curl", "xfsprogs", "chrony", "needrestart"], description="Debian packages"
    )
    sysctl: dict[KernelSetting, Line] = Field(
        default={"vm.swappiness": "10", "net.core.somaxconn": "4096"}, description="kernel settings, kept over reboots"
    )


class Drive(Section):
    """One data drive: a whole blank disk that gets one filesystem."""

    device: Device = Field(description="/dev/disk/by-id/... (kernel names such as /dev/sdb only in the lab)")
    label: Label = Field(description="the filesystem's label, by which it is mounted")
    path: MountPath = Field(description="where it is mounted")
    options: Options = Field(
        default="defaults,noatime", description="mount options; nofail and a timeout are always added"
    )


class DockerSettings(Section):
    source: Literal["distribution", "docker"] = Field(
        default="distribution", description="Debian's packages, or Docker's own signed repository"
    )
    packages: list[Package] = Field(
        default=["docker.io", "docker-cli", "docker-compose", "iptables"],
        description="used with source: distribution; on Ubuntu docker.io and docker-compose-v2",
    )
    suite: CodeName = Field(default="trixie", description="the repository's suite: the code name of the host's system")
    repository: Url = Field(default="https://download.docker.com/linux/debian", description="used with source: docker")
    repository_key: LocalFile | None = Field(
        default=None, description="file with the repository's signing key (ASCII armour); needed with source: docker"
    )
    daemon: dict[str, Any] = Field(
        default={
            "live-restore": True,
            "log-driver": "json-file",
            "log-opts": {"max-size": "20m", "max-file": "5"},
        },
        description="merged into /etc/docker/daemon.json by key; other keys on the host stay",
    )


class LabPackages(Section):
    packages: list[Package] = Field(min_length=1, description="Debian packages, installed on the lab's bare Debian 13")


LabImage = Annotated[
    Annotated[Name, Tag("text")] | Annotated[LabPackages, Tag("mapping")],
    text_or_mapping("the name of a recipe of lab/images.py, or a mapping with `packages`"),
]


class Image(Section):
    """One row of the table of images: every image that a system runs stands here and nowhere else."""

    reference: ImageReference = Field(description="registry reference, with digest where one is pinned")
    ship: bool = Field(default=False, description="send it from the operator's machine instead of pulling it there")
    lab: LabImage | None = Field(
        default=None,
        description="how the lab builds it where no registry answers: a recipe of lab/images.py, or Debian packages",
    )

    @model_validator(mode="after")
    def _is_the_labs_own(self) -> Image:
        own = self.reference.startswith("stowage-lab/") and "@" not in self.reference
        if isinstance(self.lab, LabPackages) and not own:
            why = "what the lab builds from packages is named stowage-lab/..., without a digest: "
            raise Problems([(("reference",), why + "it must not overwrite an image of a registry")])
        return self


class DataUser(Section):
    """The system user that owns the data and runs the storage containers."""

    name: DataUserName = "stowage"
    uid: int = Field(default=9000, ge=100, le=60000)


class Network(Section):
    """The private network that joins the compose projects of a host."""

    name: NetworkName = "stowage"
    subnet: Subnet = "172.30.99.0/24"


class Node(Section):
    name: Name
    drive: Label = Field(description="label of the drive that holds this node's data")
    address: Address = Field(description="its fixed address in the private network")


class Minio(Section):
    image: Name = "minio"
    nodes: list[Node] = Field(min_length=1)
    root_user: SecretValue
    root_password: SecretValue
    kms_key: SecretValue | None = Field(
        default=None, description="NAME:BASE64 of 32 bytes, with which it encrypts at rest; the same for ever"
    )
    root_drive_threshold: Annotated[Size, within("1GiB", "1PiB")] | None = Field(
        default=None,
        description="a filesystem up to this size is never taken for a drive: above the root disk, below the drives",
    )
    environment: dict[MinioVariable, Line] = Field(
        default={}, description="further settings of the server, the same on every node"
    )


class Tls(Section):
    certificate: LocalFile = Field(description="PEM file on the operator's machine, with the chain")
    key: LocalFile = Field(description="PEM file of the key on the operator's machine")


class Nginx(Section):
    image: Name = "nginx"
    address: Address
    listen: ListenAddress = Field(default="127.0.0.1", description="where the host listens; Docker's ports bypass ufw")
    api_port: int = Field(default=9000, ge=1, le=65535)
    console_port: int = Field(default=9001, ge=1, le=65535)
    tls: Tls | None = None


class Retention(Section):
    mode: Literal["governance", "compliance"]
    days: int = Field(ge=1, le=36500)


class Lifecycle(Section):
    """When a bucket forgets: whole objects, old versions; `prefix` limits it."""

    id: Name
    prefix: Prefix = ""
    expire_days: int | None = Field(default=None, ge=1, le=36500)
    expire_noncurrent_days: int | None = Field(default=None, ge=1, le=36500)

    @model_validator(mode="after")
    def _says_something(self) -> Lifecycle:
        if self.expire_days is None and self.expire_noncurrent_days is None:
            raise ValueError("a lifecycle rule needs expire_days or expire_noncurrent_days")
        return self


class Bucket(Section):
    name: BucketName
    versioning: bool = False
    object_lock: bool = Field(default=False, description="only when the bucket is made; needs versioning")
    retention: Retention | None = Field(default=None, description="default retention; needs object_lock")
    lifecycle: list[Lifecycle] = Field(default=[], description="when it forgets objects")
    quota: Annotated[Size, within("1MiB", "1000PiB")] | None = None
    encryption: bool | None = Field(
        default=None, description="whether new objects are encrypted with minio.kms_key; not set: as it is"
    )
    anonymous: Literal["none", "download", "upload", "public"] = Field(
        default="none", description="what everybody may do without a key"
    )
    policy: list[dict[str, Any]] = Field(
        default=[], description="further statements of the bucket's own policy, each with a Principal"
    )
    elsewhere: list[Literal["replication", "notifications"]] = Field(
        default=[], description="what somebody else sets here; otherwise there is none"
    )

    @model_validator(mode="after")
    def _lock_needs(self) -> Bucket:
        wrong = [*faults(self.policy, of_bucket=True), *outside(self.name, self.policy)]
        if wrong:
            raise Problems([(("policy", *path), text) for path, text in wrong])
        if self.retention and not self.object_lock:
            raise Problems([(("retention",), "it needs object_lock: true")])
        if self.object_lock and not self.versioning:
            raise Problems([(("object_lock",), "it needs versioning: true")])
        return self


class Policy(Section):
    """An IAM policy; `statements` is AWS's JSON, as YAML."""

    name: PolicyName
    statements: list[dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_taken(self) -> Policy:
        found: list[tuple[tuple[str | int, ...], str]] = [
            (("statements", *path), text) for path, text in faults(self.statements)
        ]
        if self.name in BUILT_IN:
            found.append(
                (("name",), f"MinIO has a policy {self.name} of its own, which cannot be removed: name it otherwise")
            )
        if found:
            raise Problems(found)
        return self


class ServiceAccount(Section):
    access_key: AccessKey
    secret_key: SecretValue
    statements: list[dict[str, Any]] = Field(
        default=[], description="what it may do of what its user may; not set: all of it"
    )

    @model_validator(mode="after")
    def _can_be_taken(self) -> ServiceAccount:
        if found := [(("statements", *path), text) for path, text in faults(self.statements)]:
            raise Problems(found)
        return self


class User(Section):
    name: UserName
    password: SecretValue
    policies: list[PolicyName] = Field(
        default=[], description="names of policies, the server's own or those of the inventory"
    )
    groups: list[GroupName] = Field(default=[], description="groups of MinIO that it is in; it is in no other")
    service_accounts: list[ServiceAccount] = Field(
        default=[], description="keys for programs, with no more rights than their user"
    )


class Settings(Section):
    """Everything that a host's group_vars, host_vars and --set may say."""

    lab: bool = Field(
        default=False, description="a throwaway host: vendor default credentials and kernel names allowed"
    )
    roles: list[Name] = Field(default=[], description="what this host is; each is built behind those that it needs")
    base: Base = Base()
    drives: list[Drive] = Field(default=[], description="whole blank disks")
    docker: DockerSettings = DockerSettings()
    data_user: DataUser = DataUser()
    network: Network = Network()
    images: dict[Name, Image] = Field(default={}, description="every image that the host runs, by name")
    minio: Minio | None = None
    nginx: Nginx | None = None
    postgres: Postgres | None = None
    backup: Backup | None = None
    services: dict[Name, Service] = Field(default={}, description="containers that need no code of their own, by name")
    database_users: list[DatabaseUser] = Field(default=[], description="users of PostgreSQL")
    databases: list[Database] = Field(default=[], description="databases of PostgreSQL")
    buckets: list[Bucket] = Field(default=[], description="the buckets of the cluster")
    policies: list[Policy] = Field(default=[], description="IAM policies")
    users: list[User] = Field(default=[], description="IAM users")

    @model_validator(mode="after")
    def _agrees_with_itself(self, info: ValidationInfo) -> Settings:
        found = list(disagreements(self, (info.context or {}).get("ssh_port", 22)))
        if found:
            raise Problems(found)
        return self

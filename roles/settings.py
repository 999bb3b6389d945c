"""The settings of a host, typed: what may stand in the inventory, with its defaults and its limits.

`inventory/group_vars/all.yml` shows every key with a comment; a test loads it and fails when a key is missing there.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from converge.errors import Trouble
from converge.secret import Secret


class Section(BaseModel):
    """A part of the settings: an unknown key is an error, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, strict=True)


def _matches(pattern: str, said: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(said)
        return value

    return AfterValidator(check)


Name = Annotated[str, _matches(r"[a-z][a-z0-9_-]{0,30}", "a name is lower-case letters, digits, - and _, from a letter")]
Label = Annotated[str, _matches(r"[A-Za-z0-9_-]{1,12}", "an XFS label has at most 12 letters, digits, - or _")]
AbsolutePath = Annotated[
    str, _matches(r"/[^\x00-\x1f\\\"'\s]*[^\x00-\x1f\\\"'\s/]", "an absolute path without blanks, quotes or a slash at the end")
]
Line = Annotated[str, _matches(r"[^\x00-\x1f\x7f]*", "one line of text")]
Address = Annotated[str, AfterValidator(lambda value: str(ipaddress.ip_address(value)))]
Subnet = Annotated[str, AfterValidator(lambda value: str(ipaddress.IPv4Network(value)))]
BucketName = Annotated[
    str, _matches(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket name has 3 to 63 of a-z, 0-9, . and -")
]
Size = Annotated[str, _matches(r"[1-9][0-9]*(B|KiB|MiB|GiB|TiB|PiB)", "a size such as 500GiB or 2TiB")]


def size_in_bytes(size: str) -> int:
    """The number of bytes of a size such as `500GiB`."""
    number, unit = re.fullmatch(r"(\d+)(\w+)", size).groups()  # type: ignore[union-attr]
    return int(number) * 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].index(unit)


def _secret(value: Any, info: ValidationInfo) -> Any:
    """A reference becomes its secret where the caller resolves them; a value in plain text is refused unseen."""
    if isinstance(value, Secret):
        return value
    if not (isinstance(value, dict) and len(value) == 1 and set(value) <= {"env", "file", "command"}):
        raise ValueError("a secret is a reference: {env: NAME}, {file: PATH} or {command: TEXT}")
    resolve = (info.context or {}).get("resolve")
    if resolve is None:
        return Secret("not read")
    try:
        return resolve(value, info.field_name)
    except Trouble as trouble:
        told = {"what": trouble.what, "why": trouble.why, "hint": trouble.hint}
        raise PydanticCustomError("stowage_secret", "a secret cannot be read", told) from None


SecretValue = Annotated[Secret, BeforeValidator(_secret)]


VENDOR_DEFAULTS = {"minioadmin", "minio123", "minio", "password", "admin", "changeme", "secret_key", "12345678"}
"""Refused outside the lab."""


class Base(Section):
    """What every storage host needs."""

    packages: list[Name] = Field(default=["curl", "xfsprogs", "chrony", "needrestart"], description="Debian packages")
    sysctl: dict[str, str] = Field(
        default={"vm.swappiness": "10", "net.core.somaxconn": "4096"}, description="kernel settings, kept over reboots"
    )


class Drive(Section):
    """One data drive: a whole blank disk that gets one filesystem."""

    device: AbsolutePath = Field(description="/dev/disk/by-id/... (kernel names such as /dev/sdb only in the lab)")
    label: Label = Field(description="the filesystem's label, by which it is mounted")
    path: AbsolutePath = Field(description="where it is mounted")
    options: Line = Field(default="defaults,noatime", description="mount options; nofail and a timeout are always added")


class DockerSettings(Section):
    source: Literal["distribution", "docker"] = Field(
        default="distribution", description="Debian's packages, or Docker's own signed repository"
    )
    packages: list[Name] = Field(
        default=["docker.io", "docker-cli", "docker-compose", "iptables"],
        description="used with source: distribution; on Ubuntu docker.io and docker-compose-v2",
    )
    suite: Line = Field(default="trixie", description="the repository's suite: the code name of the host's system")
    repository: Line = Field(default="https://download.docker.com/linux", description="used with source: docker")
    repository_key: str | None = Field(
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


class Image(Section):
    """One row of the table of images: every image that a system runs stands here and nowhere else."""

    reference: Line = Field(description="registry reference, with digest where one is pinned")
    ship: bool = Field(default=False, description="send it from the operator's machine instead of pulling it there")
    lab: str = Field(default="", description="how the lab builds it where no registry answers: a recipe of lab/images.py")


class DataUser(Section):
    """The system user that owns the data and runs the storage containers."""

    name: Name = "stowage"
    uid: int = Field(default=9000, ge=100, le=60000)


class Network(Section):
    """The private network that joins the compose projects of a host."""

    name: Name = "stowage"
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
    root_drive_threshold: Size | None = Field(
        default=None, description="a filesystem up to this size is never taken for a drive: above the root disk, below the drives"
    )
    environment: dict[Annotated[str, _matches(r"MINIO_[A-Z0-9_]+", "a name that starts with MINIO_")], Line] = {}


class Tls(Section):
    certificate: Line = Field(description="PEM file on the operator's machine, with the chain")
    key: Line = Field(description="PEM file of the key on the operator's machine")


class Nginx(Section):
    image: Name = "nginx"
    address: Address
    listen: Address = Field(default="127.0.0.1", description="where the host listens; Docker's ports bypass ufw")
    api_port: int = Field(default=9000, ge=1, le=65535)
    console_port: int = Field(default=9001, ge=1, le=65535)
    tls: Tls | None = None


class Retention(Section):
    mode: Literal["governance", "compliance"]
    days: int = Field(ge=1, le=36500)


class Lifecycle(Section):
    """When a bucket forgets: whole objects, old versions; `prefix` limits it."""

    id: Name
    prefix: Line = ""
    expire_days: int | None = Field(default=None, ge=1)
    expire_noncurrent_days: int | None = Field(default=None, ge=1)

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
    lifecycle: list[Lifecycle] = []
    quota: Size | None = None

    @model_validator(mode="after")
    def _lock_needs(self) -> Bucket:
        if self.retention and not self.object_lock:
            raise ValueError("retention needs object_lock: true")
        if self.object_lock and not self.versioning:
            raise ValueError("object_lock needs versioning: true")
        return self


class Policy(Section):
    """An IAM policy; `statements` is AWS's JSON, as YAML."""

    name: Name
    statements: list[dict[str, Any]] = Field(min_length=1)


class ServiceAccount(Section):
    access_key: Annotated[str, _matches(r"[A-Za-z0-9_-]{3,20}", "an access key has 3 to 20 letters, digits, - or _")]
    secret_key: SecretValue


class User(Section):
    name: Annotated[str, _matches(r"[A-Za-z0-9][A-Za-z0-9._@-]{2,63}", "a user name has 3 to 64 letters, digits, . _ @ -")]
    password: SecretValue
    policies: list[Line] = []
    service_accounts: list[ServiceAccount] = []


class Settings(Section):
    """Everything that a host's group_vars, host_vars and --set may say."""

    lab: bool = Field(default=False, description="a throwaway host: vendor default credentials and kernel names allowed")
    roles: list[Name] = Field(default=[], description="what this host is, in the order in which it is built")
    base: Base = Base()
    drives: list[Drive] = []
    docker: DockerSettings = DockerSettings()
    data_user: DataUser = DataUser()
    network: Network = Network()
    images: dict[Name, Image] = {}
    minio: Minio | None = None
    nginx: Nginx | None = None
    buckets: list[Bucket] = []
    policies: list[Policy] = []
    users: list[User] = []

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Settings:
        for what, names in (
            ("drives have the label", [drive.label for drive in self.drives]),
            ("drives have the path", [drive.path for drive in self.drives]),
            ("drives have the device", [drive.device for drive in self.drives]),
            ("buckets have the name", [bucket.name for bucket in self.buckets]),
            ("users have the name", [user.name for user in self.users]),
            ("policies have the name", [policy.name for policy in self.policies]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two {what} {twice[0]}")
        subnet = ipaddress.IPv4Network(self.network.subnet)
        nodes = self.minio.nodes if self.minio else []
        for node in nodes:
            if node.drive not in {drive.label for drive in self.drives}:
                raise ValueError(f"minio node {node.name} wants the drive {node.drive}, which drives does not have")
        for address in [*(node.address for node in nodes), *([self.nginx.address] if self.nginx else [])]:
            if ipaddress.ip_address(address) not in subnet:
                raise ValueError(f"{address} is not in the network {subnet}")
        if not self.lab:
            if self.minio and self.minio.root_password.reveal() in VENDOR_DEFAULTS:
                raise ValueError("minio.root_password is a vendor's default, which the whole world knows")
            for drive in self.drives:
                if not drive.device.startswith(("/dev/disk/by-id/", "/dev/disk/by-path/")):
                    raise ValueError(f"{drive.device} may name another drive after a reboot: use /dev/disk/by-id/...")
        return self

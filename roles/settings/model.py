"""The settings of a host, typed: what may stand in the inventory, with its defaults and its limits.

`inventory/group_vars/all.yml` shows every key with a comment; a test loads it and fails when a key is missing there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag, ValidationInfo, model_validator

from converge.inventory.validation import Problems
from roles.backup.settings import Backup
from roles.edge.settings import Edge
from roles.minio.settings import Bucket, Minio, Policy, User
from roles.postgres.settings import Database, DatabaseUser, Postgres
from roles.services.settings import Service
from roles.settings.consistency import inconsistencies
from roles.settings.field_checks import PRIVATE, is_private
from roles.settings.fields import (
    AbsolutePath,
    Checksum,
    CodeName,
    Command,
    DataUserName,
    Device,
    ImageReference,
    KernelSetting,
    Label,
    Line,
    LocalFile,
    MountPath,
    Name,
    NetworkName,
    Options,
    OwnFolder,
    Package,
    PythonPackage,
    Section,
    Subnet,
    Url,
    size_in_bytes,
    text_or_mapping,
)
from roles.sso.settings import Sso

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


class LabArchive(Section):
    """A program that comes as a zip."""

    url: Url
    sha256: Checksum = Field(description="of the zip; any other content is refused")
    into: AbsolutePath = Field(description="where it is unpacked, without its outermost folder")


class LabPackages(Section):
    packages: list[Package] = Field(default=[], description="Debian packages, installed on the lab's bare Debian 13")
    archive: LabArchive | None = None
    run: Command = Field(default=[], description="with an archive: what it must do once, while the image is built")
    pypi: list[PythonPackage] = Field(
        default=[], description="packages of PyPI with their versions; their programs are found by name"
    )

    @model_validator(mode="after")
    def _runs_what_it_has(self) -> LabPackages:
        if self.run and not self.archive:
            raise Problems([(("run",), "it goes with an archive")])
        if self.archive and self.pypi:
            raise Problems([(("pypi",), "an image has an archive, or packages of PyPI")])
        if not self.packages and not self.pypi:
            raise Problems([(("packages",), "packages of Debian, of PyPI (pypi), or both")])
        return self


LabImage = Annotated[
    Annotated[Name, Tag("text")] | Annotated[LabPackages, Tag("mapping")],
    text_or_mapping("the name of a recipe of lab/images.py, or a mapping with `packages` or `pypi`"),
]


class Image(Section):
    """One row of the table of images: every image that a system runs stands here and nowhere else."""

    reference: ImageReference = Field(description="registry reference, with digest where one is pinned")
    ship: bool = Field(default=False, description="send it from the operator's machine instead of pulling it there")
    build: str = Field(
        default="", description="the command that makes it on the operator's machine, told where it is missing there"
    )
    lab: LabImage | None = Field(
        default=None,
        description="how the lab builds it where no registry answers: a recipe of lab/images.py, or packages of Debian and PyPI",
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


class Facts(Section):
    """What the host writes about itself for the node exporter."""

    textfile: OwnFolder = Field(
        default="/var/lib/prometheus/node-exporter", description="directory of the node exporter's textfiles"
    )


class Network(Section):
    """A private network of a host, over which its containers reach one another."""

    subnet: Subnet
    public: bool = Field(
        default=False, description="its addresses belong to somebody on the internet, who cannot be reached from here"
    )

    @model_validator(mode="after")
    def _belongs_to_nobody(self) -> Network:
        if not self.public and not is_private(self.subnet):
            why = f"a private network: within {', '.join(PRIVATE)}; or public: true, and their owner is not reached from here"
            raise Problems([(("subnet",), why)])
        return self


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
    networks: dict[NetworkName, Network] = Field(
        default={"stowage": Network(subnet="172.30.99.0/24")}, description="private networks of its containers, by name"
    )
    images: dict[Name, Image] = Field(default={}, description="every image that the host runs, by name")
    minio: Minio | None = None
    edge: Edge | None = None
    postgres: Postgres | None = None
    backup: Backup | None = None
    sso: Sso | None = None
    facts: Facts = Facts()
    services: dict[Name, Service] = Field(default={}, description="containers that need no code of their own, by name")
    database_users: list[DatabaseUser] = Field(default=[], description="users of PostgreSQL")
    databases: list[Database] = Field(default=[], description="databases of PostgreSQL")
    buckets: list[Bucket] = Field(default=[], description="the buckets of the cluster")
    policies: list[Policy] = Field(default=[], description="IAM policies")
    users: list[User] = Field(default=[], description="IAM users")

    @classmethod
    def wake(cls, name: str, settings: dict[str, Any]) -> str:
        """The command that makes or starts a throwaway host and writes its address; other hosts have none."""
        up = "inv lab.up" if name == "lab" else f"inv lab.up --host {name}"
        return up if settings.get("lab") is True else ""

    @model_validator(mode="after")
    def _agrees_with_itself(self, info: ValidationInfo) -> Settings:
        faults = list(inconsistencies(self, (info.context or {}).get("ssh_port", 22)))
        if faults:
            raise Problems(faults)
        return self

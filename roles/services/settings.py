"""One service: the page of the inventory from which everything about its container follows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from converge.inventory.validation import Problems
from roles.settings.fields import (
    Capability,
    Command,
    HostFolder,
    InsidePath,
    Line,
    ListenAddress,
    LocalFile,
    Name,
    OwnFolder,
    PortAndPath,
    PortNumber,
    RelativePath,
    SecretValue,
    Section,
    Size,
    Variable,
    matches,
    within,
)


class ConfigurationFile(Section):
    """A file or a folder of `templates/` (rendered) or `files/` (as it is), which the container sees and cannot write."""

    source: LocalFile = Field(description="beneath templates/ or files/; a slash at the end is a folder")
    check: Command = Field(
        default=[], description="must accept the file before it takes the old one's place; {} is its path"
    )
    main: RelativePath | None = Field(default=None, description="of a folder, the file that `check` is given")

    @model_validator(mode="after")
    def _can_be_checked(self) -> ConfigurationFile:
        folder = self.source.endswith("/")
        if not self.source.startswith(("templates/", "files/")) or ".." in self.source.split("/"):
            raise Problems([(("source",), "a path beneath templates/ or files/")])
        if self.check and "{}" not in self.check:
            raise Problems([(("check",), "one of its words is {}, which stands for the path of the new file")])
        if bool(self.main) != bool(folder and self.check):
            why = (
                "a folder's check needs main, the file that it is given" if folder else "only a folder has a main file"
            )
            raise Problems([(("main",), why if folder and self.check else "it goes with a folder that has a check")])
        return self


def _as_section(value: object) -> object:
    return {"source": value} if isinstance(value, str) else value


class ServiceBackup(Section):
    """Which folders of its data every backup set holds, and whether it is stopped while they are copied."""

    folders: list[InsidePath] = Field(min_length=1, description="of `data`, by their path in the container")
    stop: bool = Field(
        default=False,
        description="it is stopped while its folders are copied: for programs that write several files that must agree",
    )


def _as_folders(value: object) -> object:
    return {"folders": value} if isinstance(value, list) else value


class Port(Section):
    """A port of the host that leads to one of the container."""

    port: PortNumber = Field(description="of the host")
    to: PortNumber = Field(description="of the container")
    listen: ListenAddress = Field(default="127.0.0.1", description="where the host listens; Docker's ports bypass ufw")
    udp: bool = Field(default=False, description="of UDP, not of TCP")


class Answers(Section):
    """How to see that it works: one of three questions, and how long it may take after a start."""

    http: PortAndPath | None = Field(
        default=None, description="port and path, such as :3000/api/health; any 2xx or 3xx will do"
    )
    tcp: PortNumber | None = Field(default=None, description="a port that takes connections")
    command: Command = Field(default=[], description="run in the container; it ends with 0")
    within: int = Field(default=60, ge=1, le=900, description="seconds")

    @model_validator(mode="after")
    def _one_question(self) -> Answers:
        if sum([self.http is not None, self.tcp is not None, bool(self.command)]) != 1:
            raise ValueError("one of http, tcp and command")
        return self


class Reload(Section):
    """How it takes up changed files without a restart: one of three ways."""

    signal: Literal["HUP", "USR1", "USR2", "WINCH"] | None = Field(default=None, description="sent to its main process")
    command: Command = Field(default=[], description="run in the container")
    http: PortAndPath | None = Field(default=None, description="port and path of a POST, such as :9090/-/reload")

    @model_validator(mode="after")
    def _one_way(self) -> Reload:
        if sum([self.http is not None, self.signal is not None, bool(self.command)]) != 1:
            raise ValueError("one of signal, command and http")
        return self


class Once(Section):
    """A command that is run in the container after its first start, and again only when its check says so."""

    name: Name
    command: Annotated[Command, Field(min_length=1)] = Field(description="run in the container")
    unless: Annotated[Command, Field(min_length=1)] = Field(
        description="run in the container; when it ends with 0, the command has been done"
    )


class Before(Once):
    """A command that is run in a container of a new image before the service is started with it, unless its check says that it has
    been done, or that there is nothing yet to be done; or, with 3, that this image cannot do it."""

    backup: bool = Field(
        default=True, description="only when a backup has ended well within the last hour: it changes data for good"
    )


Key = Annotated[
    str,
    matches(
        r"(secrets|secret_environment|environment)\.[A-Za-z_][A-Za-z0-9_.]{0,127}",
        "a key of secrets, secret_environment or environment, such as secrets.WEBHOOK_URL",
    ),
]


class UselessWithout(Section):
    """What a service needs of its page to be of use, though it runs without."""

    one_of: list[Key] = Field(min_length=1, description="keys of the page; one of them must be there")
    loss: Annotated[Line, Field(min_length=1)] = Field(description="what is missing while none of them is there")


class Service(Section):
    """A container that is deployed, configured, watched and restarted. It is no root, writes nowhere but in its data and
    in `temporary`, and has no capabilities, unless its page says so."""

    image: Name = Field(description="a row of images")
    enabled: bool = Field(default=True, description="false takes it off the host; its data stays")
    command: Command = Field(default=[], description="instead of the image's own")
    entrypoint: Command = Field(default=[], description="instead of the image's own")
    environment: dict[Variable, Line] = Field(default={}, description="variables, the same for everybody to see")
    secrets: dict[Variable, SecretValue] = Field(
        default={}, description="each is a file beneath /run/secrets; the variable holds its path"
    )
    secret_environment: dict[Variable, SecretValue] = Field(
        default={}, description="variables that hold the secret itself, for programs that read no file"
    )
    files: dict[InsidePath, Annotated[ConfigurationFile, BeforeValidator(_as_section)]] = Field(
        default={}, description="configuration, by its path in the container; the folder of a file is bound whole"
    )
    data: dict[InsidePath, OwnFolder] = Field(
        default={}, description="folders of the host that hold its data, by their path in the container"
    )
    reads: dict[InsidePath, HostFolder] = Field(
        default={},
        description="other folders of the host that it may read and not write, by their path in the container",
    )
    backup: Annotated[ServiceBackup, BeforeValidator(_as_folders)] | None = Field(
        default=None, description="folders of `data` that every set holds; not set: no set holds them"
    )
    shows: dict[Line, InsidePath] = Field(
        default={},
        description="files of `data` whose first line `inv status` shows, such as a public key, by what they are",
    )
    temporary: list[InsidePath] = Field(default=["/tmp"], description="folders in memory, gone at a restart")
    networks: list[Name] = Field(default=[], description="those that it joins; not set: the only network of the host")
    ports: list[Port] = Field(default=[], description="what the host publishes")
    memory: Annotated[Size, within("16MiB", "1PiB")] | None = Field(
        default=None, description="the most that it may use"
    )
    loss: Line = Field(default="", description="what its failure costs, shown while it does not run well")
    useless_without: UselessWithout | None = Field(
        default=None, description="keys of this page without which it runs to no purpose; `inv status` says so"
    )
    needs: list[Name] = Field(default=[], description="roles or services that must answer before it is started")
    answers: Answers | None = Field(default=None, description="how one knows that it is there")
    reload: Reload | None = Field(default=None, description="how it takes up new files; not set: by a restart")
    before: list[Before] = Field(
        default=[], description="commands before it is started with another image, such as the upgrade of a schema"
    )
    once: list[Once] = Field(default=[], description="commands after its first start")
    root: bool = Field(default=False, description="runs as root of the container, not as data_user")
    nobody: bool = Field(
        default=False, description="runs as nobody, not as data_user: it can read neither data nor secrets of others"
    )
    writable: bool = Field(default=False, description="may write in its own image's folders; gone when it is made anew")
    capabilities: list[Capability] = Field(default=[], description="of the kernel, such as NET_BIND_SERVICE")
    new_privileges: bool = Field(default=False, description="programs in it may gain rights (setuid)")
    grace: int = Field(default=30, ge=1, le=600, description="seconds that it may take to stop")

    @property
    def useless(self) -> UselessWithout | None:
        """What is missing for it to be of use; None where nothing is."""
        without = self.useless_without
        keys = (key.partition(".") for key in without.one_of) if without else ()
        return None if any(name in getattr(self, section) for section, _, name in keys) else without

    def on_host(self, path: str) -> tuple[str, str] | None:
        """The folder of the host in which a file of its data lies, and the path from there; the innermost folder counts."""
        inside = max((folder for folder in self.data if path.startswith(f"{folder}/")), key=len, default="")
        return (self.data[inside], path.removeprefix(f"{inside}/")) if inside else None

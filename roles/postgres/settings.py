"""The settings of PostgreSQL: the server, its users and its databases."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from roles.settings.fields import (
    Address,
    DatabaseName,
    Encoding,
    ExtensionName,
    Line,
    ListenAddress,
    Locale,
    MountPath,
    Name,
    SecretValue,
    Section,
    ServerSetting,
    Size,
    within,
)


class Postgres(Section):
    """One PostgreSQL server, reached from the private networks that it joins."""

    image: Name = "postgres"
    major: int = Field(default=17, ge=14, le=99, description="PostgreSQL's major version, of the image and of the data")
    address: Address
    networks: list[Name] = Field(
        default=[], description="the first holds its address; not set: the only network of the host"
    )
    data: MountPath = Field(default="/srv/stowage/postgres", description="the folder of the host that holds the data")
    superuser: DatabaseName = Field(default="postgres", description="chosen when the data is made, never later")
    superuser_password: SecretValue
    listen: ListenAddress | None = Field(
        default=None, description="where the host listens as well; Docker's ports bypass ufw. Not set: nowhere"
    )
    port: int = Field(default=5432, ge=1, le=65535)
    shm_size: Annotated[Size, within("1MiB", "1TiB")] = Field(
        default="256MiB", description="shared memory for parallel queries"
    )
    settings: dict[ServerSetting, Line] = Field(
        default={}, description="the server's settings; another value restarts it"
    )
    known_roles: list[DatabaseName] = Field(
        default=[], description="roles that others make and that may have powers, such as that of a monitor; left alone"
    )


class DatabaseUser(Section):
    name: DatabaseName
    password: SecretValue
    attributes: list[Literal["superuser", "createdb", "createrole", "replication", "bypassrls"]] = Field(
        default=[], description="what it may beyond logging in"
    )
    member_of: list[DatabaseName] = Field(
        default=[], description="users that stand before it, or PostgreSQL's own roles such as pg_read_all_data"
    )
    connection_limit: int | None = Field(default=None, ge=0, description="most connections at once; not set: no limit")
    settings: dict[ServerSetting, Line] = Field(
        default={}, description="what its sessions begin with, such as search_path; others that it has are taken back"
    )


class Database(Section):
    name: DatabaseName
    owner: DatabaseName | None = Field(default=None, description="one of database_users; not set: the superuser")
    encoding: Encoding = Field(default="UTF8", description="only when the database is made")
    locale: Locale | None = Field(default=None, description="only when the database is made; not set: the server's own")
    open: bool = Field(default=False, description="every user may connect, not only its owner and members of it")
    extensions: list[ExtensionName] = Field(default=[], description="in the order in which they are made")
    connection_limit: int | None = Field(default=None, ge=0, description="most connections at once; not set: no limit")
    settings: dict[ServerSetting, Line] = Field(
        default={}, description="what sessions in it begin with, such as search_path; others that it has are taken back"
    )
    public_create: bool = Field(default=False, description="every user may make things in the schema public")

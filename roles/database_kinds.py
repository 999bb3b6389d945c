"""The kinds of resource within a PostgreSQL server: users, databases, extensions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from converge.probe import forgetting
from converge.resource import Reading, Refusal, Resource, State, Step
from converge.resources.docker import Shares
from converge.secret import Secret
from roles.postgres_server import CLUSTER, CONTAINER, Server, Told, heard
from roles.sql import ident, is_password_of, literal, verifier

ATTRIBUTES = ("login", "superuser", "createdb", "createrole", "replication", "bypassrls")
OWN = "as the image has it"


@dataclass(frozen=True)
class User(Resource):
    """A user that can log in, with this password and exactly these attributes and memberships."""

    kind: ClassVar[str] = "pg-user"
    server: Server
    user: str
    password: Secret = field(repr=False)
    attributes: tuple[str, ...] = ()
    member_of: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.user

    def desired(self) -> State:
        return {
            "password": _fingerprint(self.password),
            "attributes": " ".join(one for one in ATTRIBUTES if one in ("login", *self.attributes)),
            "member of": ", ".join(sorted(self.member_of)) or "none",
            "expires": "never",
        }

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}", *(f"{self.kind}:{name}" for name in self.member_of))

    @classmethod
    def shares(cls, wanted: Sequence[User]) -> Shares:
        return wanted[0].server.shares(*(f"user {one.user}" for one in wanted))

    @classmethod
    def read(cls, wanted: Sequence[User], answer: str, *shared: str) -> list[Reading]:
        told = heard(shared, CLUSTER)
        return [one._state(told.users.get(one.user)) if isinstance(told, Told) else told for one in wanted]

    def _state(self, told: dict[str, Any] | None) -> Reading:
        if told is None:
            return None
        same = is_password_of(told["stored"], self.password)
        return {
            "password": _fingerprint(self.password) if same else "another" if told["stored"] else "none",
            "attributes": told["attributes"],
            "member of": ", ".join(told["member of"]) or "none",
            "expires": "some day" if told["expires"] else "never",
        }

    def diff(self, before: State | None) -> list[str]:
        return ["password: changed, hidden" if line.startswith("password:") else line for line in super().diff(before)]

    def fix(self, before: State | None) -> list[Step]:
        user, after = ident(self.user), self.desired()
        attributes = " ".join(
            f"{'' if one in after['attributes'].split() else 'NO'}{one.upper()}" for one in ATTRIBUTES
        )
        # A new verifier makes every running program log in anew at its next connection, so it stays where it is right.
        same = before and before["password"] == after["password"]
        password = "" if same else f" PASSWORD {literal(verifier(self.password))}"
        have = set() if before is None or before["member of"] == "none" else set(before["member of"].split(", "))
        return [
            self.server.does(
                "BEGIN",
                *([] if before else [f"CREATE ROLE {user}"]),
                f"ALTER ROLE {user} WITH {attributes}{password} VALID UNTIL 'infinity'",
                *(f"REVOKE {ident(one)} FROM {user}" for one in sorted(have - {*self.member_of})),
                *(f"GRANT {ident(one)} TO {user}" for one in sorted({*self.member_of} - have)),
                "COMMIT",
            )
        ]


def _fingerprint(secret: Secret) -> str:
    """Tells two passwords apart without holding either."""
    return "secret " + hashlib.sha256(b"stowage postgres" + secret.reveal().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Database(Resource):
    """A database with this owner; its encoding and locale are chosen when it is made. `open` lets every user connect."""

    kind: ClassVar[str] = "pg-database"
    server: Server
    database: str
    owner: str
    encoding: str = "UTF8"
    locale: str | None = None
    open: bool = False

    @property
    def name(self) -> str:
        return self.database

    def desired(self) -> State:
        open_to = "every user" if self.open else "its owner"
        state = {"owner": self.owner, "open to": open_to, "encoding": self.encoding}
        return state | ({"locale": self.locale} if self.locale else {})

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}", f"{User.kind}:{self.owner}")

    @classmethod
    def shares(cls, wanted: Sequence[Database]) -> Shares:
        return wanted[0].server.shares(*(f"database {one.database}" for one in wanted))

    @classmethod
    def read(cls, wanted: Sequence[Database], answer: str, *shared: str) -> list[Reading]:
        told = heard(shared, CLUSTER)
        return [_database(told.databases.get(one.database)) if isinstance(told, Told) else told for one in wanted]

    def lost(self) -> Refusal:
        return Refusal(
            "this host had it, with its data, and now there is none of that name: was it dropped, or renamed?",
            f"inv restore latest --database {self.database}; or, to begin with an empty one, on the host: "
            f"{forgetting(self.address)}",
        )

    def refusal(self, before: State | None) -> Refusal | None:
        for key in ("encoding", "locale"):
            if before and before[key] != self.desired().get(key, before[key]):
                return Refusal(
                    f"its {key} is {before[key]}, and can only be chosen when a database is made",
                    f"databases: {key}: {before[key]}; or a new database and a dump: docs/runbook.md",
                )
        return None

    def fix(self, before: State | None) -> list[Step]:
        database, owner = ident(self.database), ident(self.owner)
        locale = f" LOCALE {literal(self.locale)}" if self.locale else ""
        make = f"CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING {literal(self.encoding)}{locale}"
        access = "GRANT CONNECT, TEMPORARY ON DATABASE {} TO" if self.open else "REVOKE ALL ON DATABASE {} FROM"
        first = make if before is None else f"ALTER DATABASE {database} OWNER TO {owner}"
        return [self.server.does(first, f"{access.format(database)} PUBLIC")]


def _database(told: dict[str, Any] | None) -> Reading:
    if told is None:
        return None
    state = {key: told[key] for key in ("owner", "encoding", "locale")}
    return state | {"open to": "every user" if told["open"] else "its owner"}


@dataclass(frozen=True)
class Extension(Resource):
    """An extension in a database, in the version that the image has."""

    kind: ClassVar[str] = "pg-extension"
    server: Server
    database: str
    extension: str

    @property
    def name(self) -> str:
        return f"{self.database}/{self.extension}"

    def desired(self) -> State:
        return {"version": OWN}

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}", f"{Database.kind}:{self.database}")

    @classmethod
    def shares(cls, wanted: Sequence[Extension]) -> Shares:
        return wanted[0].server.shares(*dict.fromkeys(f"within {one.database}" for one in wanted))

    @classmethod
    def read(cls, wanted: Sequence[Extension], answer: str, *shared: str) -> list[Reading]:
        found: list[Reading] = []
        for one in wanted:
            told = heard(shared, f"within {one.database}")
            found.append(
                _extension(told.extensions.get((one.database, one.extension))) if isinstance(told, Told) else told
            )
        return found

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before.get("offered") == "":
            return Refusal(
                f"it is in use, in version {before['version']}, and the image has no {self.extension}",
                "name an image that has it",
            )
        return None

    def diff(self, before: State | None) -> list[str]:
        return [f"version: {before['version']} -> {before.get('offered', '-')}"] if before else []

    def fix(self, before: State | None) -> list[Step]:
        name = ident(self.extension)
        sql = f"ALTER EXTENSION {name} UPDATE" if before else f"CREATE EXTENSION IF NOT EXISTS {name} CASCADE"
        return [self.server.does(sql, database=self.database)]


def _extension(told: dict[str, Any] | None) -> Reading:
    if told is None:
        return None
    same = told["version"] == told["offered"]
    return {"version": OWN if same else told["version"], "offered": told["offered"]}

"""The kinds of resource within a PostgreSQL server that hold data: databases, and the extensions in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from converge.engine.probe import forgetting
from converge.engine.resource import Reading, Refusal, Resource, State, Step
from converge.record import dataclass
from converge.resources.docker import CommonQuestions
from roles.postgres.question import CLUSTER
from roles.postgres.server import CONTAINER, WITHIN, Server, ServerFacts, facts_of
from roles.postgres.sql import ident, literal, setting, settings_line, words_of

OWN = "as the image has it"


@dataclass(frozen=True)
class Database(Resource):
    """A database with this owner, open to these and to no others; its encoding and locale are chosen when it is made."""

    kind: ClassVar[str] = "pg-database"
    server: Server
    database: str
    owner: str
    encoding: str = "UTF8"
    locale: str | None = None
    open: bool = False
    limit: int | None = None
    settings: tuple[tuple[str, str], ...] = ()
    extensions: tuple[str, ...] = ()
    """Extensions of the database, which may have put schemas of their own on its search_path."""

    @property
    def name(self) -> str:
        return self.database

    def desired(self) -> State:
        state = {
            "owner": self.owner,
            "open to": "every user" if self.open else "its owner",
            "its owner may": "all",
            "encoding": self.encoding,
            "connections": "taken",
            "connection limit": "none" if self.limit is None else str(self.limit),
            "template": "no",
            "settings": settings_line(f"{name}={value}" for name, value in self.settings),
        }
        return state | ({"locale": self.locale} if self.locale else {})

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}", f"pg-user:{self.owner}")

    @classmethod
    def common_questions(cls, wanted: Sequence[Database]) -> CommonQuestions:
        return wanted[0].server.common_questions()

    @classmethod
    def read(cls, wanted: Sequence[Database], answer: str, *shared: str) -> list[Reading]:
        facts = facts_of(shared, CLUSTER)
        return [
            database._state(facts.databases.get(database.database)) if isinstance(facts, ServerFacts) else facts
            for database in wanted
        ]

    def _state(self, row: dict[str, Any] | None) -> Reading:
        if row is None:
            return None
        return {
            **{key: row[key] for key in ("owner", "encoding", "locale")},
            "open to": _open_to(row["public"]),
            "its owner may": "all" if row["its owner"] == _ALL_RIGHTS else "not all",
            "connections": "cut" if row["limit"] == _CUT else "taken" if row["allows"] else "refused",
            "connection limit": "none" if row["limit"] < 0 else str(row["limit"]),
            "template": "yes" if row["template"] else "no",
            "settings": settings_line(
                kept := [own_setting for own_setting in row["settings"] if not self._of_an_extension(own_setting)]
            ),
            _NAMES: " ".join(own_setting.partition("=")[0] for own_setting in kept),
            **({_OTHERS: ", ".join(row["others"])} if row["others"] else {}),
        }

    def _of_an_extension(self, setting: str) -> bool:
        """Whether a setting is the search_path that one of its extensions wrote, while our settings have none."""
        name, _, value = setting.partition("=")
        known = {"$user", "public", *(_SCHEMAS[extension] for extension in self.extensions if extension in _SCHEMAS)}
        path = words_of(value)
        is_usual = path[:2] == ["$user", "public"] and known >= {*path}
        return name == "search_path" and name not in dict(self.settings) and is_usual

    def left_alone(self, before: State) -> list[str]:
        return [f"rights on it that were given to {before[_OTHERS]}"] if _OTHERS in before else []

    def lost(self) -> Refusal:
        return Refusal(
            "this host had it, with its data, and now there is none of that name: was it dropped, or renamed?",
            f"inv restore latest --database {self.database}; or, to begin with an empty one, on the host: "
            f"{forgetting(self.address)}",
        )

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["connections"] == "cut":
            drop = self.server.by_hand(f"DROP DATABASE {ident(self.database)}")
            return Refusal(
                "a DROP DATABASE of it was cut: what is left can only be dropped",
                f"on the host: {drop}; then: inv restore latest --database {self.database}",
            )
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
        limit = -1 if self.limit is None else self.limit
        return [
            self.server.does(
                make if before is None else f"ALTER DATABASE {database} OWNER TO {owner}",
                *self._opened(before),
                f"GRANT ALL ON DATABASE {database} TO {owner}",
                f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT {limit} IS_TEMPLATE false",
                *self._set(before),
            )
        ]

    def _opened(self, before: State | None) -> list[str]:
        if before and before["open to"] == self.desired()["open to"]:
            return []
        right = f"ON DATABASE {ident(self.database)}"
        revoke, grant = f"REVOKE ALL {right} FROM PUBLIC", f"GRANT CONNECT, TEMPORARY {right} TO PUBLIC"
        return [revoke, grant] if self.open else [revoke]

    def _set(self, before: State | None) -> list[str]:
        if before and before["settings"] == self.desired()["settings"]:
            return []
        wanted, begin = dict(self.settings), f"ALTER DATABASE {ident(self.database)}"
        present = before[_NAMES].split() if before else []
        return [
            *(f"{begin} RESET {'.'.join(map(ident, name.split('.')))}" for name in present if name not in wanted),
            *(f"{begin} SET {setting(name, value)}" for name, value in wanted.items()),
        ]


_ALL_RIGHTS = 3
"""CREATE, TEMPORARY, CONNECT."""
_CUT = -2
"""The connection limit that PostgreSQL gives to a database whose removal was cut."""
_OTHERS, _NAMES = "others", "names of settings"
"""Keys of a reading that are not compared."""
_SCHEMAS = {"postgis_topology": "topology", "postgis_tiger_geocoder": "tiger"}


def _open_to(rights: Sequence[str]) -> str:
    """Who may connect by the rights of PUBLIC; rights that nobody gives on purpose are named."""
    usual = {(): "its owner", ("CONNECT", "TEMPORARY"): "every user"}
    return usual.get(tuple(rights), f"every user, for {', '.join(rights).lower()}")


@dataclass(frozen=True)
class Extension(Resource):
    """An extension in a database, in the version that the image has."""

    kind: ClassVar[str] = "pg-extension"
    when_gone: ClassVar[str] = (
        "gone from the host, with its own tables and all columns of its types: only a restore brings those back"
    )
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
    def common_questions(cls, wanted: Sequence[Extension]) -> CommonQuestions:
        return wanted[0].server.common_questions(*dict.fromkeys(WITHIN + extension.database for extension in wanted))

    @classmethod
    def read(cls, wanted: Sequence[Extension], answer: str, *shared: str) -> list[Reading]:
        readings: list[Reading] = []
        for extension in wanted:
            facts = facts_of(shared, WITHIN + extension.database)
            readings.append(
                _extension(facts.extensions.get((extension.database, extension.extension)))
                if isinstance(facts, ServerFacts)
                else facts
            )
        return readings

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


def _extension(row: dict[str, Any] | None) -> Reading:
    if row is None:
        return None
    same = row["version"] == row["offered"]
    return {"version": OWN if same else row["version"], "offered": row["offered"]}

"""What a PostgreSQL server must not have beside what the settings name: powers of other users, schemas in which everybody may create, indexes sorted by older rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, State, Step
from converge.record import dataclass
from converge.resources.docker import CommonQuestions
from roles.postgres.question import CLUSTER
from roles.postgres.server import CONTAINER, WITHIN, Server, ServerFacts, facts_of
from roles.postgres.sql import ident, literal

# With one of these a user reaches all data, or the files and programs of the container.
POWERFUL = (
    "pg_read_all_data",
    "pg_write_all_data",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_execute_server_program",
)
_MEMBER = "member of "


@dataclass(frozen=True)
class Powers(Resource):
    """No user outside the settings has the powers of a superuser or of a user of ours."""

    kind: ClassVar[str] = "pg-powers"
    server: Server
    ours: tuple[str, ...]
    known: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "of others"

    def desired(self) -> State:
        return {"of others": "none"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}",)

    @classmethod
    def common_questions(cls, wanted: Sequence[Powers]) -> CommonQuestions:
        return wanted[0].server.common_questions()

    @classmethod
    def read(cls, wanted: Sequence[Powers], answer: str, *shared: str) -> list[Reading]:
        facts = facts_of(shared, CLUSTER)
        # A server that is not there yet has no others in it.
        return [
            powers._state(facts) if isinstance(facts, ServerFacts) else facts or powers.desired() for powers in wanted
        ]

    def _state(self, facts: ServerFacts) -> State:
        powers_of = {name: self._of(row) for name, row in facts.powers.items() if name not in self.ours}
        odd = {name: has for name, has in powers_of.items() if has and name not in self.known}
        plain = sorted({*powers_of} - {*odd})
        return {
            "of others": "; ".join(f"{name}: {', '.join(has)}" for name, has in odd.items()) or "none",
            "names": "\n".join("\t".join([name, *has]) for name, has in odd.items()),
            **({"plain": ", ".join(plain)} if plain else {}),
        }

    def _of(self, row: dict[str, Any]) -> list[str]:
        groups = [group for group in row["of"] if group in POWERFUL or group in self.ours]
        return [*row["has"], *(_MEMBER + group for group in groups)]

    def left_alone(self, before: State) -> list[str]:
        return [f"roles: {before['plain']}"] if "plain" in before else []

    def refusal(self, before: State | None) -> Refusal | None:
        names = (before or {}).get("names", "").splitlines()
        if not names:
            return None
        # Only one fits into a line; the next is named once the first is put right.
        name, *has = names[0].split("\t")
        groups = [power.removeprefix(_MEMBER) for power in has if power.startswith(_MEMBER)]
        without = [f"REVOKE {ident(group)} FROM {ident(name)}" for group in groups]
        if len(groups) < len(has):
            without += [f"ALTER ROLE {ident(name)} NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS"]
        return Refusal(
            f"roles that no setting names have powers: {(before or {})['of others']}",
            f"if it should be so, name them in database_users or postgres.known_roles; else, on the host: {self.server.by_hand(*without)}",
        )

    def fix(self, before: State | None) -> list[Step]:
        return []


@dataclass(frozen=True)
class Inside(Resource):
    """A database in whose schema public everybody may create things only where the settings say so."""

    kind: ClassVar[str] = "pg-inside"
    server: Server
    database: str
    public_create: bool | None
    """None: it is not compared, as before PostgreSQL 15."""
    extensions: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.database

    def desired(self) -> State:
        return {} if self.public_create is None else {"every user may create": "yes" if self.public_create else "no"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}", f"pg-database:{self.database}")

    @classmethod
    def common_questions(cls, wanted: Sequence[Inside]) -> CommonQuestions:
        return wanted[0].server.common_questions(*(WITHIN + inside.database for inside in wanted))

    @classmethod
    def read(cls, wanted: Sequence[Inside], answer: str, *shared: str) -> list[Reading]:
        readings: list[Reading] = []
        for inside in wanted:
            facts = facts_of(shared, WITHIN + inside.database)
            readings.append(inside._state(facts) if isinstance(facts, ServerFacts) else facts or _NEW)
        return readings

    def _state(self, facts: ServerFacts) -> State:
        row = facts.inside.get(self.database)
        if row is None:
            return _NEW
        others = [
            name
            for base, name in facts.extensions
            if base == self.database and name not in (*self.extensions, "plpgsql")
        ]
        lists = {key: ", ".join(row[key]) for key in ("event triggers", "publications", "subscriptions")}
        more = lists | {"extensions": ", ".join(sorted(others)), "default rights": str(row["default rights"] or "")}
        return {
            "every user may create": "yes" if row["public may create"] else "no",
            **{f"beside {key}": value for key, value in more.items() if value},
        }

    def left_alone(self, before: State) -> list[str]:
        return [f"{key.removeprefix('beside ')}: {value}" for key, value in before.items() if key.startswith("beside ")]

    def fix(self, before: State | None) -> list[Step]:
        grant = (
            "GRANT CREATE ON SCHEMA public TO PUBLIC"
            if self.public_create
            else "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        )
        return [self.server.does(grant, database=self.database)]


_NEW = {"every user may create": "no"}
"""The reading for a database that does not exist yet."""


@dataclass(frozen=True)
class Collations(Resource):
    """All indexes are sorted by the rules of the present image: an index sorted by others may miss rows."""

    kind: ClassVar[str] = "pg-sorting"
    server: Server

    @property
    def name(self) -> str:
        return CONTAINER

    def desired(self) -> State:
        return {"sorted otherwise": "none"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}",)

    @classmethod
    def common_questions(cls, wanted: Sequence[Collations]) -> CommonQuestions:
        return wanted[0].server.common_questions()

    @classmethod
    def read(cls, wanted: Sequence[Collations], answer: str, *shared: str) -> list[Reading]:
        facts = facts_of(shared, CLUSTER)
        return [
            _sorting(facts) if isinstance(facts, ServerFacts) else facts or collations.desired()
            for collations in wanted
        ]

    def refusal(self, before: State | None) -> Refusal | None:
        commands = [self._rebuilt(*line.split("\t")) for line in (before or {}).get("names", "").splitlines()]
        if not commands:
            return None
        return Refusal(
            f"text was sorted by other rules than the image has, so indexes may miss rows: {(before or {})['sorted otherwise']}",
            f"on the host, where it is quiet (each table is locked meanwhile): {' && '.join(commands)}",
        )

    def fix(self, before: State | None) -> list[Step]:
        return []

    def _rebuilt(self, database: str, version: str, *collations: str) -> str:
        """The command after which a database, and these collations of its own, are sorted by the rules of the image."""
        name = ident(database)
        refresh = [f"ALTER DATABASE {name} REFRESH COLLATION VERSION"] if version == _OTHER else []
        # The rules of this image have no version, and REFRESH takes none for one.
        refresh += (
            [f"UPDATE pg_database SET datcollversion = NULL WHERE datname = {literal(database)}"]
            if version == _NO_MORE
            else []
        )
        refresh += [f"ALTER COLLATION {collation} REFRESH VERSION" for collation in collations]
        return self.server.by_hand(f"REINDEX DATABASE {name}", *refresh, database=database)


_SAME, _OTHER, _NO_MORE = "same", "other", "none"


def _sorting(facts: ServerFacts) -> State:
    databases = {
        name: f"{name} by {row['by']}, now {row['offered'] or 'without a version'}"
        for name, row in facts.sorted.items()
    }
    parts = {name: row["sorted"] for name, row in facts.inside.items() if row["sorted"]}
    sentences = [*databases.values(), *(f"{name}: {', '.join(objects)}" for name, objects in parts.items())]
    version = {name: _OTHER if row["offered"] else _NO_MORE for name, row in facts.sorted.items()}
    lines = ["\t".join([name, version.get(name, _SAME), *parts.get(name, [])]) for name in {**databases, **parts}]
    return {"sorted otherwise": "; ".join(sentences) or "none", "names": "\n".join(lines)}

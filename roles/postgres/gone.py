"""What a PostgreSQL server still has and the settings no longer name: removed where that is safe, otherwise reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Leftover, Reading, Refusal, State, Step
from converge.record import dataclass
from converge.resources.docker import CommonQuestions
from converge.shell import sh
from roles.postgres.database_kinds import Database
from roles.postgres.question import CLUSTER
from roles.postgres.server import CONTAINER, Server, ServerFacts, facts_of
from roles.postgres.sql import ident


@dataclass(frozen=True)
class Gone(Leftover):
    """A user or a database that the settings no longer name. A database is never removed, nor is a user that owns anything."""

    kind: ClassVar[str] = "pg-gone"
    server: Server
    was: str
    called: str

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}",)

    @classmethod
    def common_questions(cls, wanted: Sequence[Gone]) -> CommonQuestions:
        return wanted[0].server.common_questions(*(f"user {gone.called}" for gone in wanted))

    @classmethod
    def read(cls, wanted: Sequence[Gone], answer: str, *shared: str) -> list[Reading]:
        facts = facts_of(shared, CLUSTER)
        return [gone._state(facts) if isinstance(facts, ServerFacts) else facts for gone in wanted]

    def _state(self, facts: ServerFacts) -> Reading:
        if self.was == Database.kind:
            return {"uses": "data"} if self.called in facts.databases else None
        return {"uses": str(facts.users[self.called]["uses"])} if self.called in facts.users else None

    def refusal(self, before: State | None) -> Refusal | None:
        uses = (before or {}).get("uses", "0")
        if uses == "data":
            return Refusal(
                "a database is never removed",
                f"name it in databases again, or dump it, and then on the host: docker exec {_dropdb(self)}",
            )
        if uses != "0":
            return Refusal(
                f"it owns, or has rights on, {uses} things in databases",
                f"in each of them: REASSIGN OWNED BY {ident(self.called)} TO another; DROP OWNED BY {ident(self.called)}",
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        return [self.server.does(f"DROP ROLE {ident(self.called)}")]


def _dropdb(gone: Gone) -> str:
    return sh("postgres dropdb -U {} -- {}", gone.server.superuser, gone.called)

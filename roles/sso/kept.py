"""Answers that the edge serves while a service is down: requested early, so that they are cached before they are needed."""

from __future__ import annotations

from typing import ClassVar

from converge.engine.resource import Reading, Shell, State, Step
from converge.record import dataclass
from converge.resources.serving import Serving
from roles.sso.realm_kinds import Realm


@dataclass(frozen=True)
class Kept(Serving):
    """A path of the edge that has an answer: from the service, or the last good one from the cache."""

    kind: ClassVar[str] = "kept"
    realm: str = ""
    """The service whose answers are kept: it is made first."""

    @property
    def name(self) -> str:
        return self.question.http

    def desired(self) -> State:
        return {str(self.question): "well"}

    def stands_on(self) -> tuple[str, ...]:
        return (*super().stands_on(), f"{Realm.kind}:{self.realm}")

    def _state(self, status: str | None, unproven: bool) -> Reading:
        """An answer that is not good counts as none, and is requested again, which does no harm."""
        state = super()._state(status, unproven=False)
        return state if isinstance(state, dict) and not self.silence(state) else None

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(self.waits())]

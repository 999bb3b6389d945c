"""What the edge keeps of a service for the time when it is away: asked for in time, so that it is there when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from converge.engine.resource import Reading, Shell, State, Step
from converge.resources.serving import Serving
from roles.sso.realm_kinds import Realm


@dataclass(frozen=True)
class Kept(Serving):
    """A path of the edge that gives an answer: the service's own, or the last good one."""

    kind: ClassVar[str] = "kept"
    realm: str = ""
    """Of which it tells: before there is one there is nothing to be kept."""

    @property
    def name(self) -> str:
        return self.question.http

    def desired(self) -> State:
        return {str(self.question): "well"}

    def stands_on(self) -> tuple[str, ...]:
        return (*super().stands_on(), f"{Realm.kind}:{self.realm}")

    def _state(self, status: str | None, unproven: bool) -> Reading:
        """Any other answer than a good one is none: it is asked for once more, which disturbs nobody."""
        state = super()._state(status, unproven=False)
        return state if isinstance(state, dict) and not self.silence(state) else None

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(self.waits())]

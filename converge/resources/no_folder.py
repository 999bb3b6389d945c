"""A folder that an earlier deploy made and nobody wants any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources import entries
from converge.resources.docker import CommonQuestions
from converge.resources.previous import kept_aside
from converge.shell import sh


@dataclass(frozen=True)
class NoFolder(Resource):
    """A folder of ours that is removed. What others have put into it is moved aside, so nothing is lost."""

    kind: ClassVar[str] = "directory"
    path: str

    @property
    def name(self) -> str:
        return self.path

    def desired(self) -> None:
        return None

    @classmethod
    def common_questions(cls, wanted: Sequence[NoFolder]) -> CommonQuestions:
        return {entries.entries: entries.paths(wanted)}

    @classmethod
    def read(cls, wanted: Sequence[NoFolder], answer: str, *shared: str) -> list[Reading]:
        listing = entries.read(shared[0])
        states = [entries.state(no_folder.path, "root", listing) for no_folder in wanted]
        return [state if isinstance(state, dict) and state["type"] == "directory" else None for state in states]

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(f"{kept_aside(self.path, ())}\n{sh('rmdir -- {}', self.path)}")]

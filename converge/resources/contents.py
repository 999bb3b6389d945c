"""Folders that hold what is wanted and nothing else: a program takes up whatever lies in its folder of configuration."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.previous import kept_aside
from converge.shell import quote_all

SHOWN = 5
"""Most names of one folder that are shown; the others are counted."""


@dataclass(frozen=True)
class Contents(Resource):
    """A folder in which nothing lies but these files and folders, named by their paths within it. Anything else there is moved aside."""

    kind: ClassVar[str] = "contents"
    path: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path

    def desired(self) -> State:
        return {"others": ""}

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{self.path}",)

    @classmethod
    def probe(cls, wanted: Sequence[Contents]) -> str:
        # Names may hold anything, a line break as well.
        return f"find {quote_all(contents.path for contents in wanted)} -mindepth 1 -printf '%H\\0%P\\0' 2>/dev/null | base64 -w0; exit 0"

    @classmethod
    def read(cls, wanted: Sequence[Contents], answer: str) -> list[Reading]:
        parts = base64.b64decode(answer.strip()).decode(errors="surrogateescape").split("\0")
        return [
            contents._state([name for at, name in zip(parts[::2], parts[1::2], strict=False) if at == contents.path])
            for contents in wanted
        ]

    def _state(self, there: Sequence[str]) -> Reading:
        others = [name for name in sorted(there) if name not in self.names]
        # Of a folder that is moved aside whole, what is in it need not be named.
        tops = [name for name in others if name.rpartition("/")[0] not in others]
        return {"others": "\n".join(map(_plain, tops))}

    def _others(self, before: State | None) -> list[str]:
        return [word for word in (before or {}).get("others", "").split("\n") if word]

    def diff(self, before: State | None) -> list[str]:
        others = self._others(before)
        more = [f"and {len(others) - SHOWN} more"] if len(others) > SHOWN else []
        return [f"{name}: not in the inventory, moved aside" for name in others[:SHOWN]] + more

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(kept_aside(self.path, self.names))]


def _plain(name: str) -> str:
    """A name in one line that can be printed, as Python writes it where it is odd."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]

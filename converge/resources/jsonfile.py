"""Keys of a JSON file that others write too: ours are merged in, theirs stay."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from converge.resource import Reading, Refusal, Resource, Shell, State, Step, Unknown
from converge.resources.file import File, parent
from converge.shell import quote, sh


class _Broken(dict[str, str]):
    """Stands for a file that is not JSON, whatever keys others may use."""


@dataclass(frozen=True)
class JsonKeys(Resource):
    """A JSON file whose top-level keys include these, with these values; other keys are left as they are."""

    kind: ClassVar[str] = "json"
    path: str
    keys: Mapping[str, Any]
    check: str = ""

    @property
    def name(self) -> str:
        return self.path

    def desired(self) -> State:
        return {key: _text(value) for key, value in self.keys.items()}

    def gives(self) -> tuple[str, ...]:
        return (f"path:{self.path}",)

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{parent(self.path)}",)

    @classmethod
    def probe(cls, wanted: Sequence[JsonKeys]) -> str:
        return "\n".join(
            f"[ ! -e {quote(one.path)} ] || base64 -w0 -- {quote(one.path)} || printf '?'; echo" for one in wanted
        )

    @classmethod
    def read(cls, wanted: Sequence[JsonKeys], answer: str) -> list[Reading]:
        return [_reading(line) for line in answer.split("\n")[: len(wanted)]]

    def refusal(self, before: State | None) -> Refusal | None:
        if isinstance(before, _Broken):
            return Refusal(f"it is not a JSON object: {before['why']}", sh("python3 -m json.tool {}", self.path))
        return None

    def fix(self, before: State | None) -> list[Step]:
        theirs = {key: json.loads(value) for key, value in (before or {}).items()}
        content = json.dumps({**theirs, **self.keys}, indent=2) + "\n"
        folder = sh("( umask 022; mkdir -p -m 0755 {} )\n", self.path.rpartition("/")[0])
        # Others may keep it to themselves: it keeps the mode and the owner that it has.
        kept = sh("kept=$(stat -c '%a %u:%g' -- {} 2>/dev/null || echo 644 0:0)\n", self.path)
        given = sh('\nchown "${{kept#* }}" {}; chmod "${{kept% *}}" {}', self.path, self.path)
        (write,) = File(self.path, content, mode="0600", check=self.check).fix(before and {"type": "file"})
        assert isinstance(write, Shell)
        return [Shell(folder + kept + write.script + given)]


def _reading(line: str) -> Reading:
    if not line:
        return None
    if line.endswith("?"):
        return Unknown("the file is there and cannot be read")
    try:
        keys = json.loads(base64.b64decode(line))
    except ValueError as error:
        return _Broken(why=str(error))
    return (
        {key: _text(value) for key, value in keys.items()}
        if isinstance(keys, dict)
        else _Broken(why="it is a list or a value")
    )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)

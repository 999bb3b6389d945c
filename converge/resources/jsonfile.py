"""Keys of a JSON file that others write too: ours are merged in, theirs stay."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from converge.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.resources.file import File
from converge.shell import quote, sh


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

    @classmethod
    def probe(cls, wanted: Sequence[JsonKeys]) -> str:
        return "\n".join(f"[ ! -e {quote(one.path)} ] || base64 -w0 -- {quote(one.path)}; echo" for one in wanted)

    @classmethod
    def read(cls, wanted: Sequence[JsonKeys], answer: str) -> list[Reading]:
        return [_reading(line) for line in answer.split("\n")[: len(wanted)]]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and "broken" in before:
            return Refusal(f"it is not a JSON object: {before['broken']}", sh("python3 -m json.tool {}", self.path))
        return None

    def fix(self, before: State | None) -> list[Step]:
        theirs = {key: json.loads(value) for key, value in (before or {}).items()}
        content = json.dumps({**theirs, **self.keys}, indent=2) + "\n"
        folder = sh("mkdir -p -m 0755 {}\n", self.path.rpartition("/")[0])
        (write,) = File(self.path, content, check=self.check).fix(before and {"type": "file"})
        assert isinstance(write, Shell)
        return [Shell(folder + write.script)]


def _reading(line: str) -> Reading:
    if not line:
        return None
    try:
        keys = json.loads(base64.b64decode(line))
    except ValueError as error:
        return {"broken": str(error)}
    return (
        {key: _text(value) for key, value in keys.items()}
        if isinstance(keys, dict)
        else {"broken": "it is a list or a value"}
    )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)

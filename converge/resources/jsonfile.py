"""Keys of a JSON file that others write too: ours are merged in, theirs stay, and ours go when they are no longer wanted.

Which are ours stands on the host: a key that a deploy wrote, with a hash of the value that it wrote. One that was there before,
or that somebody has changed since, is theirs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from converge.engine.probe import MEMORY
from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step, Unknown
from converge.record import dataclass
from converge.resources.docker import CommonQuestions
from converge.resources.entries import attributes, locked, unlock
from converge.resources.file import File, parent
from converge.resources.previous import KEYS, keep_until_loaded
from converge.shell import quote, sh, write_record

LEFT, OURS = "(no longer wanted)", "(ours)"
"""Beside the keys of the file: of those that we wrote and that are there as we wrote them, which ones nobody wants, and all."""
LOCKED = "(locked)"
"""Beside them: the path that is immutable, if one is, so that the file cannot be replaced."""


class _Broken(dict[str, str]):
    """Stands for a file that is not JSON, whatever keys others may use."""


@dataclass(frozen=True)
class JsonKeys(Resource):
    """A JSON file whose top-level keys include these, with these values; keys that are not ours are left as they are."""

    kind: ClassVar[str] = "json"
    path: str
    keys: Mapping[str, Any]
    check: str = ""

    @property
    def name(self) -> str:
        return self.path

    def desired(self) -> State:
        return {key: _text(value) for key, value in self.keys.items()} | {LEFT: "none"}

    def gives(self) -> tuple[str, ...]:
        return (f"path:{self.path}",)

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{parent(self.path)}",)

    @classmethod
    def probe(cls, wanted: Sequence[JsonKeys]) -> str:
        """A line for each file, and one for what is written down of it; of hosts from before that, whether we made it."""
        return "\n".join(
            # A pipe in its place would never end.
            sh("[ ! -e {0} ] || {{ [ -f {0} ] && base64 -w0 -- {0}; }} || printf '?'; echo\n", json_keys.path)
            + f"if [ -e {quote(KEYS + json_keys.path)} ]; then base64 -w0 -- {quote(KEYS + json_keys.path)}\n"
            f"else ! grep -qs -- {quote(f' {json_keys.address}$')} {MEMORY} || printf made; fi; echo"
            for json_keys in wanted
        )

    @classmethod
    def common_questions(cls, wanted: Sequence[JsonKeys]) -> CommonQuestions:
        return {attributes: [json_keys.path for json_keys in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[JsonKeys], answer: str, *shared: str) -> list[Reading]:
        lines = [*answer.split("\n"), *[""] * 2 * len(wanted)]
        return [
            resource._reading(lines[2 * at], lines[2 * at + 1], locked(resource.path, shared[0]))
            for at, resource in enumerate(wanted)
        ]

    def _reading(self, file: str, record: str, locked_path: str) -> Reading:
        keys = _keys(file)
        if keys is None or isinstance(keys, Unknown | _Broken):
            return keys
        if record == "made":
            ours = [key for key, value in self.desired().items() if keys.get(key) == value]
        else:
            written = _record(record)
            ours = [key for key in written if key in keys and _hash(keys[key]) == written[key]]
        leftover = [key for key in ours if key not in self.keys]
        return {**keys, LEFT: ", ".join(leftover) or "none", OURS: json.dumps(ours), LOCKED: locked_path}

    def diff(self, before: State | None) -> list[str]:
        gone = self._left(before)
        return [line for line in super().diff(before) if not line.startswith(f"{LEFT}:")] + [
            f"{key}: {(before or {})[key]} -> removed, as nobody wants what an earlier deploy wrote" for key in gone
        ]

    def left_alone(self, before: State) -> list[str]:
        theirs = sorted(set(before) - set(self.keys) - {LEFT, OURS, LOCKED})
        return [f"{key}: {before[key]}" for key in theirs]

    def refusal(self, before: State | None) -> Refusal | None:
        if isinstance(before, _Broken):
            look = sh("on the host: python3 -m json.tool {}", self.path)
            away = sh("mv -- {} {}", self.path, self.path + ".broken")
            return Refusal(
                f"it is not a JSON object: {before['why']}", f"{look}; mend it, or: {away}; then: inv deploy"
            )
        if before and (locked_path := before.get(LOCKED)):
            return Refusal(f"{locked_path} is immutable or takes only more (chattr)", unlock(locked_path))
        return None

    def fix(self, before: State | None) -> list[Step]:
        was, gone = before or {}, self._left(before)
        theirs = {key: json.loads(value) for key, value in was.items() if key not in (LEFT, OURS, LOCKED, *gone)}
        content = json.dumps({**theirs, **self.keys}, indent=2) + "\n"
        ours = json.loads(was.get(OURS, "[]"))
        kept = {key: _hash(was[key]) for key in ours if key in was}
        hashes = {key: _hash(_text(value)) for key, value in self.keys.items()}
        written = {key: hashes[key] for key in hashes if key in ours or was.get(key) != _text(self.keys[key])}
        folder = sh("( umask 022; mkdir -p -m 0755 {} )\n", parent(self.path))
        # The file keeps its mode and owner: others may have restricted it.
        mode = sh("kept=$(stat -c '%a %u:%g' -- {} 2>/dev/null || echo 644 0:0)\n", self.path)
        given = sh('\nchown "${{kept#* }}" {}; chmod "${{kept% *}}" {}\n', self.path, self.path)
        file = File(self.path, content, mode="0600", check=self.check, until_loaded=True)
        (write,) = file.fix(before and {"type": "file"})
        assert isinstance(write, Shell)
        # A cut between the two records too many keys: one whose value is not the recorded one does not count as ours.
        first = keep_until_loaded(KEYS + self.path) + self._written_down(kept | written)
        # In a shell of its own, which ends with the trap that removes what a check has refused.
        return [Shell(f"{folder}{mode}{first}( {write.script} ){given}{self._written_down(written)}")]

    def _left(self, before: State | None) -> list[str]:
        return [key for key in json.loads((before or {}).get(OURS, "[]")) if key not in self.keys]

    def _written_down(self, hashes: Mapping[str, str]) -> str:
        file = KEYS + self.path
        return (
            sh("mkdir -p -m 0700 -- {}\n", parent(file))
            + write_record(file, sh("printf %s {}", json.dumps(hashes)))
            + "\n"
        )


def _keys(line: str) -> State | Unknown | None:
    """The keys of a file, of which the host said this; None where it is not there."""
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


def _record(line: str) -> dict[str, str]:
    """What is written down; nothing where that cannot be read, for then no key is surely ours."""
    try:
        record = json.loads(base64.b64decode(line) or b"{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)

"""Settings of ours that a later file overrides at boot or when a program starts: reported by file and line, never edited."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, State, Step
from converge.record import dataclass
from converge.shell import quote, quote_all

SYSCTL = ("/usr/lib/sysctl.d", "/usr/local/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d")
"""Of two files with one name, that in the later folder is read."""
_MARK = "--"


@dataclass(frozen=True)
class Outranked(Resource):
    """Nothing that is read after `ours` gives another value to one of these settings.

    `settings` are the name of a setting, a pattern of `grep -E` for what stands before its `=`, and the value.
    """

    kind: ClassVar[str] = "outranked"
    holds_back: ClassVar[bool] = False
    ours: str
    folders: tuple[str, ...]
    settings: tuple[tuple[str, str, str], ...]

    @property
    def name(self) -> str:
        return self.ours

    def desired(self) -> State:
        return {name: "" for name, _, _ in self.settings}

    @classmethod
    def probe(cls, wanted: Sequence[Outranked]) -> str:
        """The files that there are, a line each, and after a mark what they say of our settings; any of it may be nothing."""
        return f"\necho {_MARK}\n".join(outranked._question() for outranked in wanted)

    def _question(self) -> str:
        files = " ".join(f"{folder}/*.conf" for folder in self.folders)
        pattern = "|".join(pattern for _, pattern, _ in self.settings) or "$^"
        return (
            f'for file in {files}; do [ ! -e "$file" ] || printf \'%s\\n\' "$file"; done; echo {_MARK}\n'
            f"grep -HnsE -e {quote(f'^[[:space:]]*-?({pattern})[[:space:]]*=')} -- {files} || :"
        )

    @classmethod
    def read(cls, wanted: Sequence[Outranked], answer: str) -> list[Reading]:
        parts = [""]
        for line in answer.splitlines():
            parts = [*parts, ""] if line == _MARK else [*parts[:-1], f"{parts[-1]}{line}\n"]
        return [outranked._reading(*parts[2 * at : 2 * at + 2]) for at, outranked in enumerate(wanted)]

    def _reading(self, files: str, lines: str) -> Reading:
        read = {file.rpartition("/")[2]: file for file in files.splitlines()}
        overriding: dict[str, str] = dict.fromkeys(self.desired() or (), "")
        settings = [
            match.groups()
            for line in lines.splitlines()
            if (match := re.fullmatch(r"(/[^:]*):(\d+):([^=]*)=(.*)", line))
        ]
        for file, number, before, value in sorted(
            settings, key=lambda setting: (setting[0].rpartition("/")[2], int(setting[1]))
        ):
            base = file.rpartition("/")[2]
            if read.get(base) != file or base < self.ours.rpartition("/")[2]:
                continue
            for name, pattern, wanted in self.settings:
                if re.fullmatch(pattern, before.strip().removeprefix("-").strip()):
                    same = _plain(value) == _plain(wanted) or file == self.ours
                    overriding[name] = "" if same else f"{file}:{number} ({before.strip()} ={value.rstrip()})"
        return overriding

    def refusal(self, before: State | None) -> Refusal | None:
        later = [where for where in (before or {}).values() if where]
        lines = [where.partition(" ")[0].rpartition(":") for where in later]
        edit = "; ".join(f"sed -i {quote(number + 's/^/# /')} {quote_all([file])}" for file, _, number in lines)
        return Refusal(
            f"a later file wins: {', '.join(later)}",
            f"write that value into the inventory, or on the host: {edit}; then: inv check",
        )

    def fix(self, before: State | None) -> list[Step]:
        return []


def sysctl_pattern(key: str) -> str:
    """A kernel setting as the files may spell it: with dots or with slashes."""
    return "[./]".join(re.escape(part) for part in re.split(r"[./]", key))


def _plain(value: str) -> str:
    return " ".join(value.split("#")[0].strip().rstrip(";").strip("'\" ").split())

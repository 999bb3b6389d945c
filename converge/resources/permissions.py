"""Files and directories that other programs write, and whose mode may not allow more than a limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step, Unknown
from converge.record import dataclass
from converge.resources import entries
from converge.resources.access import aside, differences
from converge.resources.docker import CommonQuestions
from converge.resources.entries import Entry
from converge.shell import sh


@dataclass(frozen=True)
class Permissions(Resource):
    """Paths that belong to root and allow at most this mode, where they are there; a stricter mode is left alone.

    A path that ends in a slash is a directory, one that ends in .sock a socket.
    """

    kind: ClassVar[str] = "permissions"
    of: str
    modes: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return self.of

    def desired(self) -> State:
        return {path: "safe" for path, _ in self.modes} | {"written by all": ""}

    @classmethod
    def common_questions(cls, wanted: Sequence[Permissions]) -> CommonQuestions:
        return {entries.entries: [_bare(path) for permissions in wanted for path, _ in permissions.modes]}

    @classmethod
    def read(cls, wanted: Sequence[Permissions], answer: str, *shared: str) -> list[Reading]:
        listing = entries.read(shared[0])
        return [permissions._reading(listing) for permissions in wanted]

    def _reading(self, listing: entries.Entries) -> Reading:
        by_path = {path: listing.get(_bare(path)) for path, _ in self.modes}
        for path, entry in by_path.items():
            if isinstance(entry, Unknown):
                return Unknown(f"{path}: {entry.why}", entry.hint)
        open_to_all = [folder for path, _ in self.modes for folder in entries.unsafe(_bare(path), "root", listing)[0]]
        judged = {path: _judged(path, mode, by_path[path]) for path, mode in self.modes}
        return judged | {"written by all": "|".join(open_to_all)}

    def refusal(self, before: State | None) -> Refusal | None:
        for path, _ in self.modes:
            if (before or {}).get(path, "").startswith("a "):
                return aside(f"{(before or {})[path]} stands where {_bare(path)} should be", _bare(path))
        return None

    def diff(self, before: State | None) -> list[str]:
        unsafe = {path: state for path, state in (before or {}).items() if state != "safe"}
        above = differences({"written by all": ""}, before or {"written by all": ""})
        return above + [
            f"{_bare(path)}: {unsafe[path]} -> {mode} {'root' if path.endswith('.sock') else 'root:root'}"
            for path, mode in self.modes
            if path in unsafe
        ]

    def fix(self, before: State | None) -> list[Step]:
        lines = [entries.closed(before)]
        for path, mode in self.modes:
            if (before or {}).get(path) != "safe":
                # A socket is for a group, whose members are not checked here.
                owner = "root" if path.endswith(".sock") else "root:root"
                lines.append(sh("chown {2} -- {0}\nchmod {1} -- {0}", _bare(path), mode, owner))
                if "access list" in (before or {}).get(path, ""):
                    lines.append(sh("setfacl -b -k -- {}", _bare(path)))
        return [Shell("\n".join(lines))]


def _bare(path: str) -> str:
    return path.rstrip("/")


def _judged(path: str, mode: str, entry: Entry | Unknown | None) -> str:
    if not isinstance(entry, Entry):
        return "safe"
    kind = "directory" if path.endswith("/") else "socket" if path.endswith(".sock") else "file"
    if entry.type != kind:
        return f"a {entry.state['type']}"
    too_much = entry.mode & ~int(mode, 8) & 0o7777
    if too_much or entry.owner != "root" or entry.has_acl:
        more = " with an access list" if entry.has_acl else ""
        return f"{entry.mode:04o} {entry.owner}:{entry.group}{more}"
    return "safe"

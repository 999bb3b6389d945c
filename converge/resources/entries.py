"""What lies at paths: kind, mode, owner, access list, links, and what keeps it from being written. Nothing is followed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from converge.engine.resource import State, Unknown
from converge.record import dataclass
from converge.shell import quote_all, sh

_LINE = re.compile(r"(.)([-rwxsStT]{9})([.+@]?) +(\d+) (\S+) +(.+?) +\d+(?:, +\d+)? +(/.*)")
_ERROR = re.compile(r"ls: cannot (?:access|read symbolic link|open directory) (.*): ([^:]+)")
_TYPES = {
    "-": "file",
    "d": "directory",
    "l": "symbolic link",
    "b": "block device",
    "c": "character device",
    "p": "named pipe",
    "s": "socket",
}


@dataclass(frozen=True)
class Entry:
    """One name in a directory, as `ls` tells it."""

    type: str
    mode: int
    has_acl: bool
    links: int
    owner: str
    group: str
    to: str = ""
    """Where a symbolic link leads."""

    @property
    def state(self) -> dict[str, str]:
        kind = f"{self.type} to {self.to}" if self.to else self.type
        access = {"access list": "yes" if self.has_acl else "none"}
        return {"type": kind, "mode": f"{self.mode:04o}", "owner": self.owner, "group": self.group} | access


@dataclass(frozen=True)
class Entries:
    """What lies at paths. A path where nothing lies is not in it; one that cannot be looked at is Unknown."""

    at: dict[str, Entry | Unknown]
    answers_for: dict[str, list[str]]
    """Directories above the asked paths, each under one path only: the first that lies beneath it."""

    def get(self, path: str) -> Entry | Unknown | None:
        return self.at.get(path)


def entries(names: Sequence[str]) -> str:
    """One `ls` for all paths and the directories above them. Its errors stand between the lines."""
    first: dict[str, str] = {}
    for name in names:
        for path in above(name):
            if path not in names:
                first.setdefault(path, name)
    headings = "".join(sh("printf 'above %s|%s\\n' {} {}\n", path, name) for path, name in first.items())
    return f"{headings}LC_ALL=C ls -ldU --time-style=+ -- {quote_all([*names, *first])} 2>&1 || :"


def attributes(names: Sequence[str]) -> str:
    """One `lsattr` for all paths and the directory of each: what is immutable or takes only more cannot be replaced."""
    paths = dict.fromkeys(path for name in names for path in (name, _folder(name)))
    return f"lsattr -d -- {quote_all(paths)} || :"


def above(path: str) -> list[str]:
    """The directories above a path, the nearest first."""
    folders = []
    while path != "/":
        path = _folder(path)
        folders.append(path)
    return folders


def _folder(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] or "/"


def read(answer: str) -> Entries:
    """The answer to `entries`."""
    by_path: dict[str, Entry | Unknown] = {}
    answers_for: dict[str, list[str]] = {}
    for line in answer.splitlines():
        if match := _LINE.fullmatch(line):
            kind, bits, extra, links, owner, group, path = match.groups()
            path, _, to = path.partition(" -> ") if kind == "l" else (path, "", "")
            by_path[path] = Entry(_TYPES.get(kind, "other"), _mode(bits), extra == "+", int(links), owner, group, to)
        elif line.startswith("above "):
            folder, _, path = line.removeprefix("above ").partition("|")
            answers_for.setdefault(path, []).append(folder)
        elif (error := _ERROR.fullmatch(line)) and error[2] != "No such file or directory":
            why = f"it cannot be looked at: {error[2].lower()}"
            by_path[shlex.split(error[1])[0]] = Unknown(why, "on the host: dmesg | tail -n 30; then: inv check")
    return Entries(by_path, answers_for)


def unsafe(path: str, owner: str, listing: Entries) -> tuple[list[str], list[str]]:
    """Directories above a path in which somebody else may put another thing in its place: those that everybody may
    write, and those that belong to somebody else.

    What a directory with the sticky bit holds only its owner may move away.
    """
    known = [
        (folder, entry)
        for folder in listing.answers_for.get(path, ())
        if isinstance(entry := listing.get(folder), Entry)
    ]
    open_to_all = [folder for folder, entry in known if entry.mode & 0o1002 == 0o002]
    return open_to_all, [folder for folder, entry in known if entry.owner not in ("root", owner)]


def locked(path: str, answer: str) -> str:
    """The path that keeps this one from being replaced, of the answer to `attributes`: immutable, or open to more only."""
    flags = {name: flag for flag, _, name in (line.partition(" ") for line in answer.splitlines())}
    return next((place for place in (path, _folder(path)) if {"i", "a"} & set(flags.get(place, ""))), "")


def unlock(path: str) -> str:
    return f"on the host: chattr -i -a {quote_all([path])}; then: inv deploy"


def state(path: str, owner: str, listing: Entries) -> State | Unknown | None:
    """What lies at a path, and whether what lies above it is safe."""
    entry = listing.get(path)
    if not isinstance(entry, Entry):
        return entry
    open_to_all, strange = unsafe(path, owner, listing)
    return entry.state | {"written by all": "|".join(open_to_all), "strange": "|".join(strange)}


def closed(before: State | None) -> str:
    """Shell that takes from everybody the right to write in the directories above."""
    paths = [path for path in (before or {}).get("written by all", "").split("|") if path]
    return f"chmod o-w -- {quote_all(paths)}\n" if paths else ""


def _mode(bits: str) -> int:
    """`rwsr-xr-t` as a number."""
    mode = sum(1 << (8 - at) for at, letter in enumerate(bits) if letter not in "-ST")
    special = ((2, 0o4000), (5, 0o2000), (8, 0o1000))
    return mode | sum(value for at, value in special if bits[at] in "sStT")


def paths(resources: Iterable[object]) -> list[str]:
    """The paths of resources, each once."""
    return list(dict.fromkeys(str(getattr(resource, "path", "")) for resource in resources))

"""The files of a folder as tar lists them, a line each: in the same form for an archive and for a folder on disk."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.comparison import Difference
from worker.contract import FAILED
from worker.errors import Failed

OPTIONS = (
    *("--format=posix", "--sparse", "--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name"),
    *("--quoting-style=escape", "--full-time", "--utc", "-vv"),
)
"""Options of tar: all attributes, sorted by name, one line for each name."""
UNPACK = (
    "--ignore-zeros",
    "--same-owner",
    "--same-permissions",
    "--numeric-owner",
    "--acls",
    "--xattrs",
    "--xattrs-include=*",
)
"""Options to unpack. A file that changed during packing follows the end of the archive, hence --ignore-zeros."""
_ESCAPED = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"a": b"\a"}


def only_listing(folder: str) -> list[str]:
    """The tar command that only lists a folder: with output to /dev/null tar reads no files."""
    return ["tar", "-C", folder, *OPTIONS, "-cf", "/dev/null", "."]


def of_folder(folder: Path) -> Listing:
    """The listing of a live folder."""
    done = subprocess.run(
        only_listing(str(folder)), capture_output=True, check=False, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    )
    if done.returncode not in (0, 1):
        raise Failed(FAILED, f"{folder} cannot be listed", done.stderr.decode(errors="replace")[-500:])
    return Listing.parse(done.stdout.decode(errors="surrogateescape"))


@dataclass(frozen=True)
class Listing:
    """The rows by name: mode, owner, size and time of change."""

    rows: dict[str, tuple[str, str, str, str]]

    @classmethod
    def parse(cls, text: str) -> Listing:
        """The listing in tar's output; of two rows for one name the last counts."""
        rows = {}
        for line in text.split("\n"):
            parts = line.split(maxsplit=5)
            if len(parts) == 6:
                mode, owner, size, day, time, name = parts
                rows[name] = (mode, owner, size, f"{day} {time}")
        return cls(rows)

    def text(self) -> bytes:
        lines = (f"{mode} {owner} {size} {time} {name}\n" for name, (mode, owner, size, time) in self.rows.items())
        return "".join(lines).encode(errors="surrogateescape")

    @property
    def files(self) -> int:
        return sum(not mode.startswith("d") for mode, *_ in self.rows.values())

    @property
    def bytes(self) -> int:
        return sum(int(size) for mode, _, size, _ in self.rows.values() if mode.startswith("-"))

    def is_folder(self, name: str) -> bool:
        return f"{name}/" in self.rows

    def with_links(self, names: Iterable[str]) -> list[str]:
        """These names and all hard links to the same files, as a file that is packed again is a separate file."""
        wanted = set(names)
        links = (name.partition(" link to ") for name, (mode, *_) in self.rows.items() if mode.startswith("h"))
        return [*wanted, *(name for name, _, first in links if first in wanted)]


def differences(wanted: Listing, actual: Listing) -> list[Difference]:
    """The differences of two listings, without the times of folders, which every new file changes."""
    rows = []
    for name in sorted({*wanted.rows, *actual.rows}):
        before, after = _describe(wanted, name), _describe(actual, name)
        if before != after:
            rows.append(
                Difference(name.removeprefix("./") or "the folder itself", f"{before} in the set, {after} here")
            )
    return rows


def _describe(listing: Listing, name: str) -> str:
    if name not in listing.rows:
        return "absent"
    mode, owner, size, time = listing.rows[name]
    return f"{mode} {owner}" if mode.startswith("d") else f"{mode} {owner} {size} bytes of {time[:23]}"


def raw(name: str) -> bytes:
    """The bytes of a name that tar has escaped."""

    def letter(match: re.Match[bytes]) -> bytes:
        escape = match[1]
        return bytes([int(escape, 8)]) if len(escape) == 3 else _LETTERS.get(escape, escape)

    return _ESCAPED.sub(letter, name.encode(errors="surrogateescape"))

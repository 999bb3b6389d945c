"""/etc/fstab as systemd reads it at boot: of two lines for one path the first wins, and one path has many spellings."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from converge.record import dataclass

_ESCAPED = re.compile(r"\\([0-7]{3})")
_NETWORK = frozenset(
    [
        "afs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
    ]
)
_TAGS = {"UUID": "UUID", "LABEL": "LABEL", "PARTUUID": "PARTUUID", "PARTLABEL": "PARTLABEL"}
_LINKS = {f"/dev/disk/by-{tag.lower()}/": column for tag, column in _TAGS.items()}


@dataclass(frozen=True)
class FstabLine:
    """One line that mounts something, with its number in the file; `spelt` is its path as it is written there."""

    number: int
    text: str
    source: str
    spelt: str
    path: str
    fstype: str
    options: frozenset[str]

    @property
    def at_boot(self) -> bool:
        return "noauto" not in self.options

    @property
    def required(self) -> bool:
        """Whether the boot ends in maintenance, without SSH, when this cannot be mounted."""
        network = self.fstype in _NETWORK or "_netdev" in self.options
        return self.at_boot and "nofail" not in self.options and not network

    @property
    def description(self) -> str:
        return f"line {self.number} of /etc/fstab ({self.source} at {self.path})"


def lines(text: str, links: Mapping[str, str] | None = None) -> list[FstabLine]:
    """The lines that mount something, in their order. `links` gives the real path of those that lead over a link."""
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        source, spelt, fstype, options = [*fields, "", ""][:4]
        if "/" in spelt and fstype not in ("swap", "autofs"):
            path = normal((links or {}).get(spelt) or unescaped(spelt))
            entries.append(
                FstabLine(
                    number, " ".join(fields), unescaped(source), spelt, path, fstype, frozenset(options.split(","))
                )
            )
    return entries


def normal(path: str) -> str:
    """One spelling of a path: no doubled slashes, none at its end, from the root as systemd's generator reads it."""
    return posixpath.normpath("/" + path.lstrip("/"))


def unescaped(field: str) -> str:
    """What a field of fstab or mountinfo stands for: blanks are written as octal numbers in both."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)


def unit(path: str) -> str:
    """The name that systemd gives to the mount unit of a path, without `.mount`."""
    inner = path.strip("/") or "-"
    named = (letter if re.match(r"[A-Za-z0-9:_.]", letter) else _hex(letter) for letter in inner.replace("/", "\0"))
    name = "".join(named)
    return _hex(".") + name[1:] if name.startswith(".") else name


def _hex(letter: str) -> str:
    return "-" if letter == "\0" else "".join(f"\\x{byte:02x}" for byte in letter.encode())


def device(source: str, disks: Sequence[Mapping[str, str]]) -> str | None:
    """The kernel name of what a line mounts, of the rows of `lsblk`; empty where there is no such drive.

    None where it is no block device, or is named in a way that the table does not have.
    """
    tag, _, value = source.partition("=")
    column = _TAGS.get(tag.upper())
    for folder, column_of_folder in _LINKS.items():
        if source.startswith(folder):
            column, value = column_of_folder, source.removeprefix(folder).replace("\\x20", " ")
    if column is None and source.startswith("/dev/") and source.count("/") == 2:
        column, value = "NAME", source.removeprefix("/dev/")
    if column is None:
        return None
    value = value.strip('"')
    return next((disk["NAME"] for disk in disks if _same(disk.get(column, ""), value, column)), "")


def _same(actual: str, wanted: str, column: str) -> bool:
    return actual.lower() == wanted.lower() if column.endswith("UUID") else actual == wanted


def is_above(path: str, other: str) -> bool:
    """Whether `other` lies beneath `path`; the root, which is above everything, does not count."""
    return path != "/" and other.startswith(path + "/")

"""What is mounted, as the kernel tells it in /proc/self/mountinfo, and the options that are in force."""

from __future__ import annotations

from collections.abc import Set

from converge.record import dataclass
from converge.resources.fstab import is_above, unescaped

# Each flag of a mount, and the word that takes it away again.
OPPOSITE = {
    "ro": "rw",
    "nosuid": "suid",
    "nodev": "dev",
    "noexec": "exec",
    "noatime": "atime",
    "nodiratime": "diratime",
    "relatime": "norelatime",
    "nosymfollow": "symfollow",
}
_IMPLIED = {
    "user": "nosuid nodev noexec",
    "users": "nosuid nodev noexec",
    "owner": "nosuid nodev",
    "group": "nosuid nodev",
}


@dataclass(frozen=True)
class Mounted:
    """One line of the kernel's table."""

    number: str
    parent: str
    device: str
    root: str
    path: str
    flags: frozenset[str]
    fstype: str
    source: str
    read_only: bool

    @property
    def in_force(self) -> str:
        """The flags that a mount may have, one spelling for each state."""
        flags = (self.flags & set(OPPOSITE)) | ({"ro"} if self.read_only else set())
        return _spelt(flags)


def table(text: str) -> list[Mounted]:
    """The mounts, in the order in which they were made."""
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:]:
            continue
        fstype, source, *more = fields[fields.index("-", 6) + 1 :]
        number, parent, device, root, path, flags = fields[:6]
        read_only = bool(more) and "ro" in more[0].split(",")
        mounts.append(
            Mounted(
                number,
                parent,
                device,
                unescaped(root),
                unescaped(path),
                frozenset(flags.split(",")),
                fstype,
                unescaped(source),
                read_only,
            )
        )
    return mounts


def wanted_flags(options: str) -> str:
    """The flags in force after a mount with these options, spelt as `in_force` does."""
    flags = {"relatime"}
    back = {word: flag for flag, word in OPPOSITE.items()}
    for option in options.split(","):
        flags |= set(_IMPLIED.get(option, "").split())
        if option in OPPOSITE:
            flags.add(option)
        flags.discard(back.get(option, ""))
        if option in ("noatime", "strictatime"):
            flags.discard("relatime")
        if option in ("relatime", "strictatime"):
            flags.discard("noatime")
    return _spelt(flags)


def remount_options(flags: str) -> str:
    """Every flag by name, or its opposite where it is not wanted, so that a remount leaves none as it was."""
    wanted = set(flags.split(","))
    options = [
        flag if flag in wanted else word for flag, word in OPPOSITE.items() if flag not in ("noatime", "relatime")
    ]
    times = [flag for flag in sorted({"noatime", "relatime"}) if flag in wanted] or ["strictatime"]
    return ",".join(options + times)


def hidden_by(mount: Mounted, mounts: list[Mounted]) -> Mounted | None:
    """What was mounted later over a directory above this mount, so that its path leads elsewhere."""
    by_number, number, standing_on = {other.number: other for other in mounts}, mount.parent, set[str]()
    while number in by_number and number not in standing_on:
        standing_on.add(number)
        number = by_number[number].parent
    above = (other for other in mounts if is_above(other.path, mount.path))
    return next((other for other in above if other.number not in standing_on), None)


def _spelt(flags: Set[str]) -> str:
    return ",".join(sorted(flags | ({"rw"} if "ro" not in flags else set())))

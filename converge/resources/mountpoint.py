"""Mount points: the directory beneath a mount, where nothing may be written while nothing is mounted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.file import parent
from converge.shell import quote, quote_all, sh


@dataclass(frozen=True)
class MountPoint(Resource):
    """An empty directory that is immutable beneath the mount: while nothing is mounted, nothing can be written there."""

    kind: ClassVar[str] = "mountpoint"
    path: str

    @property
    def name(self) -> str:
        return self.path

    def desired(self) -> State:
        return {"type": "directory", "immutable": "yes", "empty": "yes"}

    def gives(self) -> tuple[str, ...]:
        return (f"path:{self.path}",)

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{parent(self.path)}",)

    @classmethod
    def probe(cls, wanted: Sequence[MountPoint]) -> str:
        """Read beneath what is mounted, in a mount namespace of its own, where unmounting touches nobody else."""
        look = """
mounted() { # the paths of $all on which something is mounted; `read` would ask the kernel for each byte
  awk 'index(ENVIRON["all"], " " $5 " ") { printf "%s ", $5 }' /proc/self/mountinfo
}
export all=" $* "
while at=$(mounted) || exit 3; [ "$at" ]; do umount -l $at || exit 3; done
newline="
"; flags=$(lsattr -d -- "$@" 2>/dev/null)$newline
for path do
  if [ -d "$path" ] && [ ! -L "$path" ]; then
    count=0
    for entry in "$path"/* "$path"/.[!.]* "$path"/..?*; do if [ -e "$entry" ] || [ -L "$entry" ]; then count=$((count + 1)); fi; done
    flag=${flags%% "$path$newline"*}; printf 'directory %s %s\\n' "${flag##*[!a-zA-Z-]}" "$count"
  elif [ -e "$path" ]; then echo other; else echo absent; fi
done"""
        return f"unshare -m sh -c {quote(look)} look {quote_all(mount_point.path for mount_point in wanted)}"

    @classmethod
    def read(cls, wanted: Sequence[MountPoint], answer: str) -> list[Reading]:
        return [_beneath(line) for line in answer.splitlines()[: len(wanted)]]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["type"] != "directory":
            return Refusal(
                "something else than a directory stands there",
                f"on the host: {sh('mv -T -- {} {}', self.path, self.path + '.aside')}; then: inv deploy",
            )
        if before and before["empty"] != "yes":
            return Refusal(
                "files lie beneath the mount, on the root disk",
                f"on the host, which moves them to {self._aside}: {sh('unshare -m sh -c {}', self._moved)}; then: inv deploy",
            )
        return None

    @property
    def _aside(self) -> str:
        return f"/root/beneath-{self.path.rpartition('/')[2]}"

    @property
    def _moved(self) -> str:
        """Shell that moves aside what lies beneath: on the drive there may be something else of that name."""
        move = sh("find {} -mindepth 1 -maxdepth 1 -exec mv -nt {} {{}} +", self.path, self._aside)
        look = sh("umount -l {} || :; chattr -i {}; mkdir -p {}", self.path, self.path, self._aside)
        return f"{look}; {move}"

    def fix(self, before: State | None) -> list[Step]:
        beneath = sh("mkdir -p -m 0755 -- {}\nchattr +i -- {}", self.path, self.path)
        inner = f"while mountpoint -q {quote(self.path)}; do umount -l {quote(self.path)} || exit 3; done\nset -e\n{beneath}"
        return [Shell(f"unshare -m sh -c {quote(inner)}")]


def _beneath(line: str) -> Reading:
    if line == "absent":
        return None
    if line == "other":
        return {"type": "other"}
    _, flags, count = line.split(" ")
    return {"type": "directory", "immutable": "yes" if "i" in flags else "no", "empty": "yes" if count == "0" else "no"}

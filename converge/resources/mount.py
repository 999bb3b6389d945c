"""Mount points and mounts. What is compared is what is mounted, not only that something is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from converge.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.resources.blocks import blocks, table
from converge.resources.docker import Shares
from converge.shell import quote, sh, words

_NEXT = "== stowage: next"
"""Stands between the answers; fstab may hold anything, but hardly this."""


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

    @classmethod
    def probe(cls, wanted: Sequence[MountPoint]) -> str:
        """Read beneath what is mounted, in a mount namespace of its own, where unmounting is nobody else's business."""
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
    for one in "$path"/* "$path"/.[!.]* "$path"/..?*; do if [ -e "$one" ] || [ -L "$one" ]; then count=$((count + 1)); fi; done
    flag=${flags%% "$path$newline"*}; printf 'directory %s %s\\n' "${flag##*[!a-zA-Z-]}" "$count"
  elif [ -e "$path" ]; then echo other; else echo absent; fi
done"""
        return f"unshare -m sh -c {quote(look)} look {words(one.path for one in wanted)}"

    @classmethod
    def read(cls, wanted: Sequence[MountPoint], answer: str) -> list[Reading]:
        return [_beneath(line) for line in answer.splitlines()[: len(wanted)]]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["type"] != "directory":
            return Refusal("something else than a directory stands there", f"on the host: {sh('ls -la {}', self.path)}")
        if before and before["empty"] != "yes":
            return Refusal(
                "files lie beneath the mount, on the root disk",
                f"on the host: {sh('unshare -m sh -c {}', f'umount -l {self.path}; ls -la {self.path}')}",
            )
        return None

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


@dataclass(frozen=True)
class Mount(Resource):
    """A filesystem mounted by its label, now and at every boot.

    `nofail` and a short device timeout are always added: a host with a dead drive must still boot and answer SSH.
    """

    kind: ClassVar[str] = "mount"
    statuses: ClassVar[tuple[int, ...]] = (0, 1)
    """1: there is no fstab."""
    path: str
    label: str
    fstype: str = "xfs"
    options: str = "defaults,noatime"

    @property
    def name(self) -> str:
        return self.path

    @property
    def line(self) -> str:
        extra = "nofail,x-systemd.device-timeout=10s,x-systemd.before=docker.service"
        return f"LABEL={self.label} {self.path} {self.fstype} {self.options},{extra} 0 0"

    def desired(self) -> State:
        return {"fstab": self.line, "mounted": self.label}

    @classmethod
    def probe(cls, wanted: Sequence[Mount]) -> str:
        return f"cat /etc/fstab - /proc/self/mountinfo <<END\n\n{_NEXT}\nEND"

    @classmethod
    def shares(cls, wanted: Sequence[Mount]) -> Shares:
        return {blocks: ()}

    @classmethod
    def read(cls, wanted: Sequence[Mount], answer: str, *shared: str) -> list[Reading]:
        fstab, mountinfo = answer.rsplit(f"\n{_NEXT}\n", 1)
        if not mountinfo.strip():
            raise ValueError("the kernel tells of no mounts")
        labels = {one["MAJ:MIN"]: one["LABEL"] for one in table(shared[0])}
        mounts = {line.split(" ")[4]: line.split(" ") for line in mountinfo.splitlines() if line.count(" ") > 5}
        places = {labels.get(mount[2], ""): path for path, mount in mounts.items() if mount[3] == "/"}
        lines = {
            line.split()[1]: " ".join(line.split())
            for line in fstab.splitlines()
            if len(line.split()) > 3 and line[0] != "#"
        }
        return [_mounted(one, lines.get(one.path, ""), mounts.get(one.path), labels, places) for one in wanted]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["mounted"] not in ("", self.label):
            return Refusal(
                f"{before['source']} ({before['holds']}) is mounted there",
                f"on the host: {sh('umount {}', self.path)}",
            )
        if before and before.get("elsewhere") and not before["mounted"]:
            return Refusal(
                f"{self.label} is mounted at {before['elsewhere']} already",
                f"on the host, once nothing uses it there: {sh('umount {}', before['elsewhere'])}",
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        other_lines = sh("awk -v path={} '$1 ~ /^#/ || $2 != path'", self.path)
        mounted = "" if before and before["mounted"] else _mount(self.path, self.label, self.fstype)
        return [
            Shell(f"""
rm -f /etc/fstab.stowage-??????*
new=$(mktemp /etc/fstab.stowage-XXXXXX); trap 'rm -f "$new"' EXIT
# This line alone: of another drive that is away, findmnt would say that it is an error.
printf '%s\\n' {quote(self.line)} >"$new"
findmnt --verify --tab-file "$new" >"$new.said" 2>&1 || {{ cat "$new.said"; rm -f "$new.said"; exit 1; }}
rm -f "$new.said"
{other_lines} /etc/fstab >"$new"; printf '%s\\n' {quote(self.line)} >>"$new"
chmod 0644 "$new"
sync "$new"; mv -f "$new" /etc/fstab; sync /etc
systemctl daemon-reload
{mounted}[ "$(findmnt -nro LABEL --mountpoint {quote(self.path)})" = {quote(self.label)} ]
systemctl daemon-reload
""")
        ]


def _mount(path: str, label: str, fstype: str) -> str:
    """Mount it; a drive that was pulled and put back is first taken from who saw it go.

    They have what was mounted before, which serves no more, and XFS does not mount a filesystem twice. A container that
    uses the drive binds the directory with the name of the label: it is ended. Where all of the host is seen, as by a
    monitor in a container, it is unmounted. Whoever has the drive as it is now is left alone.
    """
    fields = (
        'for (i = 7; i < NF && $i != "-"; i++); whole = $4 == "/" && substr($5, length($5) - length(path) + 1) == path'
    )
    those = f"{{ {fields}; if ((whole || $4 == root) && $3 != now && $(i + 1) == fstype) print $3, $4, $5 }}"
    table = sh('awk -v root={} -v path={} -v fstype={} -v now="$now" {}', f"/{label}", path, fstype, those)
    maybe = sh("grep -lF -e {} -e {} /proc/[0-9]*/mountinfo", f" /{label} ", f"{path} ")
    return f"""stale() {{ # of each process: its number, what of the filesystem it has, and where
now=$(mountpoint -x "$({sh("findfs LABEL={}", label)})") || return 0
{maybe} 2>/dev/null | while read -r file; do
pid=${{file#/proc/}}; pid=${{pid%/*}}
{table} "$file" 2>/dev/null | while read -r device what where; do
grep -q " $device " /proc/self/mountinfo || echo "$pid $what $where"
done; done
}}
let_go() {{
stale | while read -r pid what where; do
if [ "$what" != / ]; then
echo "ending $(cat "/proc/$pid/comm"), which holds the drive as it was before it was pulled"; kill -$1 "$pid" || :
elif grep -qsF " / $where " "/proc/$pid/mountinfo"; then umount -N "$pid" -- "$where" || :; fi
done
}}
mounts() {{ said=$({sh("mount -- {}", path)} 2>&1); }}
mounts || {{
status=$?
if [ -n "$(stale)" ]; then
for signal in TERM KILL; do
let_go $signal
for second in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do if mounts; then status=0; break 2; fi; sleep 1; done
done; fi
[ $status = 0 ] || {{ printf '%s\\n' "$said"; exit $status; }}
}}
"""


def _mounted(one: Mount, line: str, mount: list[str] | None, labels: dict[str, str], places: dict[str, str]) -> Reading:
    elsewhere = "" if mount else places.get(one.label, "")
    if not (line or mount or elsewhere):
        return None
    state = {"fstab": line, "mounted": ""} | ({"elsewhere": elsewhere} if elsewhere else {})
    if mount:
        kind, source = mount[mount.index("-") + 1 :][:2]
        label = labels.get(mount[2], "")
        holds = f"{kind} labelled {label}" if label else kind
        state |= {"mounted": label or source, "source": source, "holds": holds}
    return state

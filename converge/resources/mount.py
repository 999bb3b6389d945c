"""Mounts. What is compared is what is mounted and how, and what the next boot will make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources import mountinfo
from converge.resources.blocks import blocks
from converge.resources.blocks import table as disks_of
from converge.resources.docker import CommonQuestions
from converge.resources.file import parent
from converge.resources.fstab import FstabLine, normal
from converge.resources.mount_faults import fault
from converge.resources.mounting import mounting
from converge.resources.mounts import Mounts, mounts, read
from converge.shell import quote, sh


@dataclass(frozen=True)
class Mount(Resource):
    """A filesystem mounted by its label, now and at every boot.

    `nofail` and a short device timeout are always added: a host with a dead drive must still boot and answer SSH.
    """

    kind: ClassVar[str] = "mount"
    way_out: ClassVar[str] = "on the host: findmnt --verify; dmesg | tail -n 30"
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

    @property
    def flags(self) -> str:
        return mountinfo.wanted_flags(self.options)

    def desired(self) -> State:
        return {"fstab": self.line, "mounted": self.label, "in force": self.flags, "fault": ""}

    def gives(self) -> tuple[str, ...]:
        return (f"path:{self.path}",)

    def stands_on(self) -> tuple[str, ...]:
        return (f"filesystem:{self.label}", f"mountpoint:{self.path}", f"path:{parent(self.path)}")

    @classmethod
    def common_questions(cls, wanted: Sequence[Mount]) -> CommonQuestions:
        return {blocks: (), mounts: [mount.path for mount in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Mount], answer: str, *shared: str) -> list[Reading]:
        disks, table = disks_of(shared[0]), read(shared[1])
        return [_state(mount, table, disks) for mount in wanted]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["mounted"] not in ("", self.label):
            return Refusal(
                f"{before['source']} ({before['holds']}) is mounted there",
                f"on the host: {sh('umount {}', self.path)}; then: inv deploy",
            )
        if before and before.get("elsewhere") and not before["mounted"]:
            return Refusal(
                f"{self.label} is mounted at {before['elsewhere']} already",
                f"on the host, once nothing uses it there: {sh('umount {}', before['elsewhere'])}; then: inv deploy",
            )
        return Refusal(before["fault"], before.get("way out", "")) if before and before["fault"] else None

    def diff(self, before: State | None) -> list[str]:
        if before is None:
            return []
        rest = [line for line in super().diff(before) if not line.startswith("fstab: ")]
        if before["fstab"] == self.line:
            return rest
        # A line each: two of these beside one another are wider than any terminal.
        old = [f"- {line}" for line in before["fstab"].splitlines()]
        return ["fstab:", *old, f"+ {self.line}", *rest]

    def fix(self, before: State | None) -> list[Step]:
        mounted = before["mounted"] if before else ""
        force = ""
        if before and mounted and before["in force"] != self.flags:
            force = sh("mount -o remount,{} -- {}\n", mountinfo.remount_options(self.flags), self.path)
        keep = before and before["fstab"] == self.line
        written = "" if keep else self._fstab(before)
        label = f'[ "$(findmnt -nro LABEL --mountpoint {quote(self.path)} | tail -n 1)" = {quote(self.label)} ]'
        make = "" if mounted else mounting(self.path, self.label, self.fstype)
        return [Shell(f"{written}{make}{force}{label}\nsystemctl daemon-reload\n")]

    def _fstab(self, before: State | None) -> str:
        """Shell that puts our line in the place of all others for that path, however they spell it."""
        spelt = f" {self.path} {before['spelt'] if before else ''} "
        others = f'paths={quote(spelt)} awk \'$1 ~ /^#/ || !index(ENVIRON["paths"], " " $2 " ")\''
        return f"""
rm -f /etc/fstab.stowage-??????*
new=$(mktemp /etc/fstab.stowage-XXXXXX); trap 'rm -f "$new"' EXIT
# This line alone: of another drive that is away, findmnt would say that it is an error.
printf '%s\\n' {quote(self.line)} >"$new"
findmnt --verify --tab-file "$new" >"$new.said" 2>&1 || {{ cat "$new.said"; rm -f "$new.said"; exit 1; }}
rm -f "$new.said"
: >"$new"
[ ! -e /etc/fstab ] || {others} /etc/fstab >"$new"
printf '%s\\n' {quote(self.line)} >>"$new"
chmod 0644 "$new"
sync "$new"; mv -f "$new" /etc/fstab; sync /etc
systemctl daemon-reload
"""


def _state(wanted: Mount, table: Mounts, disks: Sequence[Mapping[str, str]]) -> Reading:
    path = normal(wanted.path)
    ours = [line for line in table.lines if line.path == path]
    mount = next((mount for mount in reversed(table.mounts) if mount.path == path), None)
    labels = {disk["MAJ:MIN"]: disk["LABEL"] for disk in disks}
    elsewhere = "" if mount else _elsewhere(wanted.label, table, labels)
    why, way_out = fault(path, wanted.label, mount, table, disks)
    if not (ours or mount or elsewhere or why):
        return None
    state = {"fstab": "\n".join(line.text for line in ours), "spelt": _spelt(ours), "mounted": "", "fault": why}
    state |= {"in force": wanted.flags, "way out": way_out} | ({"elsewhere": elsewhere} if elsewhere else {})
    if mount:
        label = labels.get(mount.device, "")
        holds = f"{mount.fstype} labelled {label}" if label else mount.fstype
        state |= {"mounted": label or mount.source, "source": mount.source, "holds": holds, "in force": mount.in_force}
    return state


def _spelt(ours: Sequence[FstabLine]) -> str:
    return " ".join(line.spelt for line in ours)


def _elsewhere(label: str, table: Mounts, labels: Mapping[str, str]) -> str:
    """Where the whole filesystem with a label is mounted."""
    places = (mount.path for mount in table.mounts if mount.root == "/" and labels.get(mount.device) == label)
    return next(places, "")

"""Faults of a mount that no deploy may mend, and of what the next boot would make of it; only the first is reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from converge.record import dataclass
from converge.resources.fstab import FstabLine, device, is_above, unit
from converge.resources.mountinfo import Mounted, hidden_by
from converge.resources.mounts import Mounts
from converge.shell import sh

THEN = "then: inv deploy"
Fault = tuple[str, str]
"""What is wrong, and the way out of it; both empty where nothing is."""


@dataclass(frozen=True)
class _Case:
    path: str
    label: str
    mount: Mounted | None
    table: Mounts
    disks: Sequence[Mapping[str, str]]

    @property
    def drive(self) -> str:
        return f"{self.path}/{self.label}"

    def is_mounted(self, path: str) -> bool:
        return any(mount.path == path for mount in self.table.mounts)


def fault(path: str, label: str, mount: Mounted | None, table: Mounts, disks: Sequence[Mapping[str, str]]) -> Fault:
    """The first fault of a mount, and the way out of it."""
    case = _Case(path, label, mount, table, disks)
    return next((result for look in _LOOKS if (result := look(case))[0]), ("", ""))


def _twice(case: _Case) -> Fault:
    """A second mount on top of ours."""
    stacked = [mount for mount in case.table.mounts if mount.path == case.path]
    if len(stacked) < 2:
        return "", ""
    why = f"{len(stacked)} mounts lie on top of each other there: {' and '.join(mount.source for mount in stacked)}"
    return why, f"on the host, which takes the upper one away: {sh('umount {}', case.path)}; {THEN}"


def _part(case: _Case) -> Fault:
    """A bind mount of a directory in the place of the whole filesystem."""
    if not case.mount or case.mount.root == "/":
        return "", ""
    return f"only the directory {case.mount.root} of the drive is mounted there", (
        f"on the host: {sh('umount {}', case.path)}; {THEN}"
    )


def _hidden(case: _Case) -> Fault:
    above = hidden_by(case.mount, case.table.mounts) if case.mount else None
    if not above:
        return "", ""
    why = f"{above.source} was mounted over it at {above.path}: the path leads to something else"
    return why, f"on the host: {sh('umount {}', above.path)}; {THEN}"


def _over_the_data(case: _Case) -> Fault:
    """Something else mounted within the directory that holds the data: containers would write to it."""
    inner = next(
        (mount for mount in case.table.mounts if mount.path == case.drive or is_above(case.drive, mount.path)), None
    )
    if not inner:
        return "", ""
    why = f"{inner.source} ({inner.fstype}) is mounted at {inner.path}, within the data"
    return why, f"on the host, once nothing uses it: {sh('umount {}', inner.path)}; {THEN}"


def _shut_down(case: _Case) -> Fault:
    if not case.mount or case.path not in case.table.broken:
        return "", ""
    source = case.mount.source
    why = f"the filesystem of {source} answers with errors: the kernel has shut it down, or the drive is gone"
    look = "dmesg | grep -iE 'xfs|I/O error' | tail"
    users = sh("docker stop $(docker ps -q --filter volume={})", case.drive)
    # Mounting replays the log. Before that, xfs_repair reports hundreds of faults that are none.
    repair = sh("xfs_repair {}", source)
    away = sh("umount {}", case.path)
    return why, (
        f"on the host: {look}; if the drive is sound: {users}; {away}; {THEN}; only if it cannot be mounted then: {repair}"
    )


def _read_only(case: _Case) -> Fault:
    """A drive that the kernel itself takes for read-only; no remount helps against that."""
    if not case.mount or "ro" not in case.mount.in_force.split(","):
        return "", ""
    disk = next((disk for disk in case.disks if disk["MAJ:MIN"] == case.mount.device), {})
    if disk.get("RO") != "1":
        return "", ""
    why = f"the kernel holds the drive {case.mount.source} for read-only"
    return (
        why,
        f"on the host: dmesg | tail -n 30; if the drive is sound: {sh('blockdev --setrw {}', case.mount.source)}; {THEN}",
    )


def _other_units(case: _Case) -> Fault:
    files = case.table.units.get(unit(case.path))
    if not files:
        return "", ""
    why = f"systemd reads more than fstab for this path: {', '.join(files)}"
    return why, f"on the host, if nobody needs it: {sh('rm -r {}', files[0])}; systemctl daemon-reload; {THEN}"


def _same_drive(case: _Case) -> Fault:
    """A line that mounts this very drive somewhere else at boot."""
    name = next((disk["NAME"] for disk in case.disks if disk.get("LABEL") == case.label), None)
    for line in case.table.lines:
        if line.path == case.path or not line.at_boot:
            continue
        if line.source == f"LABEL={case.label}" or (name and device(line.source, case.disks) == name):
            return f"{line.description} mounts {case.label} there at the next boot", edit(line)
    return "", ""


def _above(case: _Case) -> Fault:
    """A line for a path above ours: our mount waits for it at boot, and what it mounts hides our mount points."""
    for line in case.table.lines:
        if is_above(line.path, case.path) and line.at_boot and not case.is_mounted(line.path):
            end = "ends in maintenance, without SSH" if line.required else "leaves this drive unmounted or hidden"
            return f"{line.description} is not mounted now; if that fails at the next boot, the boot {end}", edit(line)
    return "", ""


def _beneath(case: _Case) -> Fault:
    """A line for a path on our drive: over the data, or one that the boot needs, which fails when our drive is dead."""
    for line in case.table.lines:
        if not is_above(case.path, line.path) or not line.at_boot:
            continue
        if line.path == case.drive or is_above(case.drive, line.path):
            return f"{line.description} is mounted within the data at the next boot", edit(line)
        if line.required:
            why = f"{line.description} lies on this drive and has no nofail: with the drive dead, the boot ends in maintenance, without SSH"
            return why, edit(line)
    return "", ""


def edit(line: FstabLine) -> str:
    """What to do about a line of fstab that is not ours."""
    return f"on the host: take line {line.number} out of /etc/fstab, or give it the options nofail,noauto; systemctl daemon-reload; then: inv check"


_LOOKS: tuple[Callable[[_Case], Fault], ...] = (
    _twice,
    _part,
    _hidden,
    _over_the_data,
    _shut_down,
    _read_only,
    _other_units,
    _same_drive,
    _above,
    _beneath,
)

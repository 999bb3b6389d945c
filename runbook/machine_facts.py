"""Facts of a new machine: its system, and its disks by names that last."""

from __future__ import annotations

import shlex
from dataclasses import field

from converge.errors import Trouble
from converge.record import dataclass
from converge.ssh.link import Link

# By-path is for disks without a serial number, as in many clouds. What a disk's own names end in -part1 for is a partition.
LOOK = """
. /etc/os-release; printf 'system=%s %s\\n' "$ID" "$VERSION_ID"
printf 'machine=%s\\n' "$(uname -m)"
printf 'root=%s\\n' "$(df -B1 --output=size / | tail -n 1 | tr -d ' ')"
printf 'address=%s\\n' "$(hostname -I | cut -d' ' -f1)"
for link in /dev/disk/by-id/* /dev/disk/by-path/*; do
  case $link in *-part[0-9]*|*/dm-*|*/lvm-*|*/md-*|*/wwn-*|*/nvme-eui*|*/nvme-nvme.*) continue;; esac
  real=$(readlink -f "$link"); [ -b "$real" ] || continue
  printf 'disk=%s|%s|%s\\n' "$link" "$(lsblk -bdnPo NAME,TYPE,SIZE,SERIAL,MODEL,RM "$real")" \
    "$(lsblk -nro FSTYPE,LABEL,MOUNTPOINT,PTTYPE "$real" | tr -s '\\n ' ' ')"
done
"""
GIB = 1 << 30


@dataclass(frozen=True)
class Disk:
    """A whole disk by a name that lasts; `holds` is empty where nothing is seen on it."""

    link: str
    size: int
    facts: str
    holds: str


@dataclass
class MachineFacts:
    """What was read from a machine."""

    system: str = ""
    machine: str = ""
    root: int = 0
    address: str = ""
    disks: list[Disk] = field(default_factory=list)

    @property
    def blank(self) -> list[Disk]:
        return [disk for disk in self.disks if not disk.holds]


def read(link: Link) -> MachineFacts:
    """Look at a machine; nothing on it changes."""
    status, out, err = link.send(LOOK, iter(()))
    if status:
        hint = f"ssh {link.target.address} cat /etc/os-release"
        why = err.decode(errors="replace").strip()[-300:]
        raise Trouble("the machine could not be read", link.target.name, why, "nothing was written", hint)
    return parsed(out.decode(errors="replace"))


def parsed(text: str) -> MachineFacts:
    """The facts in a machine's answer, each disk once and by its best name."""
    machine, disks = MachineFacts(), dict[str, Disk]()
    for key, _, value in (line.partition("=") for line in text.splitlines()):
        if key == "disk":
            link, attributes, holds = value.split("|", 2)
            facts = dict(pair.split("=", 1) for pair in shlex.split(attributes))
            if facts.get("TYPE") in ("disk", "loop") and facts["SIZE"] != "0":
                disks.setdefault(facts["NAME"], _disk(link, facts, holds.strip()))
        elif key == "root":
            machine.root = int(value or 0)
        elif key in ("system", "machine", "address"):
            setattr(machine, key, value)
    machine.disks = sorted(disks.values(), key=lambda disk: disk.link)
    return machine


def _disk(link: str, facts: dict[str, str], holds: str) -> Disk:
    size = int(facts["SIZE"])
    serial = f"serial {facts['SERIAL']}" if facts.get("SERIAL") else ""
    description = (facts["NAME"], capacity(size), facts.get("MODEL", "").strip(), serial)
    return Disk(
        link, size, ", ".join(filter(None, description)), holds or ("removable" if facts.get("RM") == "1" else "")
    )


def capacity(size: int) -> str:
    """A size as it stands on a drive's box, in GiB or TiB."""
    return f"{size / GIB:.0f} GiB" if size < 1024 * GIB else f"{size / 1024 / GIB:.1f} TiB"

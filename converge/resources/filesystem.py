"""A filesystem on a drive. It is made on a blank drive only; whatever holds anything is refused with what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.long_commands import as_unit
from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step, Unknown
from converge.record import dataclass
from converge.resources.blocks import blocks, table
from converge.resources.docker import CommonQuestions
from converge.shell import quote, sh, write_record

RECORDS = "/var/lib/stowage/drives"
"""One file a label: what was formatted, and LABEL.intent while it is being formatted."""

_FINGERPRINT = (
    'sh -c \'d=$(readlink -f -- "$1"); printf "%s %s\\n" "$(lsblk -dnro SERIAL -- "$d" | grep . || echo no-serial)"'
    ' "$(blockdev --getsize64 "$d")"\' fingerprint {device}'
)
_UNSIGNED = "data without a known signature"

# Everything that makes a drive not blank, looked at on the medium; the last line says `blank` or what was found.
_LOOK = """
export LC_ALL=C
dev=$(readlink -f -- "$1"); name=${dev##*/}
[ -b "$dev" ] || { echo missing; exit 0; }
[ -r "/sys/class/block/$name/size" ] || { echo missing; exit 0; }
size=$(cat /sys/class/block/$name/size)
[ "$size" -gt 0 ] || { echo missing; exit 0; }
[ ! -e "/sys/class/block/$name/partition" ] || { echo "held a partition of another disk"; exit 0; }
[ -z "$(ls /sys/class/block/$name/holders)" ] || { echo "held in use by $(ls /sys/class/block/$name/holders | tr '\\n' ' ')"; exit 0; }
[ -z "$(ls -d /sys/class/block/$name/$name*[0-9] 2>/dev/null)" ] || { echo "held partitions: $(ls -d /sys/class/block/$name/$name*[0-9] | xargs -n1 basename | tr '\\n' ' ')"; exit 0; }
! grep -q "^$dev " /proc/swaps || { echo "held swap in use"; exit 0; }
! awk -v d="$(cat /sys/class/block/$name/dev)" '$3 == d { found = 1 } END { exit !found }' /proc/self/mountinfo || { echo "held mounted at $(findmnt -nro TARGET -S "$dev" | tr '\\n' ' ')"; exit 0; }
signature=$(blkid -p -o export -- "$dev" 2>/dev/null); status=$?
case $status in 0) echo "holds $(printf '%s\\n' "$signature" | grep -E '^(TYPE|LABEL|PTTYPE)=' | tr '\\n' ' ')"; exit 0;; 2) ;; *) echo "held signatures that blkid cannot tell apart"; exit 0;; esac
signature=$(wipefs --noheadings --output TYPE,LABEL -- "$dev" 2>/dev/null) || { echo "held something that wipefs cannot read"; exit 0; }
signature=$(printf '%s' "$signature" | tr '\\n' ' ')
[ -z "$signature" ] || { echo "held signatures: $signature"; exit 0; }
part=16777216; bytes=$((size * 512)); [ "$bytes" -gt $((part * 2)) ] || part=$((bytes / 2))
cmp -s -n $part -- "$dev" /dev/zero || { echo "held data without a known signature in its first 16 MiB"; exit 0; }
cmp -s -n $part -i $((bytes - part)):0 -- "$dev" /dev/zero || { echo "held data without a known signature in its last 16 MiB"; exit 0; }
echo blank
"""
DEADLINE = 8
"""Seconds that looking at one unmounted drive may take; a drive that does not answer is unknown, never blank."""


@dataclass(frozen=True)
class Filesystem(Resource):
    """A filesystem with this label on this drive."""

    kind: ClassVar[str] = "filesystem"
    device: str
    label: str
    fstype: str = "xfs"

    @property
    def name(self) -> str:
        return self.label

    def desired(self) -> State:
        return {"type": self.fstype, "label": self.label}

    @classmethod
    def probe(cls, wanted: Sequence[Filesystem]) -> str:
        """Mounted drives are read from the kernel and udev; unmounted ones are looked at, all at once, with a deadline."""
        devices = " ".join(quote(filesystem.device) for filesystem in wanted)
        labels = " ".join(quote(filesystem.label) for filesystem in wanted)
        return f"""
newline='
'
dir=; n=0; names=$(readlink -m -- {devices})
for device in {devices}; do
  n=$((n + 1)); real=${{names%%"$newline"*}}; names=${{names#*"$newline"}}; name=${{real##*/}}
  # A drive's own line of the table says whether it is mounted; then nothing else is asked of it.
  case ${blocks.__name__} in *"NAME=\\"$name\\" "*) line=${{{blocks.__name__}#*"NAME=\\"$name\\" "}}; line=${{line%%"$newline"*}};; *) line=;; esac
  case $line in *' MOUNTPOINT="/'*) eval "look$n='$name|mounted'"; continue;; esac
  [ "$dir" ] || {{ dir=$(mktemp -d /run/stowage-look.XXXXXX) || exit 1; trap 'rm -rf "$dir"' EXIT; }}
  eval "look$n="; echo "$name" >$dir/$n.name
  timeout -k 1 {DEADLINE} sh -c {quote(_LOOK)} look "$device" >$dir/$n &
done
wait; i=0
while [ $i -lt $n ]; do
  i=$((i + 1)); eval "look=\\$look$i"
  printf '%s\\n' "${{look:-$(cat $dir/$i.name)|$(tail -n 1 $dir/$i)}}"
done
echo
set -- {devices}
for label in {labels}; do
  record=; intent=; replacement=; now=
  [ ! -e {RECORDS}/"$label" ] || read -r record <{RECORDS}/"$label"
  [ ! -e {RECORDS}/"$label".intent ] || read -r intent <{RECORDS}/"$label".intent
  [ ! -e {RECORDS}/"$label".replacement ] || read -r replacement <{RECORDS}/"$label".replacement
  [ -z "$intent$replacement" ] || now=$({_FINGERPRINT.format(device='"$1"')})
  shift; printf '%s|%s|%s|%s\\n' "$record" "$intent" "$replacement" "$now"
done
"""

    @classmethod
    def common_questions(cls, wanted: Sequence[Filesystem]) -> CommonQuestions:
        return {blocks: ()}

    @classmethod
    def read(cls, wanted: Sequence[Filesystem], answer: str, *shared: str) -> list[Reading]:
        disks = table(shared[0])
        looks, records = answer.split("\n\n", 1)
        looked = [line.split("|", 1) for line in looks.splitlines()]
        kept = [line.split("|", 3) for line in records.split("\n")[: len(wanted)]]
        return [
            _reading(
                filesystem,
                disks,
                name,
                look,
                _Kept(record, intent == now and intent, replacement == now and replacement),
            )
            for filesystem, (name, look), (record, intent, replacement, now) in zip(wanted, looked, kept, strict=True)
        ]

    def refusal(self, before: State | None) -> Refusal | None:
        if before is None or before.get("unfinished") or before.get("allowed"):
            return None
        if before["type"] == "blank":
            return Refusal(
                f"{self.device} is blank, yet this host recorded {before['recorded']} for {self.label}: another or a wiped drive",
                f"inv drives.replace {self.label}",
            )
        if before.get("twice"):
            return Refusal(
                f"two drives carry the label {self.label}: {before['twice']}",
                "inv drives.list shows both; on the host, of the one that is not meant, unmounted: xfs_admin -L other /dev/NAME; then: inv deploy",
            )
        return Refusal(
            f"{self.device} is not blank: it holds {before['holds']}; Stowage never wipes",
            self._way_out(before["holds"]),
        )

    def _way_out(self, holds: str) -> str:
        """What a person may type: only a person may decide which data may be lost."""
        for phrase, command in _WAYS_OUT.items():
            if phrase in holds:
                return command.format(device=quote(self.device))
        return _WIPE.format(device=quote(self.device))

    def note(self, before: State | None) -> str:
        makes = f"makes {self.fstype} on {self.device}"
        if before and before.get("allowed"):
            return f"{makes}, in the place of {before['recorded']}"
        return f"{makes}, which an earlier run began" if before else makes

    @property
    def replacement(self) -> str:
        """Shell that allows the very drive that is in place now, as long as it is blank, to become that of this label.

        The record of the drive before stays until the new one is made: a deploy that is refused loses nothing.
        """
        allowed = f"{RECORDS}/{self.label}.replacement"
        return f"""
look=$(timeout -k 1 {DEADLINE} sh -c {quote(_LOOK)} look {quote(self.device)} | tail -n 1)
[ "$look" = blank ] || {{ printf '%s\\n' "{self.device} is not a blank drive: ${{look:-it does not answer}}"; exit 1; }}
mkdir -p -m 0750 {RECORDS}
{write_record(allowed, _FINGERPRINT.format(device=quote(self.device)))}
"""

    @property
    def no_replacement(self) -> str:
        """Shell that takes the permission back."""
        return f"rm -f {self._file('replacement')}"

    def _file(self, what: str = "") -> str:
        """The record of a drive, or what is kept beside it."""
        return quote(f"{RECORDS}/{self.label}" + (f".{what}" if what else ""))

    def fix(self, before: State | None) -> list[Step]:
        """Write down what is about to be formatted, format while it is still blank, look, and turn the intent into a record."""
        intent, record = self._file("intent"), self._file()
        fingerprint = _FINGERPRINT.format(device=quote(self.device))
        look = f"$(sh -c {quote(_LOOK)} look {quote(self.device)} | tail -n 1)"
        if before and before.get(
            "unfinished"
        ):  # half made by us: the same drive, holding nothing but what our mkfs may have left
            ours = (
                f'"holds TYPE=xfs LABEL={self.label} "|"holds LABEL={self.label} TYPE=xfs "|"held {_UNSIGNED}"*|blank'
            )
            check = f'[ "$({fingerprint})" = "$(cat {intent})" ] && case "{look}" in {ours}) ;; *) false;; esac'
            write, force = "", "-f"
        else:
            check, force = f'[ "{look}" = blank ]', ""
            write = write_record(f"{RECORDS}/{self.label}.intent", fingerprint)
        make = f"mkfs.xfs -q {force} {sh('-L {} {}', self.label, self.device)}"
        command = f"{check} || {{ echo 'the drive is no longer blank'; exit 1; }}; {make}"
        return [
            Shell(f"""
mkdir -p -m 0750 {RECORDS}
{write}
{as_unit("mkfs-" + self.label, command)}
udevadm settle --timeout=10 || true
blkid -p -o export -- {quote(self.device)} | grep -qxF {quote("LABEL=" + self.label)}
mv {intent} {record}; rm -f {self._file("replacement")}; sync -f {record}
""")
        ]


_WIPE = "on the host, if that may be lost: wipefs --all {device} && dd if=/dev/zero of={device} bs=1M count=16; then: inv deploy"
# A phrase for what a drive holds, and the command that helps; a signature can be wiped.
_WAYS_OUT = {
    "mounted at": "on the host: findmnt -S {device}; name another drive in the inventory, or umount this one; then: inv check",
    "swap in use": "on the host: swapoff {device}; then: inv check",
    "in use by": "on the host: lsblk {device} shows who uses it; name another drive in the inventory (inv drives.list)",
    "partition of another disk": "name the whole disk in the inventory, as inv drives.list shows it",
    "first 16 MiB": "on the host, if that may be lost: dd if=/dev/zero of={device} bs=1M count=16",
    "last 16 MiB": "on the host, if that may be lost: dd if=/dev/zero of={device} bs=1M"
    " seek=$(($(blockdev --getsize64 {device}) / 1048576 - 16)); then: inv deploy",
}


@dataclass(frozen=True)
class _Kept:
    """What the host keeps of a label: what was formatted, and where it is of the drive that is there now, what may be."""

    record: str
    intent: str | bool
    replacement: str | bool


def _reading(filesystem: Filesystem, disks: list[dict[str, str]], name: str, look: str, kept: _Kept) -> Reading:
    twice = sorted({disk["NAME"] for disk in disks if disk.get("LABEL") == filesystem.label})
    if len(twice) > 1:
        return {"type": "other", "holds": "", "twice": " and ".join(twice)}
    if look == "mounted":
        disk = next((disk for disk in disks if disk["NAME"] == name), {})
        kind, label = disk.get("FSTYPE", ""), disk.get("LABEL", "")
        return {
            "type": kind,
            "label": label,
            "holds": f"{kind} labelled {label or 'nothing'}, mounted at {disk.get('MOUNTPOINT')}",
        }
    if look == "missing":
        blank = ", ".join(
            f"/dev/{disk['NAME']} ({disk['SIZE']})"
            for disk in disks
            if disk["TYPE"] in ("disk", "loop") and disk["SIZE"] != "0B"
            if not any(disk.get(held) for held in ("FSTYPE", "PTTYPE", "MOUNTPOINT"))
        )
        return Unknown(
            f"there is no drive at {filesystem.device}; drives without a filesystem: {blank or 'none'}",
            f"reseat it, or name the drive as inv drives.list shows it (drives: device); a blank one in its place: inv drives.replace {filesystem.label}",
        )
    if look == "blank" and kept.record:
        allowed = {"allowed": str(kept.replacement)} if kept.replacement else {}
        return {"type": "blank", "recorded": kept.record} | allowed
    if look == "blank":
        return None
    if look.startswith("holds "):
        return _signature(filesystem, look.removeprefix("holds ").strip(), str(kept.intent or ""))
    if look.startswith(f"held {_UNSIGNED}") and kept.intent:
        return {"type": "unfinished", "unfinished": str(kept.intent)}
    if look.startswith("held "):
        return {"type": "other", "holds": look.removeprefix("held ")}
    why = f"{filesystem.device} did not answer within {DEADLINE} s"
    look_at = "on the host, whether it reports errors: dmesg | tail -n 30"
    return Unknown(why, f"{look_at}; if it does: pull it, put in a blank one, inv drives.replace {filesystem.label}")


def _signature(filesystem: Filesystem, text: str, intent: str) -> State:
    signature = dict(pair.split("=", 1) for pair in text.split(" ") if "=" in pair)
    state = {
        "type": signature.get("TYPE", "other"),
        "label": signature.get("LABEL", ""),
        "holds": text.replace("\\ ", " "),
    }
    # A cut mkfs leaves our own label, on the drive that was written down before it; anything else is somebody's data.
    if intent and (state["type"], state["label"]) == (filesystem.fstype, filesystem.label):
        return state | {"type": "unfinished", "unfinished": intent}
    return state

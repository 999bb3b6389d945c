"""Filesystems: only a drive that is proven blank is formatted; any other is refused with its content named.

The real script looks at files that stand for drives: only the questions to the kernel about devices are led elsewhere.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from converge.engine.resource import Action, Unknown
from converge.resources import filesystem
from converge.resources.filesystem import Filesystem

LABEL = "unit-test"
MIB = 1 << 20
needs_mkfs = pytest.mark.skipif(not shutil.which("mkfs.xfs"), reason="no xfsprogs")


class Drive:
    """A sparse file that stands for a drive."""

    def __init__(self, machine, path, size=320 * MIB):
        self.machine, self.path, self.system = machine, path, machine.folder / "sys" / path.name
        with path.open("wb") as file:
            file.truncate(size)
        (self.system / "holders").mkdir(parents=True)
        (self.system / "size").write_text(f"{size // 512}\n")
        (self.system / "dev").write_text("999:1\n")
        self.wanted = Filesystem(str(path), LABEL)

    def write(self, data: bytes, at: int = 0) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(data)

    @property
    def beginning(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(MIB)

    def run(self, *command: str) -> None:
        subprocess.run([*command, self.path], check=True, capture_output=True)

    @property
    def change(self):
        return self.machine.plan(self.wanted).changes[0]

    @property
    def record(self):
        return self.machine.folder / "stowage" / "drives" / LABEL

    @property
    def allowed(self):
        return self.record.with_name(f"{LABEL}.replacement")

    @property
    def intent(self):
        return self.record.with_name(f"{LABEL}.intent")


@pytest.fixture
def drive(machine, tmp_path):
    machine.places |= {"/sys/class/block": f"{machine.folder}/sys", '[ -b "$dev" ]': '[ -f "$dev" ]'}
    # What a host has and files in place of drives have not: serials, device sizes, and systemd.
    machine.program("lsblk", '[ "$2" = SERIAL ] && echo DISK1; exit 0')
    machine.program("blockdev", 'stat -c %s -- "$2"')
    machine.program(
        "systemd-run", 'while [ "$1" != -- ]; do shift; done; shift\n"$@" || touch "$(dirname "$0")/failed"'
    )
    machine.program("systemctl", '[ "$1" = is-failed ] && [ -e "$(dirname "$0")/failed" ]')
    machine.program("udevadm", "exit 0")
    (machine.folder / "stowage" / "drives").mkdir(parents=True)
    return Drive(machine, tmp_path / "sdx")


def refused(drive) -> str:
    change = drive.change
    assert change.action is Action.REFUSED
    return change.why


def test_a_blank_drive_is_to_be_formatted(drive):
    assert drive.change.action is Action.CREATE
    assert drive.wanted.note(None) == f"makes xfs on {drive.path}"


@pytest.mark.parametrize("size", [1 * MIB, 20 * MIB, 32 * MIB])
@pytest.mark.parametrize("beside", [-1, 0])
def test_a_small_drive_is_looked_at_whole(machine, drive, tmp_path, size, beside):
    small = Drive(machine, tmp_path / "sdy", size)
    assert small.change.action is Action.CREATE
    small.write(b"x", size // 2 + beside)
    assert "data without a known signature" in refused(small)


@needs_mkfs
def test_a_drive_with_our_label_is_well_and_another_label_is_refused(drive):
    drive.run("mkfs.xfs", "-q", "-L", LABEL)
    assert drive.change.action is Action.NONE
    drive.run("mkfs.xfs", "-q", "-f", "-L", "other")
    assert "TYPE=xfs" in refused(drive)
    assert "LABEL=other" in refused(drive)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["mkfs.ext4", "-q", "-F", "-L", "my data"], ("TYPE=ext4", "LABEL=my data")),
        (["mkswap", "-q", "-L", "sw"], ("TYPE=swap", "LABEL=sw")),
    ],
)
def test_what_a_drive_holds_is_named_with_the_command_to_wipe_it(drive, command, says):
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]}")
    drive.run(*command)
    change = drive.change
    assert change.action is Action.REFUSED
    assert all(text in change.why for text in says)
    assert change.why.endswith("Stowage never wipes")
    assert change.hint.startswith(f"on the host, if that may be lost: wipefs --all {drive.path}")


def test_a_partition_table_without_partitions_is_something(drive):
    drive.write(
        b"\0" * 16 + bytes([0, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (65536).to_bytes(4, "little"),
        430,
    )
    drive.write(b"\x55\xaa", 510)
    assert "PTTYPE=dos" in refused(drive)


def test_a_member_of_a_raid_array_is_refused(drive):
    drive.write(bytes.fromhex("fc4e2ba9 01000000 00000000 00000000") + b"\x11" * 16 + b"host:0".ljust(32, b"\0"), 4096)
    drive.write((8).to_bytes(8, "little"), 4096 + 144)
    assert "linux_raid_member" in refused(drive)


@pytest.mark.parametrize(
    ("at", "where"), [(0, "first"), (16 * MIB - 1, "first"), (304 * MIB, "last"), (320 * MIB - 1, "last")]
)
def test_data_without_a_signature_is_data(drive, at, where):
    drive.write(b"x", at)
    assert f"data without a known signature in its {where} 16 MiB" in refused(drive)
    assert "dd if=/dev/zero" in drive.change.hint, "wipefs would find nothing there"


def test_a_drive_that_is_used_by_another_layer_or_has_partitions_is_refused(drive):
    (drive.system / "holders" / "dm-0").mkdir()
    assert "in use by dm-0" in refused(drive)
    (drive.system / "holders" / "dm-0").rmdir()
    (drive.system / "sdx1").mkdir()
    assert "partitions: sdx1" in refused(drive)
    (drive.system / "sdx1").rmdir()
    (drive.system / "partition").write_text("1")
    assert "a partition of another disk" in refused(drive)


def test_a_drive_that_swaps_is_refused(machine, drive):
    swaps = machine.folder / "swaps"
    swaps.write_text(f"Filename Type Size\n{drive.path} partition 1048572 0 -2\n")
    machine.places["/proc/swaps"] = str(swaps)
    assert "swap in use" in refused(drive)


@pytest.mark.parametrize("empty", ["no file", "no medium"])
def test_a_drive_that_is_away_is_unknown_with_the_blank_ones_that_are_there(machine, drive, empty):
    machine.program(
        "lsblk", """echo 'NAME="sdb" TYPE="disk" SIZE="4T" SERIAL="B1" FSTYPE="" LABEL="" PTTYPE="" MOUNTPOINT=""'"""
    )
    drive.path.unlink() if empty == "no file" else (drive.system / "size").write_text("0\n")
    (reading,) = machine.read(drive.wanted)
    assert reading.why == f"there is no drive at {drive.path}; drives without a filesystem: /dev/sdb (4T)"


def test_a_drive_that_does_not_answer_in_time_is_unknown_and_holds_up_no_other(machine, drive, tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem, "DEADLINE", 1)
    other = Drive(machine, tmp_path / "sdy", 2 * MIB)
    machine.program("blkid", f'case "$*" in *sdx) exec sleep 20;; esac\nexec {shutil.which("blkid")} "$@"')
    late, blank = machine.read(drive.wanted, Filesystem(str(other.path), "other"))
    assert isinstance(late, Unknown)
    assert late.why == f"{drive.path} did not answer within 1 s"
    assert blank is None


def test_where_nothing_can_be_written_down_a_drive_is_unknown_and_nothing_is_left_anywhere(machine, drive, tmp_path):
    machine.program("mktemp", "echo 'No space left on device' >&2; exit 1")
    (tmp_path / "root").mkdir()
    machine.places[">$dir/"] = f">{tmp_path}/root/$dir"
    assert isinstance(machine.read(drive.wanted)[0], Unknown)
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("program", ["blkid", "cmp", "wipefs"])
def test_a_drive_on_which_a_program_fails_is_never_blank(machine, drive, program):
    machine.program(program, "echo 'Input/output error' >&2; exit 4")
    assert drive.change.action in (Action.REFUSED, Action.UNKNOWN)


def test_a_recorded_drive_that_is_blank_now_is_refused_never_made_again(drive):
    drive.record.write_text("DISK1 335544320\n")
    assert "this host recorded DISK1 335544320 for unit-test: another or a wiped drive" in refused(drive)
    assert drive.change.hint == "inv drives.replace unit-test"


@needs_mkfs
def test_formatting_leaves_a_record_and_is_done_once(drive):
    assert drive.machine.deploy(drive.wanted).failed is None
    assert drive.change.action is Action.NONE
    assert (drive.record.read_text(), drive.intent.exists()) == ("DISK1 335544320\n", False)


def test_a_drive_that_got_data_since_the_plan_is_not_formatted(drive):
    plan = drive.machine.plan(drive.wanted)
    drive.write(b"precious")
    done = drive.machine.carry_out(plan)
    assert "the drive is no longer blank" in done.why
    assert drive.beginning.startswith(b"precious")


@needs_mkfs
def test_a_drive_whose_formatting_was_cut_is_finished(drive):
    drive.intent.write_text("DISK1 335544320\n")
    drive.run("mkfs.xfs", "-q", "-L", LABEL)
    change = drive.change
    assert change.action is Action.UPDATE
    assert "which an earlier run began" in drive.wanted.note(change.before)
    assert drive.machine.deploy(drive.wanted).failed is None
    assert (drive.change.action, drive.intent.exists()) == (Action.NONE, False)


def test_a_cut_before_anything_was_written_leaves_a_blank_drive(drive):
    drive.intent.write_text("DISK1 335544320\n")
    assert drive.change.action is Action.CREATE


def test_data_of_others_is_refused_whatever_an_earlier_run_began(drive):
    drive.intent.write_text("DISK1 335544320\n")
    drive.run("mkfs.ext4", "-q", "-F", "-L", "precious")
    assert "LABEL=precious" in refused(drive)


@pytest.mark.parametrize(("intent", "symbol"), [("DISK1 335544320", "~"), ("DISK7 335544320", "!"), ("DISK1 1", "!")])
def test_what_a_cut_mkfs_left_is_made_again_on_the_very_drive_only(drive, intent, symbol):
    drive.intent.write_text(f"{intent}\n")
    drive.write(b"half a filesystem", 64 * 1024)
    assert drive.change.action.value == symbol


@needs_mkfs
def test_another_drive_than_the_one_whose_formatting_was_cut_is_never_formatted(drive):
    drive.intent.write_text("DISK7 335544320\n")
    drive.run("mkfs.xfs", "-q", "-L", LABEL)
    before = drive.beginning
    drive.machine.deploy(drive.wanted)
    assert drive.beginning == before


LSBLK = 'NAME="{0}" TYPE="disk" SIZE="4T" SERIAL="S{0}" FSTYPE="{1}" LABEL="{2}" PTTYPE="" MOUNTPOINT="{3}"'


def read(table: str, looks: str, records: str = "|||"):
    return Filesystem.read([Filesystem("/dev/disk/by-id/ata-1", "drive1")], f"{looks}\n\n{records}\n", table)[0]


@pytest.mark.parametrize(
    ("kind", "label", "refused"),
    [("xfs", "drive1", False), ("xfs", "drive2", True), ("ext4", "drive1", True), ("", "", True)],
)
def test_a_mounted_drive_is_judged_by_what_udev_knows(kind, label, refused):
    wanted = Filesystem("/dev/disk/by-id/ata-1", "drive1")
    reading = read(LSBLK.format("sdb", kind, label, "/mnt/x"), "sdb|mounted")
    assert ({key: reading[key] for key in wanted.desired()} != wanted.desired()) is refused
    if refused:
        assert "mounted at /mnt/x" in wanted.refusal(reading).why


def test_two_drives_with_one_label_are_refused_by_name():
    table = "\n".join(LSBLK.format(name, "xfs", "drive1", "") for name in ("sdb", "sdc"))
    refusal = Filesystem("/dev/disk/by-id/ata-1", "drive1").refusal(read(table, "sdb|holds TYPE=xfs LABEL=drive1 "))
    assert refusal.why == "two drives carry the label drive1: sdb and sdc"


def test_one_drive_that_is_listed_twice_is_one_drive():
    table = "\n".join([LSBLK.format("md0", "xfs", "drive1", "/mnt/drive1")] * 2)
    assert "twice" not in read(table, "md0|mounted")


@pytest.mark.parametrize("kind", ["LVM2_member", "linux_raid_member", "zfs_member", "crypto_LUKS", "swap", "ntfs"])
def test_recorded_signatures_of_others_are_refused(kind):
    wanted = Filesystem("/dev/disk/by-id/ata-1", "drive1")
    assert f"TYPE={kind}" in wanted.refusal(read("", f"sdb|holds TYPE={kind} ")).why


def test_a_blank_drive_takes_the_place_of_a_recorded_one_only_where_that_very_drive_was_allowed(drive):
    drive.record.write_text("DISK0 999\n")
    assert "recorded DISK0 999" in refused(drive)
    drive.allowed.write_text("DISK7 335544320\n")
    assert "recorded DISK0 999" in refused(drive)
    assert drive.machine.run(f"set -e{drive.wanted.replacement}") == (0, "")
    assert drive.record.read_text() == "DISK0 999\n"
    change = drive.change
    assert (change.action, change.resource.note(change.before)) == (
        Action.UPDATE,
        f"makes xfs on {drive.path}, in the place of DISK0 999",
    )


@needs_mkfs
def test_a_replacement_is_recorded_when_it_is_made(drive):
    drive.record.write_text("DISK0 999\n")
    drive.machine.run(drive.wanted.replacement)
    assert drive.machine.deploy(drive.wanted).failed is None
    kept = sorted(path.name for path in drive.record.parent.iterdir())
    assert (drive.record.read_text(), kept) == ("DISK1 335544320\n", [LABEL])


@needs_mkfs
def test_the_permission_for_a_replacement_is_none_to_format_what_holds_something(drive):
    drive.record.write_text("DISK0 999\n")
    drive.machine.run(drive.wanted.replacement)
    drive.write(b"x", 4096)
    assert "not blank" in refused(drive)
    drive.run("mkfs.xfs", "-q", "-f", "-L", LABEL)
    assert drive.change.action is Action.NONE, "the drive of before, put back"


@pytest.mark.parametrize("holds", [b"x", None])
def test_a_replacement_that_is_not_blank_or_not_there_is_refused_and_the_record_stays(drive, holds):
    drive.record.write_text("DISK0 999\n")
    if holds:
        drive.write(holds, 4096)
    else:
        drive.path.unlink()
    status, output = drive.machine.run(f"set -e{drive.wanted.replacement}")
    assert status == 1
    assert "is not a blank drive" in output
    assert (drive.record.read_text(), drive.allowed.exists()) == ("DISK0 999\n", False)


def test_a_permission_that_was_not_used_is_taken_back(drive):
    drive.record.write_text("DISK0 999\n")
    drive.machine.run(drive.wanted.replacement)
    drive.machine.run(drive.wanted.no_replacement)
    assert "recorded DISK0 999" in refused(drive)

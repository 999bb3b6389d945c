"""Mounts and mount points: what is compared is what is mounted, and what lies beneath it."""

from __future__ import annotations

import subprocess

import pytest

from converge.resource import Action, Unknown
from converge.resources.mount import Mount, MountPoint

FSTAB = """\
# /etc/fstab: static file system information.
UUID=1f4e-22 /               ext4    errors=remount-ro 0       1
{line}
/dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0
"""
MOUNTINFO = """\
22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
31 27 0:26 / /mnt/with\\040blank rw - tmpfs none rw
40 27 8:48 / /mnt/drive2 rw,noatime shared:20 master:3 propagate_from:2 - xfs /dev/sdd rw,attr2
41 27 8:64 /sub /mnt/other rw - xfs /dev/sde rw
{line}
"""
LABELS = "8:0 \n8:1 root\n8:32 drive1\n8:48 drive2\n8:64 drive9\n8:80\n11:0 "
DRIVE1 = Mount("/mnt/drive1", "drive1")
MOUNTED = "50 27 8:32 / /mnt/drive1 rw,noatime - xfs /dev/sdc rw,attr2"


@pytest.fixture
def mounts(machine):
    """A host with this fstab, these mounts and these labels."""

    def has(
        fstab: str = FSTAB.format(line=""), mountinfo: str = MOUNTINFO.format(line=""), labels: str = LABELS
    ) -> None:
        (machine.folder / "fstab").write_text(fstab)
        (machine.folder / "mountinfo").write_text(mountinfo)
        machine.places |= {
            "/etc/fstab": f"{machine.folder}/fstab",
            "/proc/self/mountinfo": f"{machine.folder}/mountinfo",
        }
        pairs = (line.partition(" ") for line in labels.splitlines())
        rows = "\n".join(f'NAME="sd" MAJ:MIN="{number}" LABEL="{label}"' for number, _, label in pairs)
        machine.program("lsblk", f"cat <<'END'\n{rows}\nEND")

    return has


def change_of(machine, wanted):
    return machine.plan(wanted).changes[0]


def test_nothing_in_fstab_and_nothing_mounted_is_absent(machine, mounts):
    mounts()
    assert change_of(machine, DRIVE1).action is Action.CREATE


def test_a_host_without_an_fstab_gets_one_and_one_without_mounts_is_a_riddle(machine, mounts):
    mounts()
    (machine.folder / "fstab").unlink()
    assert change_of(machine, DRIVE1).action is Action.CREATE
    mounts(mountinfo="")
    assert change_of(machine, DRIVE1).action is Action.UNKNOWN


def test_the_right_drive_mounted_now_and_at_every_boot_is_well(machine, mounts):
    mounts(FSTAB.format(line=DRIVE1.line), MOUNTINFO.format(line=MOUNTED))
    assert change_of(machine, DRIVE1).action is Action.NONE


def test_the_spelling_of_a_line_does_not_matter(machine, mounts):
    mounts(FSTAB.format(line=DRIVE1.line.replace(" ", "\t  ")), MOUNTINFO.format(line=MOUNTED))
    assert change_of(machine, DRIVE1).action is Action.NONE


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("8:48 / /mnt/drive1 rw - xfs /dev/sdd rw", "/dev/sdd (xfs labelled drive2) is mounted there"),
        ("8:80 / /mnt/drive1 rw - xfs /dev/sdf rw", "/dev/sdf (xfs) is mounted there"),
        ("0:55 / /mnt/drive1 rw - tmpfs tmpfs rw", "tmpfs (tmpfs) is mounted there"),
        ("0:60 / /mnt/drive1 rw - nfs4 10.0.0.1:/export rw", "10.0.0.1:/export (nfs4) is mounted there"),
    ],
)
def test_something_else_mounted_there_is_refused_and_named(machine, mounts, source, why):
    mounts(FSTAB.format(line=DRIVE1.line), MOUNTINFO.format(line=f"50 27 {source}"))
    change = change_of(machine, DRIVE1)
    assert (change.action, change.why, change.hint) == (Action.REFUSED, why, "on the host: umount /mnt/drive1")


def test_a_drive_that_is_mounted_elsewhere_is_refused_with_the_place(machine, mounts):
    mounts(mountinfo=MOUNTINFO.format(line=MOUNTED.replace("/mnt/drive1", "/mnt/elsewhere")))
    change = change_of(machine, DRIVE1)
    assert change.action is Action.REFUSED
    assert "/mnt/elsewhere" in change.why
    assert change.hint.endswith("umount /mnt/elsewhere")


@pytest.mark.parametrize("upper", ["8:48 / /mnt/drive1 rw - xfs /dev/sdd rw", "0:55 / /mnt/drive1 rw - tmpfs tmpfs rw"])
def test_what_is_mounted_over_the_right_drive_is_what_counts(machine, mounts, upper):
    mounts(FSTAB.format(line=DRIVE1.line), MOUNTINFO.format(line=f"{MOUNTED}\n51 50 {upper}"))
    assert change_of(machine, DRIVE1).action is Action.REFUSED


def test_mounts_beneath_beside_and_with_a_longer_name_are_not_meant(machine, mounts):
    lines = "\n".join(
        f"5{n} 27 8:48 / {path} rw - xfs /dev/sdd rw"
        for n, path in enumerate(("/mnt", "/mnt/drive1/sub", "/mnt/drive10", "/srv/mnt/drive1"))
    )
    mounts(mountinfo=MOUNTINFO.format(line=lines))
    assert change_of(machine, DRIVE1).action is Action.CREATE


@pytest.mark.parametrize(
    ("line", "mounted", "diff"),
    [
        (DRIVE1.line, "", ["mounted:  -> drive1"]),
        ("", MOUNTED, [f"fstab:  -> {DRIVE1.line}"]),
        (f"#{DRIVE1.line}", MOUNTED, [f"fstab:  -> {DRIVE1.line}"]),
        (
            "/dev/sdc /mnt/drive1 xfs defaults 0 0",
            MOUNTED,
            [f"fstab: /dev/sdc /mnt/drive1 xfs defaults 0 0 -> {DRIVE1.line}"],
        ),
    ],
)
def test_what_differs_is_shown(machine, mounts, line, mounted, diff):
    mounts(FSTAB.format(line=line), MOUNTINFO.format(line=mounted))
    change = change_of(machine, DRIVE1)
    assert change.action is Action.UPDATE
    assert change.resource.diff(change.before) == diff


@pytest.mark.parametrize(
    "fstab",
    [
        "",
        "\n",
        "no line end",
        "a b c d 0 0\n\n\nUUID=2 /x ext4 defaults 0 0\n{line}\n",
        "\n\n\n{line}\n\n\n",
        "# only\n\n# remarks",
        "one\ntwo words\n   # an indented remark of many words\n{line}\n",
    ],
)
@pytest.mark.parametrize("mounted", [MOUNTED, ""])
def test_odd_lines_and_blank_ones_in_fstab_hide_nothing(machine, mounts, fstab, mounted):
    mounts(fstab.format(line=DRIVE1.line), MOUNTINFO.format(line=mounted))
    (reading,) = machine.read(DRIVE1)
    state = reading or {"fstab": "", "mounted": ""}
    assert not isinstance(state, Unknown)
    assert (state["fstab"], state["mounted"]) == (DRIVE1.line if "{line}" in fstab else "", "drive1" if mounted else "")


def test_a_host_that_cannot_list_its_drives_is_unknown(machine, mounts):
    mounts()
    machine.program("lsblk", "exit 1")
    assert isinstance(machine.read(DRIVE1)[0], Unknown)


def test_a_dead_drive_never_keeps_a_host_from_booting():
    assert Mount("/mnt/a", "a", options="defaults").line == (
        "LABEL=a /mnt/a xfs defaults,nofail,x-systemd.device-timeout=10s,x-systemd.before=docker.service 0 0"
    )


@pytest.fixture
def mounting(machine, mounts):
    """Programs that would act on this machine's own mounts say what they were asked to do."""
    for name in ("mount", "systemctl"):
        machine.program(name, f'echo "{name} $*" >>{machine.folder}/said')
    machine.program("findmnt", '[ "$1" != --verify ] || exit 0\necho drive1')
    # A lab host on this machine may have a drive of that label, and programs that hold it.
    machine.program("findfs", "exit 1")


def test_our_line_takes_the_place_of_others_for_that_path_and_the_rest_stays(machine, mounts, mounting):
    ours = "/dev/sdc /mnt/drive1 xfs defaults 0 0\n# /dev/old /mnt/drive1 remark\nLABEL=x\t/mnt/drive1 ext4 ro 0 0"
    mounts(FSTAB.format(line=f"{ours}\n/dev/sdz /mnt/drive10 xfs ro 0 0"))
    assert machine.deploy(DRIVE1).failed is None
    kept = FSTAB.format(line="# /dev/old /mnt/drive1 remark\n/dev/sdz /mnt/drive10 xfs ro 0 0")
    assert (machine.folder / "fstab").read_text() == f"{kept}{DRIVE1.line}\n"
    assert (machine.folder / "fstab").stat().st_mode & 0o777 == 0o644
    assert "mount -- /mnt/drive1" in (machine.folder / "said").read_text()


def test_what_is_mounted_already_is_not_mounted_twice(machine, mounts, mounting):
    mounts(mountinfo=MOUNTINFO.format(line=MOUNTED))
    assert machine.deploy(DRIVE1).failed is None
    assert "mount --" not in (machine.folder / "said").read_text()


def test_a_line_that_findmnt_does_not_accept_leaves_fstab_as_it_was(machine, mounts, mounting):
    mounts()
    machine.program("findmnt", "echo 'parse error at line 4'; exit 1")
    done = machine.deploy(DRIVE1)
    assert done.failed
    assert "parse error at line 4" in done.why
    assert (machine.folder / "fstab").read_text() == FSTAB.format(line="")
    assert [one.name for one in machine.folder.glob("fstab*")] == ["fstab"]


def test_another_drive_that_is_away_does_not_keep_this_one_from_being_mounted(machine, mounts, mounting):
    mounts(FSTAB.format(line="LABEL=away /mnt/away xfs nofail 0 0"))
    machine.program("findmnt", '[ "$1" != --verify ] || { ! grep away "$3"; exit; }\necho drive1')
    assert machine.deploy(DRIVE1).failed is None
    assert "LABEL=away" in (machine.folder / "fstab").read_text()


def test_what_mount_says_is_the_error(machine, mounts, mounting):
    mounts()
    machine.program("mount", "echo 'wrong fs type' >&2; exit 33")
    done = machine.deploy(DRIVE1)
    assert done.failed
    assert "ended with status 33" in done.why
    assert "wrong fs type" in done.why


def test_another_drive_under_the_label_after_mounting_is_an_error(machine, mounts, mounting):
    mounts()
    machine.program("findmnt", '[ "$1" != --verify ] || exit 0\necho drive7')
    assert machine.deploy(DRIVE1).failed


@pytest.mark.parametrize(
    ("lines", "symbol", "why"),
    [
        ("directory ----i---------e------- 0", " ", ""),
        ("directory --------------e------- 0", "~", ""),
        ("directory  0", "~", ""),
        ("absent", "+", ""),
        ("other", "!", "something else than a directory stands there"),
        ("directory ----i---------e------- 3", "!", "files lie beneath the mount, on the root disk"),
    ],
)
def test_a_mount_point_is_judged_by_what_lies_beneath(machine, lines, symbol, why):
    machine.program("unshare", f"echo '{lines}'")
    change = change_of(machine, MountPoint("/mnt/drive1"))
    assert (change.action.value, change.why) == (symbol, why)


def test_mount_points_of_which_too_little_is_told_are_unknown(machine):
    machine.program("unshare", "echo absent")
    assert isinstance(machine.read(MountPoint("/mnt/a"), MountPoint("/mnt/b"))[1], Unknown)


def test_a_mount_point_is_unknown_where_nobody_can_say_whether_something_is_mounted(machine, tmp_path):
    machine.program("unshare", 'shift; exec "$@"')
    machine.program("awk", "exit 2")
    assert isinstance(machine.read(MountPoint(str(tmp_path)))[0], Unknown)


needs_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0,
    reason="may not unshare",
)


@needs_namespaces
def test_mount_points_of_this_machine_are_read_for_real(machine, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".hidden").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("empty")
    names = ("empty", "full", "file", "link", "none", "with blank")
    found = machine.read(*(MountPoint(str(tmp_path / name)) for name in names))
    plain = {"type": "directory", "immutable": "no"}
    assert found == [
        plain | {"empty": "yes"},
        plain | {"empty": "no"},
        {"type": "other"},
        {"type": "other"},
        None,
        None,
    ]

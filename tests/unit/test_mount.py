"""Mounts and mount points: the mounted filesystem is compared, and the folder beneath it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from converge.engine.resource import Action, Unknown
from converge.resources import fstab, mountinfo
from converge.resources.boot import Boot
from converge.resources.mount import Mount
from converge.resources.mountpoint import MountPoint

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
            '[ -d "$path" ] || printf \'broken': "true || printf 'broken",
        }
        pairs = (line.partition(" ") for line in labels.splitlines())
        rows = "\n".join(f'NAME="sd{number}" MAJ:MIN="{number}" LABEL="{label}"' for number, _, label in pairs)
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
    assert (change.action, change.why, change.hint) == (
        Action.REFUSED,
        why,
        "on the host: umount /mnt/drive1; then: inv deploy",
    )


def test_a_drive_that_is_mounted_elsewhere_is_refused_with_the_place(machine, mounts):
    mounts(mountinfo=MOUNTINFO.format(line=MOUNTED.replace("/mnt/drive1", "/mnt/elsewhere")))
    change = change_of(machine, DRIVE1)
    assert change.action is Action.REFUSED
    assert "/mnt/elsewhere" in change.why
    assert change.hint.endswith("umount /mnt/elsewhere; then: inv deploy")


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
        ("", MOUNTED, ["fstab:", f"+ {DRIVE1.line}"]),
        (f"#{DRIVE1.line}", MOUNTED, ["fstab:", f"+ {DRIVE1.line}"]),
        (
            "/dev/sdc /mnt/drive1 xfs defaults 0 0",
            MOUNTED,
            ["fstab:", "- /dev/sdc /mnt/drive1 xfs defaults 0 0", f"+ {DRIVE1.line}"],
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


WELL = FSTAB.format(line=DRIVE1.line)


@pytest.mark.parametrize(
    ("mounted", "in_force"),
    [
        ("50 27 8:32 / /mnt/drive1 ro,noatime - xfs /dev/sdc rw,attr2", "noatime,ro"),
        ("50 27 8:32 / /mnt/drive1 rw,noatime - xfs /dev/sdc ro,attr2", "noatime,ro"),
        ("50 27 8:32 / /mnt/drive1 rw,relatime - xfs /dev/sdc rw", "relatime,rw"),
        ("50 27 8:32 / /mnt/drive1 rw,noexec,noatime shared:3 - xfs /dev/sdc rw", "noatime,noexec,rw"),
    ],
)
def test_options_that_are_not_in_force_are_set_by_a_remount_and_fstab_stays(
    machine, mounts, mounting, mounted, in_force
):
    mounts(WELL, MOUNTINFO.format(line=mounted))
    change = change_of(machine, DRIVE1)
    assert change.resource.diff(change.before) == [f"in force: {in_force} -> noatime,rw"]
    assert machine.deploy(DRIVE1).failed is None
    calls = (machine.folder / "calls").read_text()
    assert "mount -o remount,rw,suid,dev,exec,diratime,symfollow,noatime -- /mnt/drive1" in calls
    assert (machine.folder / "fstab").read_text() == WELL


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ("defaults,noatime", "noatime,rw"),
        ("defaults", "relatime,rw"),
        ("nosuid,nodev,noexec,strictatime", "nodev,noexec,nosuid,rw"),
        ("user,exec,ro", "nodev,nosuid,relatime,ro"),
        ("noatime,relatime,nodiratime,largeio", "nodiratime,relatime,rw"),
    ],
)
def test_options_as_the_kernel_tells_them(options, flags):
    assert mountinfo.wanted_flags(options) == flags


def faulty(machine, mounts, fstab: str = "", mounted: str = MOUNTED) -> tuple[str, str]:
    mounts(FSTAB.format(line=f"{DRIVE1.line}\n{fstab}"), MOUNTINFO.format(line=mounted))
    change = change_of(machine, DRIVE1)
    assert change.action is Action.REFUSED
    return change.why, change.hint


@pytest.mark.parametrize(
    ("more", "why", "umount"),
    [
        ("51 50 8:32 / /mnt/drive1 rw - xfs /dev/sdc rw", "2 mounts lie on top of each other", "/mnt/drive1"),
        ("51 27 0:9 / /mnt rw - tmpfs x rw", "x was mounted over it at /mnt", "/mnt"),
        ("51 50 0:9 / /mnt/drive1/drive1 rw - tmpfs x rw", "within the data", "/mnt/drive1/drive1"),
        ("51 50 8:48 /a /mnt/drive1/drive1/deep rw - xfs /dev/sdd rw", "within the data", "/mnt/drive1/drive1/deep"),
    ],
)
def test_what_is_mounted_over_our_data_is_named_with_the_command_that_takes_it_away(machine, mounts, more, why, umount):
    reason, hint = faulty(machine, mounts, mounted=f"{MOUNTED}\n{more}")
    assert why in reason
    assert f": umount {umount}; then: inv deploy" in hint


def test_a_mount_above_that_ours_stands_on_hides_nothing(machine, mounts):
    above = "49 27 0:9 / /mnt rw - ext4 /dev/sdz rw"
    mounts(WELL, MOUNTINFO.format(line=f"{above}\n{MOUNTED.replace('50 27', '50 49')}"))
    assert change_of(machine, DRIVE1).action is Action.NONE


def test_a_directory_of_the_drive_in_the_place_of_the_whole_is_refused(machine, mounts):
    why, hint = faulty(machine, mounts, mounted=MOUNTED.replace(" / /mnt", " /other /mnt"))
    assert (why, "umount /mnt/drive1" in hint) == ("only the directory /other of the drive is mounted there", True)


def test_a_filesystem_that_was_shut_down_is_refused_with_where_to_look(machine, mounts):
    mounts(WELL, MOUNTINFO.format(line=MOUNTED))
    machine.places['[ -d "$path" ] || printf \'broken'] = "false || printf 'broken"
    change = change_of(machine, DRIVE1)
    assert change.action is Action.REFUSED
    assert "answers with errors" in change.why
    assert all(
        word in change.hint
        for word in ("dmesg", "umount /mnt/drive1; then: inv deploy; only", "volume=/mnt/drive1/drive1")
    )


def test_a_drive_that_the_kernel_holds_for_read_only_is_not_remounted(machine, mounts):
    mounts(WELL, MOUNTINFO.format(line=MOUNTED.replace("rw,noatime", "ro,noatime")))
    machine.program("lsblk", """echo 'NAME="sdc" MAJ:MIN="8:32" RO="1" LABEL="drive1"'""")
    change = change_of(machine, DRIVE1)
    assert change.action is Action.REFUSED
    assert "blockdev --setrw /dev/sdc" in change.hint


@pytest.mark.parametrize(
    "line",
    [
        "UUID=11111111-2222-3333-4444-555555555555 /mnt/drive1/ ext4 defaults 0 2",
        "UUID=1 //mnt///drive1 ext4",
        "   UUID=1 /mnt/./drive1/../drive1 ext4 noauto 0 0",
        "UUID=1\tmnt/drive1",
        "LABEL=drive1 /mnt/\\144rive1 xfs nofail 0 0",
    ],
)
def test_a_line_for_our_path_before_ours_would_win_and_is_replaced_however_it_is_spelt(machine, mounts, mounting, line):
    mounts(f"{line}\n{WELL}", MOUNTINFO.format(line=MOUNTED))
    change = change_of(machine, DRIVE1)
    assert change.resource.diff(change.before) == [
        "fstab:",
        f"- {' '.join(line.split())}",
        f"- {DRIVE1.line}",
        f"+ {DRIVE1.line}",
    ]
    assert machine.deploy(DRIVE1).failed is None
    assert (machine.folder / "fstab").read_text() == f"{FSTAB.format(line='')}{DRIVE1.line}\n".replace(
        "\n\n/dev", "\n/dev"
    )


def test_a_line_whose_path_leads_over_a_link_to_ours_is_one_for_our_path(machine, mounts, tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    ours = Mount(f"{real}/drive1", "drive1")
    mounts(FSTAB.format(line=f"UUID=1 {link}/drive1 ext4 defaults 0 2\n{ours.line}"))
    change = change_of(machine, ours)
    assert f"- UUID=1 {link}/drive1 ext4 defaults 0 2" in change.resource.diff(change.before)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("UUID=1 /mnt ext4 defaults 0 0", "the boot ends in maintenance, without SSH"),
        ("UUID=1 /mnt/ ext4 nofail 0 0", "the boot leaves this drive unmounted or hidden"),
        ("UUID=1 /mnt/drive1/other ext4 defaults 0 0", "with the drive dead, the boot ends in maintenance"),
        ("tmpfs /mnt/drive1/drive1/x tmpfs nofail 0 0", "is mounted within the data at the next boot"),
        ("LABEL=drive1 /media/drive1 xfs nofail 0 0", "mounts drive1 there at the next boot"),
        ("/dev/disk/by-label/drive1 /media/drive1 xfs nofail 0 0", "mounts drive1 there at the next boot"),
        ("/dev/sd8:32 /media/drive1 xfs nofail 0 0", "mounts drive1 there at the next boot"),
    ],
)
def test_a_line_of_another_path_that_harms_ours_at_boot_is_named_and_left(machine, mounts, line, why):
    reason, hint = faulty(machine, mounts, fstab=line)
    assert reason.startswith("line 4 of /etc/fstab (")
    assert why in reason
    assert "take line 4 out of /etc/fstab" in hint


@pytest.mark.parametrize(
    "line",
    [
        "UUID=1 /mnt ext4 noauto 0 0",
        "/dev/sda1 / ext4 defaults 0 1",
        "UUID=1 /mnt/drive1/other ext4 nofail 0 0",
        "LABEL=drive1 /media/drive1 xfs noauto 0 0",
        "LABEL=drive10 /mnt/drive10 xfs defaults 0 0",
        "tmpfs /mnt/with\\040blank tmpfs defaults 0 0",
        "/swap none swap sw 0 0",
    ],
)
def test_a_line_of_another_path_that_does_us_no_harm_is_left_alone(machine, mounts, line):
    mounts(FSTAB.format(line=f"{DRIVE1.line}\n{line}"), MOUNTINFO.format(line=MOUNTED))
    assert change_of(machine, DRIVE1).action is Action.NONE


@pytest.mark.parametrize(
    "file",
    [
        "mnt-drive1.mount",
        "mnt-drive1.automount",
        "mnt-drive1.mount.d",
        "mnt-.mount.d",
        "mount.d",
        "local-fs.target.requires/mnt-drive1.mount",
    ],
)
def test_a_file_of_systemd_that_changes_our_mount_is_named(machine, mounts, tmp_path, file):
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "mnt-drive12.mount").touch()
    machine.places["/etc/systemd/system*"] = f"{tmp_path}/system*"
    mounts(WELL, MOUNTINFO.format(line=MOUNTED))
    assert change_of(machine, DRIVE1).action is Action.NONE
    (tmp_path / "system" / file).parent.mkdir(exist_ok=True)
    (tmp_path / "system" / file).symlink_to("/dev/null")
    change = change_of(machine, DRIVE1)
    assert change.action is Action.REFUSED
    assert f"rm -r {tmp_path}/system/{file}; systemctl daemon-reload" in change.hint


@pytest.mark.parametrize(
    ("line", "hangs"),
    [
        ("UUID=1 /data ext4 defaults 0 2", True),
        ("/dev/sdz1 /data ext4 defaults 0 2", True),
        ("/dev/disk/by-id/gone /data ext4 defaults 0 2", True),
        ("UUID=1 /data ext4 nofail 0 2", False),
        ("UUID=1 /data ext4 noauto 0 2", False),
        ("LABEL=drive9 /data xfs defaults 0 2", False),
        ("/dev/null /data ext4 defaults 0 2", False),
        ("UUID=1 /mnt ext4 defaults 0 2", False),
        ("UUID=1 none swap sw 0 0", False),
        ("nas:/x /data nfs defaults 0 0", False),
        ("tmpfs /data tmpfs defaults 0 0", False),
    ],
)
def test_a_drive_that_the_boot_would_wait_for_in_vain_is_named(machine, mounts, line, hangs):
    mounts(WELL.replace("UUID=1f4e-22", "/dev/sda1") + line + "\n", MOUNTINFO.format(line=MOUNTED))
    change = change_of(machine, Boot(("/mnt/drive1",)))
    assert (change.action is Action.REFUSED) == hangs
    if hangs:
        assert "line 5 of /etc/fstab" in change.why
        assert "take line 5 out of /etc/fstab" in change.hint


GENERATOR = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")


@pytest.mark.skipif(not GENERATOR.exists(), reason="no systemd here")
def test_fstab_is_read_as_systemd_reads_it(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    text = (
        "UUID=1 /mnt/drive1/ ext4 defaults 0 2\nLABEL=late /mnt/drive1 xfs nofail 0 0\n  LABEL=a //mnt//drive2/./\n"
        f"  # x /mnt/drive3 a b\nLABEL=b /mnt/with\\040blank xfs\n/dev/sdz {tmp_path}/link/x ext4 noauto 0 0\nonlyone\n"
        "LABEL=s none swap sw 0 0\nLABEL=e\t/mnt/../mnt/drive-6 xfs\n/x /mnt/\xe4 none bind\nh:/e /mnt/n nfs defaults\n"
    )
    (tmp_path / "fstab").write_text(text)
    made = tmp_path / "made"
    made.mkdir()
    environment = {"SYSTEMD_FSTAB": str(tmp_path / "fstab"), "SYSTEMD_LOG_LEVEL": "crit"}
    # It ends with 1, as a path with two lines is an error.
    subprocess.run([GENERATOR, made, made, made], check=False, env=environment, capture_output=True)
    first = {}
    for line in fstab.lines(text, {f"{tmp_path}/link/x": f"{tmp_path}/real/x"}):
        first.setdefault(f"{fstab.unit(line.path)}.mount", line)
    assert set(first) == {path.name for path in made.glob("*.mount")}
    assert "by-uuid/1\n" in (made / "mnt-drive1.mount").read_text()
    required = {path.name for path in made.glob("local-fs.target.requires/*.mount")}
    assert {name for name, line in first.items() if line.required} == required


@pytest.fixture
def mounting(machine, mounts):
    """Programs that would change this machine's mounts only record their calls."""
    for name in ("mount", "systemctl"):
        machine.program(name, f'echo "{name} $*" >>{machine.folder}/calls')
    machine.program("findmnt", '[ "$1" != --verify ] || exit 0\necho drive1')
    # A lab host on this machine may have a drive of that label.
    machine.program("findfs", "exit 1")


def test_our_line_takes_the_place_of_others_for_that_path_and_the_rest_stays(machine, mounts, mounting):
    ours = "/dev/sdc /mnt/drive1 xfs defaults 0 0\n# /dev/old /mnt/drive1 remark\nLABEL=x\t/mnt/drive1 ext4 ro 0 0"
    mounts(FSTAB.format(line=f"{ours}\n/dev/sdz /mnt/drive10 xfs ro 0 0"))
    assert machine.deploy(DRIVE1).failed is None
    kept = FSTAB.format(line="# /dev/old /mnt/drive1 remark\n/dev/sdz /mnt/drive10 xfs ro 0 0")
    assert (machine.folder / "fstab").read_text() == f"{kept}{DRIVE1.line}\n"
    assert (machine.folder / "fstab").stat().st_mode & 0o777 == 0o644
    assert "mount -- /mnt/drive1" in (machine.folder / "calls").read_text()


def test_a_host_without_an_fstab_gets_one_with_our_line(machine, mounts, mounting):
    mounts()
    (machine.folder / "fstab").unlink()
    assert machine.deploy(DRIVE1).failed is None
    assert (machine.folder / "fstab").read_text() == f"{DRIVE1.line}\n"


def test_what_is_mounted_already_is_not_mounted_twice(machine, mounts, mounting):
    mounts(mountinfo=MOUNTINFO.format(line=MOUNTED))
    assert machine.deploy(DRIVE1).failed is None
    assert "mount --" not in (machine.folder / "calls").read_text()


def test_a_line_that_findmnt_does_not_accept_leaves_fstab_as_it_was(machine, mounts, mounting):
    mounts()
    machine.program("findmnt", "echo 'parse error at line 4'; exit 1")
    done = machine.deploy(DRIVE1)
    assert done.failed
    assert "parse error at line 4" in done.why
    assert (machine.folder / "fstab").read_text() == FSTAB.format(line="")
    assert [path.name for path in machine.folder.glob("fstab*")] == ["fstab"]


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
    states = machine.read(*(MountPoint(str(tmp_path / name)) for name in names))
    plain = {"type": "directory", "immutable": "no"}
    assert states == [
        plain | {"empty": "yes"},
        plain | {"empty": "no"},
        {"type": "other"},
        {"type": "other"},
        None,
        None,
    ]

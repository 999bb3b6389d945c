"""systemd units, from the output of `systemctl show`."""

from __future__ import annotations

import getpass
import grp
import os

import pytest

from converge.engine.plan import Change, Plan
from converge.engine.resource import Action, Unknown
from converge.resources.file import File
from converge.resources.unit import BootTarget, NoUnit, StaticUnit, Unit

RUNS = "Id={0}\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n"
STOPPED = "Id={0}\nLoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\nNeedDaemonReload=no\n"
MISSING = "Id={0}\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\nNeedDaemonReload=no\n"
STALE = RUNS.replace("Reload=no", "Reload=yes")


@pytest.fixture
def systemd(machine):
    """A systemctl with a given state for each unit, which records all other calls."""

    def tells(*blocks: str) -> None:
        (machine.folder / "units").write_text("\n".join(blocks))
        machine.program(
            "systemctl",
            f'[ "$1" = show ] || {{ echo "$*" >>{machine.folder}/calls; exit 0; }}\ncat {machine.folder}/units',
        )

    return tells


def actions(machine, *units) -> str:
    return "".join(change.action.value for change in machine.plan(*units).changes)


@pytest.mark.parametrize(
    ("block", "symbol", "diff"),
    [
        (RUNS, " ", []),
        (MISSING, "+", []),
        (STOPPED, "~", ["enabled: disabled -> enabled", "active: inactive -> active"]),
        (STALE, "~", ["systemd has not read its file again"]),
        (RUNS.replace("=active", "=failed"), "~", ["active: failed -> active"]),
        (RUNS.replace("=active", "=activating"), "~", ["active: activating -> active"]),
        (RUNS.replace("=enabled", "=masked"), "!", ["enabled: masked -> enabled"]),
    ],
)
def test_a_unit_is_well_when_it_is_enabled_runs_and_has_been_read(machine, systemd, block, symbol, diff):
    systemd(block.format("chrony.service"))
    (change,) = machine.plan(Unit("chrony.service")).changes
    assert change.action.value == symbol
    assert change.resource.diff(change.before) == diff


def test_a_masked_unit_is_a_decision_of_somebody_and_refused_with_the_way_out(machine, systemd):
    systemd(RUNS.replace("=enabled", "=masked").format("docker.service"))
    (change,) = machine.plan(Unit("docker.service")).changes
    assert change.why == "somebody has masked it, so that nothing starts it"
    assert "systemctl unmask -- docker.service" in change.hint


def test_a_mask_until_the_next_boot_is_one_too(machine, systemd):
    systemd(RUNS.replace("=enabled", "=masked-runtime").format("docker.service"))
    (change,) = machine.plan(Unit("docker.service")).changes
    assert change.action.value == "!"
    assert "systemctl unmask --runtime -- docker.service" in change.hint


@pytest.mark.parametrize(
    ("unit", "path", "symbol"),
    [
        ("stowage-backup.timer", "/etc/systemd/system/stowage-backup.timer.d/often.conf", "!"),
        ("stowage@minio.service", "/run/systemd/system/stowage@.service.d/x.conf", "!"),
        ("stowage@minio.service", "/usr/lib/systemd/system/service.d/10-timeout-abort.conf", " "),
        ("docker.service", "/etc/systemd/system/docker.service.d/proxy.conf", " "),
    ],
)
def test_a_drop_in_beside_a_unit_of_ours_is_refused_and_one_of_the_system_left(machine, systemd, unit, path, symbol):
    systemd(RUNS.format(unit) + f"DropInPaths={path}\n")
    (change,) = machine.plan(Unit(unit)).changes
    assert change.action.value == symbol
    if symbol == "!":
        assert path in change.why
        assert f"rm {path}" in change.hint


def test_a_unit_whose_file_changes_is_read_again_in_the_same_deploy():
    """After a person's edit and daemon-reload, only the file itself differs."""
    template = File("/etc/systemd/system/stowage@.service", "x")
    for unit in (Unit("stowage@minio.service"), StaticUnit("stowage@minio.service")):
        assert unit.undone_by(template, made=False)
        assert not unit.undone_by(File("/etc/systemd/system/other.service", "x"), made=False)


@pytest.mark.parametrize(
    ("block", "symbol"),
    [
        (STOPPED, " "),
        (STALE, "~"),
        (STOPPED + "DropInPaths=/run/systemd/system/stowage-backup@.service.d/x.conf\n", "!"),
        (STOPPED.replace("=disabled", "=masked"), "!"),
    ],
)
def test_a_unit_that_others_start_must_be_read_and_stand_alone(machine, systemd, block, symbol):
    systemd(block.format("stowage-backup@any.service"))
    (change,) = machine.plan(StaticUnit("stowage-backup@any.service")).changes
    assert change.action.value == symbol
    assert "daemon-reload" in change.resource.fix(change.before)[0].script


@pytest.mark.parametrize(
    ("block", "symbol"),
    [
        (STOPPED, "+"),
        (STOPPED.replace("=disabled", "=enabled"), "~"),
        (STOPPED.replace("=inactive", "=failed"), "~"),
        (RUNS, " "),
    ],
)
def test_an_instance_is_created_whoever_brought_its_template(machine, systemd, block, symbol):
    """The plan had said `+`, and must not become `~` once the first of several services has made the template."""
    systemd(block.format("stowage@cache.service"))
    assert machine.plan(Unit("stowage@cache.service")).changes[0].action.value == symbol


@pytest.mark.parametrize(
    ("target", "symbol"), [("multi-user", " "), ("graphical", " "), ("mine", " "), ("rescue", "!")]
)
def test_a_host_that_would_boot_without_services_is_told(machine, systemd, target, symbol):
    systemd(RUNS.format(f"{target}.target"))
    (change,) = machine.plan(BootTarget()).changes
    assert change.action.value == symbol
    if symbol == "!":
        assert "the next boot ends in rescue.target" in change.why
        assert "systemctl set-default multi-user.target" in change.hint


def test_drop_ins_of_others_are_shown_by_full():
    unit, before = Unit("docker.service"), {"beside": "/etc/systemd/system.control/docker.service.d/50-TasksMax.conf"}
    assert unit.left_alone(before) == ["drop-in /etc/systemd/system.control/docker.service.d/50-TasksMax.conf"]


def test_several_units_are_told_apart(machine, systemd):
    systemd(RUNS.format("a"), MISSING.format("b"), STOPPED.format("c"), RUNS.format("d"))
    assert actions(machine, *(Unit(name) for name in "abcd")) == " +~ "


@pytest.mark.parametrize("answer", ["", "Id=a\n", RUNS.format("a")])
def test_units_of_which_nothing_is_told_are_unknown(machine, systemd, answer):
    systemd(answer)
    assert isinstance(machine.read(Unit("a"), Unit("b"))[-1], Unknown)


def test_without_systemd_a_unit_is_unknown(machine):
    machine.program("systemctl", "echo 'System has not been booted with systemd' >&2; exit 1")
    assert isinstance(machine.read(Unit("chrony.service"))[0], Unknown)


def test_a_unit_may_have_to_be_off(machine, systemd):
    off = Unit("apt-daily.timer", enabled=False, active=False)
    systemd(RUNS.format("apt-daily.timer"))
    assert machine.plan(off).changes[0].disrupts
    machine.deploy(off)
    assert (machine.folder / "calls").read_text().splitlines()[1:] == [
        "disable -q -- apt-daily.timer",
        "reset-failed -- apt-daily.timer",
        "stop -- apt-daily.timer",
    ]
    systemd(STOPPED.format("apt-daily.timer"))
    assert machine.plan(off).in_sync


def test_a_unit_is_read_again_before_it_is_started(machine, systemd):
    systemd(STALE.format("stowage@minio.service"))
    machine.deploy(Unit("stowage@minio.service"))
    assert (machine.folder / "calls").read_text().splitlines() == [
        "daemon-reload",
        "enable -q -- stowage@minio.service",
        "reset-failed -- stowage@minio.service",
        "start -- stowage@minio.service",
    ]


@pytest.mark.parametrize(("block", "action"), [(RUNS, Action.REMOVE), (STOPPED, Action.NONE), (MISSING, Action.NONE)])
def test_a_unit_that_is_no_longer_wanted_is_stopped_and_disabled(machine, systemd, block, action):
    systemd(block.format("stowage@nginx.service"))
    gone = NoUnit("stowage@nginx.service")
    assert machine.plan(gone).changes[0].action is action
    machine.deploy(gone)
    calls = machine.folder / "calls"
    assert (calls.read_text() if calls.exists() else "") == (
        "disable -q --now -- stowage@nginx.service\n" if action is Action.REMOVE else ""
    )


# A unit that fails to start with its new file.


@pytest.fixture
def unit_file(machine, tmp_path):
    """A unit with its file in a folder of the test, and a systemctl that fails when the file says `newer`."""
    machine.places["/etc/systemd/system"] = str(tmp_path)
    file = tmp_path / "a@.service"
    file.write_text("old")
    machine.program("journalctl", "echo 'bad unit file setting'")
    takes = f"! grep -q newer {file} || exit 1"
    machine.program("systemctl", f'echo "$1" >>{machine.folder}/calls; case $1 in start|enable) {takes};; esac')
    return file


def test_the_previous_file_of_a_unit_goes_back_when_it_does_not_start(machine, unit_file):
    mine = (getpass.getuser(), grp.getgrgid(os.getgid()).gr_name)
    assert not machine.carry_out(made(File(str(unit_file), "newer", *mine, until_loaded=True))).failed
    done = machine.carry_out(made(Unit("a@b.service")))
    assert done.failed
    assert "a@b.service did not come back: the previous files are put back, and it runs with them" in done.why
    assert "bad unit file setting" in done.why
    assert unit_file.read_text() == "old"
    calls = (machine.folder / "calls").read_text().split()
    assert calls[-4:] == ["daemon-reload", "enable", "reset-failed", "start"]


def made(resource) -> Plan:
    before = {"type": "file"} if isinstance(resource, File) else {"active": "inactive"}
    return Plan("here", [Change("role", resource, before, Action.UPDATE)])

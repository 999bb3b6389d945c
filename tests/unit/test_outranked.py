"""Settings that a later file overrides at boot, in the order in which systemd reads those files."""

from __future__ import annotations

import pytest

from converge.engine.resource import Action
from converge.resources.outranked import Outranked, sysctl_pattern

KEYS = {"net.core.somaxconn": "4096", "net.ipv4.ip_local_port_range": "1024 65000"}


@pytest.fixture
def folders(tmp_path):
    """`usr/lib`, `run` and `etc`, with our own file in the last."""
    places = tuple(tmp_path / name for name in ("usr", "run", "etc"))
    for folder in places:
        folder.mkdir()
    (places[2] / "60-stowage.conf").write_text("".join(f"{key} = {value}\n" for key, value in KEYS.items()))
    return places


def change_of(machine, folders):
    settings = tuple((key, sysctl_pattern(key), value) for key, value in KEYS.items())
    wanted = Outranked(f"{folders[2]}/60-stowage.conf", tuple(map(str, folders)), settings)
    return machine.plan(wanted).changes[0]


@pytest.mark.parametrize("folder", [0, 1, 2])
@pytest.mark.parametrize(
    "line", ["net.core.somaxconn=128", "  -net/core/somaxconn  =  128", "# x\nnet.core/somaxconn = 128 "]
)
def test_a_later_file_with_another_value_is_named_with_its_line(machine, folders, folder, line):
    (folders[folder] / "99-local.conf").write_text(f"{line}\n")
    change = change_of(machine, folders)
    number = line.count("\n") + 1
    assert change.action is Action.REFUSED
    assert f"{folders[folder]}/99-local.conf:{number} (" in change.why
    assert f"sed -i '{number}s/^/# /' {folders[folder]}/99-local.conf" in change.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("50-early.conf", "net.core.somaxconn = 128\n"),
        ("99-same.conf", "net.core.somaxconn=4096\nnet.ipv4.ip_local_port_range = 1024\t65000\n"),
        ("99-remark.conf", "# net.core.somaxconn = 128\n; net.core.somaxconn = 128\n"),
        ("99-others.conf", "net.core.somaxconn2 = 128\nnet.ipv4.tcp_syncookies = 1\n"),
        ("99-not-read.txt", "net.core.somaxconn = 128\n"),
        ("99-back.conf", "net.core.somaxconn = 128\nnet.core.somaxconn = 4096\n"),
    ],
)
def test_what_does_not_win_or_says_the_same_is_left_alone(machine, folders, name, text):
    (folders[2] / name).write_text(text)
    assert change_of(machine, folders).action is Action.NONE


def test_a_file_that_is_masked_by_one_of_its_name_is_not_read(machine, folders):
    (folders[0] / "99-vendor.conf").write_text("net.core.somaxconn = 128\n")
    assert change_of(machine, folders).action is Action.REFUSED
    (folders[2] / "99-vendor.conf").symlink_to("/dev/null")
    assert change_of(machine, folders).action is Action.NONE


def test_the_last_of_several_files_wins(machine, folders):
    (folders[2] / "70-a.conf").write_text("net.core.somaxconn = 128\n")
    (folders[0] / "80-b.conf").write_text("net.core.somaxconn = 4096\n")
    assert change_of(machine, folders).action is Action.NONE


def test_a_program_of_perl_is_read_as_well(machine, tmp_path):
    (tmp_path / "99-x.conf").write_text("$nrconf{restart} = 'a';\n")
    restart = ("restart", r"\$nrconf\{restart\}", "l")
    wanted = Outranked(f"{tmp_path}/60-stowage.conf", (str(tmp_path),), (restart,))
    assert f"{tmp_path}/99-x.conf:1" in machine.plan(wanted).changes[0].why
    (tmp_path / "99-x.conf").write_text('$nrconf{restart}="l" ; # as it is\n')
    assert machine.plan(wanted).in_sync


def test_a_bare_machine_without_any_of_these_files_is_read(machine, tmp_path):
    folder = tmp_path / "nothing"
    settings = (("a.b", "a[.]b", "1"),)
    wanted = [Outranked(str(folder / name), (str(folder),), settings) for name in ("60-ours.conf", "61-ours.conf")]
    assert machine.read(*wanted) == [{"a.b": ""}, {"a.b": ""}]

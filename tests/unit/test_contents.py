"""Folders that must hold the wanted files and no others."""

from __future__ import annotations

import pytest

from converge.resources.contents import Contents


@pytest.fixture
def folder(tmp_path):
    """A folder with the wanted files; its name is also a pattern."""
    folder = tmp_path / "conf [x]*"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "conf.d" / "a.conf").write_text("a")
    return folder


def wanted(folder) -> Contents:
    return Contents(str(folder), ("conf.d", "conf.d/a.conf"))


def test_what_is_wanted_is_no_change_and_neither_is_a_folder_that_is_to_be_made(machine, folder):
    assert machine.plan(wanted(folder)).in_sync
    assert machine.plan(Contents(str(folder / "none"), ("a",))).in_sync


@pytest.mark.parametrize("name", ["b.conf", ".hidden", "two words", "line\nbreak", "-rf", "*", "é", "a\\b"])
def test_a_foreign_file_is_named_and_moved_to_where_what_was_before_is_kept(machine, folder, name):
    (folder / "conf.d" / name).write_text("foreign")
    (change,) = machine.plan(wanted(folder)).changes
    assert change.action.value == "~"
    (line,) = change.resource.diff(change.before)
    assert line.endswith(": not in the inventory, moved aside")
    assert line.isprintable()
    machine.deploy(wanted(folder))
    assert machine.plan(wanted(folder)).in_sync
    assert [path.name for path in (folder / "conf.d").iterdir()] == ["a.conf"]
    kept = f"{machine.folder}/stowage/previous{folder}/conf.d/{name}"
    with open(kept) as file:
        assert file.read() == "foreign"


def test_a_foreign_folder_is_named_once_and_goes_with_all_that_is_in_it(machine, folder):
    (folder / "x" / "y").mkdir(parents=True)
    (folder / "x" / "y" / "z").write_text("")
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("/etc")
    (change,) = machine.plan(wanted(folder)).changes
    assert [line.split(":")[0] for line in change.resource.diff(change.before)] == ["empty", "link", "x"]
    assert machine.deploy(wanted(folder)).done
    assert machine.plan(wanted(folder)).in_sync
    assert (folder / "conf.d" / "a.conf").read_text() == "a"


def test_of_many_foreign_files_some_are_named_and_the_rest_counted(machine, folder):
    for number in range(9):
        (folder / f"{number}").write_text("")
    (change,) = machine.plan(wanted(folder)).changes
    assert change.resource.diff(change.before)[-1] == "and 4 more"

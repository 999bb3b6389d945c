"""Rights of our paths: modes, owners, access lists, links, parent directories, and paths that cannot be written."""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from converge.engine.resource import Action, Unknown
from converge.resources import entries
from converge.resources.entries import Entry
from converge.resources.file import Absent, Directory, File
from converge.resources.jsonfile import JsonKeys
from converge.resources.permissions import Permissions

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
LS = """\
above /etc|/etc/a b
above /|/etc/a b
-rw-r--r--+  2 root    domain users 55  /etc/a b
drwxrwxrwt 10 root    root      4096  /etc
lrwxrwxrwx  1 root    root        11  /etc/link -> /etc/shadow
-rwsr-x--T  1 otto    root         0  /etc/odd
crw-rw-rw-  1 root    root      1, 3  /dev/null
ls: cannot access '/gone': No such file or directory
ls: cannot access '/mnt/it'"'"'s': Input/output error
"""


@pytest.fixture
def folder(machine, tmp_path):
    path = tmp_path / "ours"
    path.mkdir()
    return path


def file(path: Path, content="new\n", **more) -> File:
    return File(str(path), content, **{**ME, **more})


def change_of(machine, resource):
    return machine.plan(resource).changes[0]


def mended(machine, resource, *diff: str) -> None:
    """Checks that this difference is seen, that one deploy repairs it, and that no difference remains."""
    change = change_of(machine, resource)
    assert (change.action, tuple(change.resource.diff(change.before))) == (Action.UPDATE, diff)
    assert machine.deploy(resource).failed is None
    assert change_of(machine, resource).action is Action.NONE


def test_recorded_lines_of_ls():
    recorded = entries.read(LS)
    assert recorded.get("/etc/a b") == Entry("file", 0o644, True, 2, "root", "domain users")
    assert recorded.get("/etc").mode == 0o1777
    assert recorded.get("/etc/link").state["type"] == "symbolic link to /etc/shadow"
    assert (recorded.get("/etc/odd").mode, recorded.get("/etc/odd").owner) == (0o5750, "otto")
    assert recorded.get("/dev/null").type == "character device"
    assert recorded.get("/gone") is None
    assert isinstance(recorded.get("/mnt/it's"), Unknown)
    assert recorded.answers_for == {"/etc/a b": ["/etc", "/"]}


def test_a_path_that_cannot_be_looked_at_is_unknown_and_never_made(machine, folder):
    machine.program("ls", f"echo \"ls: cannot access '{folder}/f': Input/output error\"")
    for resource in (file(folder / "f"), Directory(f"{folder}/f", **ME), Absent(f"{folder}/f")):
        change = change_of(machine, resource)
        assert (change.action, change.why) == (Action.UNKNOWN, "it cannot be looked at: input/output error")


def test_a_directory_above_that_everybody_may_write_is_told_once_and_closed(machine, folder):
    folder.chmod(0o777)
    first, second = file(folder / "a"), file(folder / "b")
    machine.deploy(first, second)
    folder.chmod(0o757)
    plan = machine.plan(first, second)
    assert [change.action for change in plan.changes] == [Action.UPDATE, Action.NONE]
    assert first.diff(plan.changes[0].before) == [f"above it, written by all: {folder} -> none"]
    machine.carry_out(plan)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_directory_above_that_belongs_to_somebody_else_is_refused_with_chown(machine, folder):
    wanted = file(folder / "a")
    machine.deploy(wanted)
    os.chown(folder, 65534, -1)
    change = change_of(machine, wanted)
    assert change.action is Action.REFUSED
    assert f"chown root: {folder}; then: inv deploy" in change.hint


def test_a_file_with_a_second_name_gets_an_inode_of_its_own(machine, folder):
    wanted = file(folder / "f")
    machine.deploy(wanted)
    os.link(folder / "f", folder / "other")
    mended(machine, wanted, "links: 2 -> 1")
    assert (folder / "other").read_text() == "new\n"


def test_a_mode_is_set_without_writing_the_file_anew(machine, folder):
    wanted = file(folder / "f")
    machine.deploy(wanted)
    inode = (folder / "f").stat().st_ino
    (folder / "f").chmod(0o666)
    mended(machine, wanted, "mode: 0666 -> 0644")
    assert (folder / "f").stat().st_ino == inode


def test_a_link_in_the_place_of_a_file_is_replaced_and_nothing_of_its_target_is_shown(machine, folder):
    (folder / "target").write_text("a secret of somebody\n")
    (folder / "f").symlink_to(folder / "target")
    wanted = file(folder / "f", mode="0777")
    change = change_of(machine, wanted)
    assert not any("somebody" in line for line in change.resource.diff(change.before))
    assert f"type: symbolic link to {folder}/target -> file" in change.resource.diff(change.before)
    assert machine.deploy(wanted).failed is None
    assert ((folder / "f").is_symlink(), (folder / "target").read_text()) == (False, "a secret of somebody\n")


@pytest.mark.parametrize("kind", ["file", "json"])
def test_a_pipe_in_the_place_of_a_file_ends_nothing(machine, folder, kind):
    os.mkfifo(folder / "f")
    if kind == "file":
        assert machine.read(file(folder / "f"))[0]["type"] == "named pipe"
    else:
        assert isinstance(machine.read(JsonKeys(f"{folder}/f", {}))[0], Unknown)


def test_what_is_in_the_way_is_refused_with_the_command_that_keeps_it(machine, folder):
    (folder / "elsewhere").mkdir()
    (folder / "link").symlink_to(folder / "elsewhere")
    (folder / "dir").mkdir()
    for wanted, path in (
        (Directory(f"{folder}/link", **ME), folder / "link"),
        (file(folder / "dir"), folder / "dir"),
    ):
        change = change_of(machine, wanted)
        assert change.action is Action.REFUSED
        assert f"mv -T -- {path} {path}.aside; then: inv deploy" in change.hint


@pytest.mark.parametrize(
    ("flags", "command"),
    [("----i---------e-------", "{0}/f"), ("-----a--------e-------", "{0}/f"), ("----i---------e-------", "{0}")],
)
@pytest.mark.parametrize("there", [True, False])
def test_what_chattr_keeps_from_being_written_is_named_with_chattr(machine, folder, flags, command, there):
    path = command.format(folder)
    machine.program("lsattr", f"echo '--------------e------- {folder}/other'; echo '{flags} {path}'")
    (folder / "f").write_text("old\n")
    if not there and path == str(folder):
        (folder / "f").unlink()
    change = change_of(machine, file(folder / "f"))
    assert change.action in (Action.REFUSED, Action.UNKNOWN)
    assert change.hint == f"on the host: chattr -i -a {path}; then: inv deploy"


def test_an_immutable_file_that_is_as_it_should_be_is_left_alone(machine, folder):
    machine.deploy(file(folder / "f"))
    machine.program("lsattr", f"echo '----i---------e------- {folder}/f'")
    assert change_of(machine, file(folder / "f")).action is Action.NONE


def test_json_that_is_immutable_is_named_with_chattr(machine, folder):
    (folder / "f").write_text("{}")
    machine.program("lsattr", f"echo '----i---------e------- {folder}/f'")
    assert change_of(machine, JsonKeys(f"{folder}/f", {})).action is Action.NONE
    assert change_of(machine, JsonKeys(f"{folder}/f", {"a": 1})).hint.startswith(
        f"on the host: chattr -i -a {folder}/f"
    )


needs_acl = pytest.mark.skipif(not shutil.which("setfacl"), reason="no setfacl here")


@needs_acl
def test_an_access_list_is_seen_and_taken_away(machine, folder):
    wanted = file(folder / "f", mode="0640")
    (folder / "sub").mkdir(0o750)
    machine.deploy(wanted, Directory(f"{folder}/sub", mode="0750", **ME))
    subprocess.run(["setfacl", "-m", "u:nobody:r", folder / "f"], check=True)
    subprocess.run(["setfacl", "-m", "d:u:nobody:rwx", folder / "sub"], check=True)
    mended(machine, wanted, "access list: yes -> none")
    mended(machine, Directory(f"{folder}/sub", mode="0750", **ME), "access list: yes -> none")


def test_a_directory_with_an_access_list_says_what_it_needs_where_there_is_no_setfacl(machine, folder):
    machine.places["command -v setfacl"] = "false"
    machine.program("ls", f"echo 'drwxr-xr-x+ 2 {ME['owner']} {ME['group']} 4096  {folder}'")
    done = machine.deploy(Directory(str(folder), **ME))
    assert "apt-get install acl" in done.why


def test_what_others_write_may_be_stricter_but_not_wider(machine, folder):
    wanted = Permissions("ours", ((f"{folder}/", "0750"), (f"{folder}/f", "0600"), (f"{folder}/none", "0600")))
    folder.chmod(0o700)
    (folder / "f").touch()
    (folder / "f").chmod(0o400)
    assert change_of(machine, wanted).action is Action.NONE
    folder.chmod(0o770)
    (folder / "f").chmod(0o644)
    mended(
        machine,
        wanted,
        f"{folder}: 0770 root:root -> 0750 root:root",
        f"{folder}/f: 0644 root:root -> 0600 root:root",
    )


def test_a_link_in_the_place_of_what_others_write_is_refused(machine, folder):
    (folder / "f").symlink_to("/etc/passwd")
    change = change_of(machine, Permissions("ours", ((f"{folder}/f", "0600"),)))
    assert change.action is Action.REFUSED
    assert change.why == f"a symbolic link to /etc/passwd stands where {folder}/f should be"


def test_a_socket_keeps_its_group(machine):
    """A socket for everybody would be root for everybody; the members of its group are not checked here."""
    import socket

    path = machine.folder / "d.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        os.chmod(path, 0o666)
        wanted = Permissions("sock", ((str(path), "0660"),))
        change = machine.plan(wanted).changes[0]
        assert change.action is Action.UPDATE
        assert "chown root -- " in wanted.fix(change.before)[0].script

"""Files, directories and links, read and written for real by the host's shell."""

from __future__ import annotations

import getpass
import grp
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as some

from converge.engine.resource import Action
from converge.inventory.secret import Secret
from converge.resources.file import Absent, Directory, File

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
HOSTILE = [
    "",
    "\n",
    "\n\n\n",
    "no line end",
    'it\'s "quoted" `id` $(touch no) ${HOME} $((1+1))\n',
    "-n\n--\n-e \\n\n",
    "back\\slash \\\\ \\0 \\n %s %d %%\n",
    "EOF\nEND\n{} {0} {new}\n",
    "dos\r\nends\r\n",
    "tab\tbell\a escape\x1b[31m nul\0 end\n",
    "äöü ✓ 🗄 \u2028\n",
    "x" * 300_000,
]
NAMES = [
    "plain.conf",
    "with blank",
    "it's",
    'say "hi"',
    "$(touch no)",
    "-rf",
    "ä✓",
    "*",
    "a;b&c",
    "#c",
    "README.TXT",
    "X",
    "xxXXXX.conf",
]


def file(path: Path, content="new\n", **more) -> File:
    return File(str(path), content, **{**ME, **more})


def action_of(machine, resource) -> Action:
    return machine.plan(resource).changes[0].action


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", HOSTILE)
@pytest.mark.parametrize("before", [None, "old"])
def test_content_arrives_as_it_is(machine, tmp_path, content, before):
    path = tmp_path / "file"
    if before:
        path.write_text(before)
    assert not machine.deploy(file(path, content)).failed
    assert path.read_bytes() == content.encode()
    assert action_of(machine, file(path, content)) is Action.NONE
    assert names(tmp_path) == ["file"]


def test_data_arrives_byte_for_byte_and_is_not_shown(machine, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"PK\x03old")
    data = file(path, bytes(range(256)) * 300)
    assert data.diff(machine.read(data)[0])[-1] == "content: changed"
    assert not machine.deploy(data).failed
    assert path.read_bytes() == data.content
    assert action_of(machine, data) is Action.NONE
    assert data.text == "76800 bytes of data"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.text(some.characters(exclude_categories=["Cs"])))
def test_any_text_arrives_as_it_is(machine, tmp_path, content):
    assume(machine.takes(content))
    path = tmp_path / "file"
    machine.deploy(file(path, content))
    assert path.read_bytes() == content.encode()
    assert action_of(machine, file(path, content)) is Action.NONE


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_have_any_name(machine, tmp_path, name):
    wanted = file(tmp_path / name)
    assert machine.deploy(wanted).failed is None
    assert names(tmp_path) == [name]
    assert action_of(machine, wanted) is Action.NONE
    (tmp_path / name).write_text("drift")
    assert machine.plan(wanted).changes[0].before["content"] == "drift"


@pytest.mark.parametrize("path", ["relative", "/line\nbreak", "/back\\slash", "/bar|bar", "/bell\a", ""])
def test_a_path_that_no_answer_could_hold_is_refused_at_once(path):
    with pytest.raises(ValueError, match="not a path that can be managed"):
        File(path, "")
    with pytest.raises(ValueError, match="not a path that can be managed"):
        Directory(path)


@pytest.mark.parametrize(("mode", "same"), [("644", "0644"), ("0644", "00644"), ("4755", "04755"), ("0", "0000")])
def test_modes_are_numbers_not_spellings(mode, same):
    assert File("/a", "", mode=mode) == File("/a", "", mode=same)
    assert Directory("/a", mode=mode) == Directory("/a", mode=same)


@pytest.mark.parametrize("mode", ["0400", "0644", "0755", "4755", "1777", "0000"])
def test_a_mode_is_set_and_read_back(machine, tmp_path, mode):
    for wanted in (file(tmp_path / "file", mode=mode), Directory(str(tmp_path / "folder"), mode=mode, **ME)):
        assert not machine.deploy(wanted).failed
        assert action_of(machine, wanted) is Action.NONE
        Path(wanted.path).chmod(0o611)
        assert machine.plan(wanted).changes[0].resource.diff(machine.read(wanted)[0]) == [
            f"mode: 0611 -> {wanted.mode}"
        ]


@pytest.mark.parametrize("check", ["grep -q good {}", "false {}", "test ! -s {}", "no-such-program {}"])
def test_a_file_that_its_program_does_not_accept_leaves_the_old_one(machine, tmp_path, check):
    path = tmp_path / "file"
    path.write_text("old")
    done = machine.deploy(file(path, "bad", check=check))
    assert done.failed
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_check_sees_the_new_content_beside_the_old_one_with_the_ending_of_its_name(machine, tmp_path):
    path = tmp_path / "it's a.conf"
    path.write_text("old")
    check = f"case {{}} in {tmp_path}/.*.conf) grep -q new {{}} && grep -q old {tmp_path}/it*.conf;; *) false;; esac"
    assert machine.deploy(file(path, "new", check=check)).failed is None
    assert path.read_text() == "new"


def test_a_failed_check_says_what_the_program_said(machine, tmp_path):
    done = machine.deploy(file(tmp_path / "file", check="{ echo 'line 3: unknown key' >&2; false; } # {}"))
    assert "line 3: unknown key" in done.why


def test_the_previous_version_is_kept_once(machine, tmp_path):
    path = tmp_path / "file"
    for content in ("one", "two", "three"):
        machine.deploy(file(path, content))
    assert Path(f"{machine.folder}/stowage/previous{path}").read_text() == "two"


def test_a_file_whose_folder_is_missing_fails_and_makes_none(machine, tmp_path):
    assert machine.deploy(file(tmp_path / "none" / "file")).failed
    assert names(tmp_path) == []


def test_a_directory_in_the_place_of_a_file_is_refused_with_its_content(machine, tmp_path):
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "data").touch()
    (change,) = machine.plan(file(tmp_path / "file")).changes
    assert (change.action, change.why) == (Action.REFUSED, "a directory stands where the file should be")
    machine.deploy(file(tmp_path / "file"))
    assert names(tmp_path / "file") == ["data"]


@pytest.mark.parametrize("target", ["a file", "a directory", "nothing", "the same content"])
def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_left(machine, tmp_path, target):
    other = tmp_path / "other"
    if target == "a directory":
        other.mkdir()
    elif target != "nothing":
        other.write_text("new\n" if target == "the same content" else "other")
        other.chmod(0o644)
    before = other.read_text() if other.is_file() else None
    (tmp_path / "file").symlink_to(other)
    assert not machine.deploy(file(tmp_path / "file")).failed
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_text() == "new\n"
    assert (other.read_text() if other.is_file() else None) == before


def test_several_files_are_told_apart(machine, tmp_path):
    wanted = [file(tmp_path / name, content) for name, content in (("a", "1"), ("ab", "1"), ("b", "2"), ("c", ""))]
    machine.deploy(*wanted)
    (tmp_path / "a").write_text("drift")
    (tmp_path / "b").unlink()
    assert [change.action.value for change in machine.plan(*wanted).changes] == ["~", " ", "+", " "]


def test_a_difference_is_a_unified_diff(machine, tmp_path):
    (tmp_path / "file").write_text("one\ntwo\nthree\n")
    (tmp_path / "file").chmod(0o600)
    wanted = file(tmp_path / "file", "one\n2\nthree\n")
    assert wanted.diff(machine.read(wanted)[0]) == [
        "mode: 0600 -> 0644",
        "@@ -1,3 +1,3 @@",
        " one",
        "-two",
        "+2",
        " three",
    ]


@pytest.mark.parametrize(
    ("old", "new"), [("a", "a\n"), ("a\n", "a"), ("a\r\n", "a\n"), ("a\n", "a\n\n"), ("a\n", "a \n")]
)
def test_a_change_that_is_hard_to_see_still_shows_a_difference(machine, tmp_path, old, new):
    (tmp_path / "file").write_text(old, newline="")
    wanted = file(tmp_path / "file", new)
    before = machine.read(wanted)[0]
    assert before["sha256"] != wanted.sha256
    assert wanted.diff({**before, "mode": "0644"}) != []


def test_a_host_file_that_is_not_text_shows_what_can_be_shown(machine, tmp_path):
    (tmp_path / "file").write_bytes(b"caf\xe9\n" + bytes(range(256)) * 600)
    wanted = file(tmp_path / "file")
    assert any(line.startswith("-caf") for line in wanted.diff(machine.read(wanted)[0]))


@pytest.mark.parametrize("old", ["old SENTINEL", "", None])
def test_the_text_of_a_secret_file_is_in_nothing_that_is_shown_or_probed(machine, tmp_path, old):
    path = tmp_path / "key"
    if old is not None:
        path.write_text(old)
    wanted = file(path, Secret("new SENTINEL"), mode="0400")
    reading = machine.read(wanted)[0]
    shown = [
        repr(wanted),
        str(wanted.desired()),
        File.probe([wanted]),
        str(reading),
        str(wanted.diff(reading)),
        wanted.note(reading),
    ]
    assert not [text for text in shown if "SENTINEL" in text or "U0VOVElORU" in text]
    done = machine.deploy(wanted)
    assert not done.failed
    assert path.read_text() == "new SENTINEL"
    assert "content: changed, hidden" in wanted.diff({**(reading or {}), "sha256": "other", "content": "old SENTINEL"})


def test_the_previous_version_of_a_secret_is_not_kept(machine, tmp_path):
    for content in ("one", "two"):
        machine.deploy(file(tmp_path / "key", Secret(content), mode="0400"))
    assert not (machine.folder / "stowage").exists()


def test_a_directory_keeps_what_is_in_it(machine, tmp_path):
    wanted = Directory(str(tmp_path / "folder"), mode="0750", **ME)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data").touch()
    (tmp_path / "folder").chmod(0o700)
    assert machine.plan(wanted).changes[0].resource.diff(machine.read(wanted)[0]) == ["mode: 0700 -> 0750"]
    machine.deploy(wanted)
    assert action_of(machine, wanted) is Action.NONE
    assert names(tmp_path / "folder") == ["data"]


def test_a_directory_that_all_may_enter_can_be_reached(machine, tmp_path):
    machine.deploy(Directory(str(tmp_path / "new" / "folder"), mode="0755", **ME))
    assert f"{(tmp_path / 'new').stat().st_mode & 0o777:o}" == "755", "a run's umask is for files with secrets"


@pytest.mark.parametrize("what", ["a regular file", "a symbolic link", "a fifo"])
def test_something_else_in_the_place_of_a_directory_is_refused(machine, tmp_path, what):
    path = tmp_path / "folder"
    {
        "a regular file": lambda: path.write_text("x"),
        "a symbolic link": lambda: path.symlink_to(tmp_path),
        "a fifo": lambda: os.mkfifo(path),
    }[what]()
    assert action_of(machine, Directory(str(path), **ME)) is Action.REFUSED


@pytest.mark.parametrize("name", NAMES)
def test_what_must_be_absent_is_removed_and_stays_absent(machine, tmp_path, name):
    (tmp_path / name).touch()
    wanted = Absent(str(tmp_path / name))
    assert action_of(machine, wanted) is Action.REMOVE
    assert not machine.deploy(wanted).failed
    assert names(tmp_path) == []
    assert action_of(machine, wanted) is Action.NONE


def test_only_a_link_is_removed_never_what_it_points_to(machine, tmp_path):
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    machine.deploy(Absent(str(tmp_path / "link")))
    assert names(tmp_path) == ["target"]


def test_a_directory_is_never_removed(machine, tmp_path):
    (tmp_path / "folder").mkdir()
    assert action_of(machine, Absent(str(tmp_path / "folder"))) is Action.REFUSED
    machine.deploy(Absent(str(tmp_path / "folder")))
    assert names(tmp_path) == ["folder"]

"""Full or read-only folders are refused before anything begins."""

from __future__ import annotations

import pytest

from converge.engine.resource import Action
from converge.resources.room import Room

WANTED = Room(("/etc", "/tmp"))
WELL = "Avail IFree Inodes File\n 9000000 500 1000 /etc\n 8000 500 1000 /tmp\n"


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (WELL, {"/etc": "", "/tmp": ""}),
        (WELL.replace(" 8000 ", " 0 "), {"/etc": "", "/tmp": "full: 0 KiB are left"}),
        (WELL.replace("8000 500", "8000 0"), {"/etc": "", "/tmp": "full: no inode is left for a new file"}),
        (WELL.replace("8000 500 1000", "8000 0 0"), {"/etc": "", "/tmp": ""}),  # a filesystem without inodes to count
        (WELL.replace("8000 500 1000", "8000 - -"), {"/etc": "", "/tmp": ""}),
        (f"read-only /etc\n{WELL}", {"/etc": "read-only", "/tmp": ""}),
        ("", {"/etc": "", "/tmp": ""}),  # without df nothing is held back
    ],
)
def test_room_is_what_the_host_says(answer, state):
    assert Room.read([WANTED], answer) == [state]


def test_what_is_full_or_read_only_is_refused_with_what_to_look_at():
    refusal = WANTED.refusal({"/etc": "read-only", "/tmp": "full: 0 KiB are left"})
    assert refusal.why == "nothing was begun: /etc is read-only, /tmp is full: 0 KiB are left"
    assert "findmnt -T /etc" in refusal.hint
    assert "df -h /tmp" in refusal.hint


def test_the_folders_of_this_machine_have_room(machine, tmp_path):
    (change,) = machine.plan(Room((str(tmp_path), str(tmp_path / "absent")))).changes
    assert change.action is Action.NONE

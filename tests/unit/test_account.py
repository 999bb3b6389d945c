"""Users and groups: their numbers are never changed, for files may carry them."""

from __future__ import annotations

import getpass
import grp
import os
import pwd

import pytest

from converge.resource import Action
from converge.resources.account import Group, User

PASSWD = "root:x:0:0:root:/root:/bin/bash\nstowage:x:9000:9000::/nonexistent:/usr/sbin/nologin\nodd::1\n"


def test_absent_accounts_are_absent_and_not_an_error(machine):
    assert machine.read(Group("no-such-group", 9000), User("no-such-user", 9000)) == [None, None]


def test_accounts_that_are_there_are_read_beside_those_that_are_not(machine):
    group, user = grp.getgrgid(os.getgid()), pwd.getpwuid(os.getuid())
    assert machine.read(Group("no-such-group", 1), Group(group.gr_name, 1)) == [None, {"gid": str(group.gr_gid)}]
    assert machine.read(User("no-such-user", 1), User(getpass.getuser(), 1))[1] == {
        "uid": str(user.pw_uid),
        "gid": str(user.pw_gid),
        "shell": user.pw_shell,
    }


def test_recorded_accounts():
    assert User.read([User("stowage", 9000), User("odd", 1)], PASSWD) == [
        {"uid": "9000", "gid": "9000", "shell": "/usr/sbin/nologin"},
        None,
    ]
    assert Group.read([Group("stowage", 9000), Group("other", 1)], "stowage:x:9000:anna,otto\n") == [
        {"gid": "9000"},
        None,
    ]


def test_another_number_is_refused_with_the_command_that_shows_it(machine):
    group = grp.getgrgid(os.getgid()).gr_name
    for wanted, hint in (
        (Group(group, 54321), f"getent group {group}"),
        (User(getpass.getuser(), 54321), f"id {getpass.getuser()}"),
    ):
        (change,) = machine.plan(wanted).changes
        assert (change.action, change.hint) == (Action.REFUSED, hint)
        assert "files may carry it" in change.why


@pytest.mark.parametrize(
    ("before", "command"),
    [
        (None, "useradd --system -u 9000 -g 9000 -M -d /nonexistent -s /usr/sbin/nologin -- stowage"),
        ({"uid": "9000", "gid": "9000", "shell": "/bin/bash"}, "usermod -g 9000 -s /usr/sbin/nologin -- stowage"),
        (
            {"uid": "9000", "gid": "100", "shell": "/usr/sbin/nologin"},
            "usermod -g 9000 -s /usr/sbin/nologin -- stowage",
        ),
    ],
)
def test_a_user_is_made_or_kept_from_logging_in(machine, before, command):
    for name in ("useradd", "usermod"):
        machine.program(name, f'echo "$(basename "$0") $*" >>{machine.folder}/said')
    (step,) = User("stowage", 9000).fix(before)
    assert machine.run(step.script)[0] == 0
    assert (machine.folder / "said").read_text().strip() == command

"""Users and groups: their numbers are never changed, as files may belong to them."""

from __future__ import annotations

import getpass
import grp
import os
import pwd

import pytest

from converge.engine.resource import Action, Unknown
from converge.resources.account import Group, User, accounts

PASSWD = "root:x:0:0:root:/root:/bin/bash\nstowage:x:9000:9000::/nonexistent:/usr/sbin/nologin\nodd::1\n"


def test_absent_accounts_are_absent_and_not_an_error(machine):
    assert machine.read(Group("no-such-group", 9000), User("no-such-user", 9000)) == [None, None]


def test_accounts_that_are_there_are_read_beside_those_that_are_not(machine):
    group, user = grp.getgrgid(os.getgid()), pwd.getpwuid(os.getuid())
    none, there = machine.read(Group("no-such-group", 65001), Group(group.gr_name, group.gr_gid))
    assert (none, there["gid"]) == (None, str(group.gr_gid))
    none, there = machine.read(User("no-such-user", 65001), User(getpass.getuser(), user.pw_uid))
    assert none is None
    assert (there["uid"], there["gid"], there["shell"]) == (str(user.pw_uid), str(user.pw_gid), user.pw_shell)


WELL = "/etc/passwd:stowage:x:9000:9000::/nonexistent:/usr/sbin/nologin\n/etc/group:stowage:x:9000:\n/etc/shadow:stowage:!:20000::::::\n"


def user_of(passwd: str = PASSWD, more: str = "", files: str = WELL):
    return User.read([User("stowage", 9000)], passwd, files + more)[0]


def test_a_user_that_nobody_can_be_is_as_it_should_be():
    assert user_of() == User("stowage", 9000).desired()
    assert Group.read([Group("stowage", 9000)], "stowage:x:9000:stowage\n", WELL)[0] == Group("stowage", 9000).desired()


@pytest.mark.parametrize(
    ("passwd", "more", "field", "value"),
    [
        (PASSWD, "/etc/group:docker:x:999:bob,stowage\n/etc/group:sudo:x:27:stowage\n", "groups", "docker,sudo"),
        (PASSWD, "/etc/group:stowage2:x:77:stowage2\n", "groups", ""),
        (PASSWD, "/etc/shadow:stowage:$y$j9T$abc:20000::::::\n", "password", "set or empty"),
        (PASSWD, "/etc/shadow:stowage::20000::::::\n", "password", "set or empty"),
        (PASSWD.replace("stowage:x", "stowage:"), "", "password", "set or empty"),
        (PASSWD.replace("/nonexistent", "/home/stowage"), "", "home", "/home/stowage"),
        (PASSWD.replace("9000:9000", "9000:0"), "", "gid", "0"),
        (PASSWD, "/etc/passwd:toor:x:9000:0::/:/bin/sh\n", "same number", "toor"),
        (PASSWD, "/etc/shadow:toor:!:9000::::::\n", "same number", ""),
    ],
)
def test_what_gives_the_data_user_rights_or_a_way_in_is_read(passwd, more, field, value):
    assert user_of(passwd, more)[field] == value


def test_others_in_the_group_and_others_with_its_number_are_read():
    files = WELL + "/etc/group:twin:x:9000:\n/etc/passwd:bob:x:1000:9000::/home/bob:/bin/sh\n"
    (state,) = Group.read([Group("stowage", 9000)], "stowage:x:9000:anna,stowage\n", files)
    assert state == {"gid": "9000", "members": "anna", "same number": "group twin, user bob"}


def test_a_number_that_belongs_to_somebody_else_is_never_taken():
    user = User.read([User("stowage", 9000)], "", "/etc/passwd:bob:x:9000:1::/:/bin/sh\n")[0]
    group = Group.read([Group("stowage", 9000)], "", "/etc/group:staff:x:9000:\n")[0]
    for reading, who in ((user, "bob"), (group, "group staff")):
        assert isinstance(reading, Unknown)
        assert f"belongs to {who}" in reading.why
        assert "data_user" in reading.hint


def test_all_is_asked_by_one_grep_whose_patterns_find_these_lines(machine, tmp_path):
    lines = {
        "passwd": "stowage:x:9000:9000::/nonexistent:/usr/sbin/nologin\ntoor:x:9000:0::/:/bin/sh\nbob:x:1:9000::/:/x\nx:x:19000:1::/:/x\n",
        "group": "stowage:x:9000:\ndocker:x:9:stowage\nsudo:x:27:a,stowage,b\nxstowage:x:3:stowage2\n",
        "shadow": "stowage:!:9000:0:::::\nother:!:1:0:::::\n",
    }
    for name, text in lines.items():
        (tmp_path / name).write_text(text)
        machine.places[f"/etc/{name}"] = f"{tmp_path}/{name}"
    status, output = machine.run(accounts(["stowage:9000"]))
    matches = [line.removeprefix(f"{tmp_path}/").split(":")[:2] for line in output.splitlines()]
    assert status == 0
    assert matches == [
        ["passwd", "stowage"],
        ["passwd", "toor"],
        ["passwd", "bob"],
        ["group", "stowage"],
        ["group", "docker"],
        ["group", "sudo"],
        ["shadow", "stowage"],
    ]


def test_another_number_is_refused_with_both_ways_out(machine):
    group = grp.getgrgid(os.getgid()).gr_name
    for wanted, command in (
        (Group(group, 54321), f"groupmod -g 54321 {group}"),
        (User(getpass.getuser(), 54321), f"usermod -u 54321 {getpass.getuser()}"),
    ):
        (change,) = machine.plan(wanted).changes
        assert change.action is Action.REFUSED
        assert command in change.hint
        assert "data_user: {uid: " in change.hint
        assert "files may carry it" in change.why


MENDED = "usermod -g 9000 -G  -s /usr/sbin/nologin -d /nonexistent -L -- stowage"


@pytest.mark.parametrize(
    ("wanted", "before", "commands"),
    [
        (User, None, ["useradd --system -u 9000 -g 9000 -M -d /nonexistent -s /usr/sbin/nologin -- stowage"]),
        (User, {"uid": "9000", "groups": "docker,sudo"}, ["pwconv ", MENDED]),
        (Group, None, ["groupadd --system -g 9000 -- stowage"]),
        (Group, {"gid": "9000", "members": "anna"}, ["gpasswd -M  stowage"]),
    ],
)
def test_accounts_are_made_or_lose_what_gives_them_rights(machine, wanted, before, commands):
    for name in ("useradd", "usermod", "pwconv", "groupadd", "gpasswd"):
        machine.program(name, f'echo "$(basename "$0") $*" >>{machine.folder}/calls')
    (step,) = wanted("stowage", 9000).fix(before)
    assert machine.run(step.script)[0] == 0
    assert (machine.folder / "calls").read_text().splitlines() == commands

"""Becoming root: a stand-in for sudo that asks and refuses, and the real sudo of the lab host."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.ssh import link as ssh
from converge.ssh import pipe as ssh_pipe
from converge.ssh.root import RootAccess
from tests.lab.conftest import Clone
from tests.lab.ssh.conftest import Sshd

SUDO = """#!/bin/sh
# A stand-in that asks, refuses and starts commands as sudo does (measured with sudo 1.9 and its PAM).
here=$(dirname "$0") ask= prompt=
[ "$1" = -n ] && shift
[ "$1" = -k ] && { ask=1; prompt=$4; shift 4; }
[ "$1" = -u ] && shift 2
shift
case $(cat "$here/mode") in
free) exec "$@" ;;
noisy) [ "$ask" ] && printf 'the usual lecture\\n%s' "$prompt" >&2; cat >/dev/null ;;
password)
  [ "$ask" ] || { echo 'sudo: a password is required' >&2; exit 1; }
  for attempt in 1 2 3; do
    printf %s "$prompt" >&2
    IFS= read -r given || exit 1
    echo "$given" >>"$here/attempts"
    [ "$given" = 'right \\ $one' ] && exec "$@"
    echo 'Sorry, try again.' >&2
  done
  exit 1 ;;
esac
"""


def as_operator(link: ssh.Link, sshd: Sshd, mode: str, password: str | None) -> ssh.Link:
    """The same link as for a user who is not root: an sshd of one's own lets in nobody else."""
    sshd.program("sudo", SUDO)
    (sshd.programs / "mode").write_text(mode)
    link._access = RootAccess("operator", True, password is not None)
    link.target = dataclasses.replace(link.target, become_password=Secret(password) if password else None)
    return link


@pytest.fixture(scope="module")
def operator(clone: Clone) -> ssh.Target:
    """The administrator of the lab host, whom its real sudo asks for a password."""
    inventory = clone.root / "inventory"
    settings = yaml.safe_load((inventory / "host_vars/lab.yml").read_text())
    return ssh.Target(
        "lab",
        settings["ansible_host"],
        inventory / "known_hosts",
        settings["ansible_port"],
        "operator",
        settings["ansible_ssh_private_key_file"],
        become_password=Secret((inventory / "secrets/lab/sudo_password").read_text().strip()),
    )


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            yield path.read_bytes()


@pytest.mark.parametrize("password", [None, "right \\ $one"])
def test_sudo_that_asks_for_nothing(start, open_link, password):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "free", password)
    assert link.send("cat", [b"all of it\n"]) == (0, b"all of it\n", b"")


def test_sudo_with_a_password(start, open_link):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "password", "right \\ $one")
    assert link.send("cat; echo fine >&2", [b"all of it\n"]) == (0, b"all of it\n", b"fine\n")


def test_a_wrong_password_is_given_once_and_nothing_follows_it(start, open_link):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "password", "wrong")
    with pytest.raises(Trouble) as caught:
        link.send("cat", [b"not a password\n"] * 3)
    assert caught.value.what == "sudo refused the password of operator"
    assert "ansible_become_password" in caught.value.hint
    assert (sshd.programs / "attempts").read_text() == "wrong\n"
    assert "wrong" not in str(caught.value)


def test_a_password_that_is_missing_is_said(start, open_link):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "password", None)
    with pytest.raises(Trouble, match="sudo wants a password of operator"):
        link.send("cat", [b"data"])


def test_a_sudo_that_asks_in_its_own_words_does_not_hold_us_for_ever(start, open_link, monkeypatch):
    monkeypatch.setattr(ssh_pipe, "_PATIENCE", 4.0)
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "noisy", "right")
    with pytest.raises(Trouble, match="the usual lecture"):
        link.shell("cat")


def test_no_password_stands_in_a_command_line(start, open_link):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "password", "right \\ $one")
    pipe = link.shell("read -r _")
    assert not any(b"right \\ $one" in line for line in command_lines())
    pipe.close()


def test_a_real_sudo_takes_the_password(open_link, operator):
    assert open_link(operator).send("id -u; cat", [b"all of it\n"]) == (0, b"0\nall of it\n", b"")


@pytest.mark.parametrize(
    ("password", "what"),
    [(Secret("wrong"), "sudo refused the password of operator"), (None, "sudo wants a password of operator")],
)
def test_a_real_sudo_refuses(open_link, operator, password, what):
    link = open_link(dataclasses.replace(operator, become_password=password))
    with pytest.raises(Trouble, match=what):
        link.send("cat", [b"not a password\n"] * 3)

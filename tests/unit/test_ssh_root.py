"""Becoming root: commands that survive any login shell, and the errors of sudo."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from converge.ssh import root as ssh_root
from converge.ssh.root import RootAccess


def through(shell: str, script: str) -> str:
    start = ssh_root.start_shell(RootAccess("root", True, False), script)
    done = subprocess.run([shell, "-c", start.command], capture_output=True, text=True, check=True)
    ready, _, rest = done.stdout.partition("\n")
    assert ready == start.ready
    return rest


@pytest.fixture
def seen_as_root(tmp_path, monkeypatch):
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "id").chmod(0o755)
    monkeypatch.setattr(ssh_root, "PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    "shell", [program for program in ("sh", "bash", "dash", "zsh", "fish", "csh", "tcsh") if shutil.which(program)]
)
@pytest.mark.parametrize("text", ["'", "\\", "\\\\", "\\'", "'\\''", "$HOME `id` !x *", "a\n\tb", '"', "\\n'\\"])
def test_a_script_reaches_sh_unchanged_through_any_login_shell(seen_as_root, shell, text):
    assert through(shell, f"cat <<'END'\n{text}\nEND") == text + "\n"


@settings(max_examples=50, deadline=None)
@given(some.text("'\\\"$ab \n!", max_size=20))
def test_any_script_is_one_word_of_letters_and_digits(text):
    _, _, word = ssh_root._shell([], text).partition(" -c ")
    assert re.fullmatch(r"""'eval "\$\(printf %s [A-Za-z0-9+/=]* \| base64 -d\)"'""", word)


def test_nothing_of_the_environment_of_a_login_reaches_a_command(seen_as_root, monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "POSIXLY_CORRECT", "HTTP_PROXY", "TAR_OPTIONS", "TMPDIR", "ENV"):
        monkeypatch.setenv(name, "elsewhere")
    variables = dict(line.split("=", 1) for line in through("sh", "env").splitlines())
    assert set(variables) - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", *ssh_root.ENVIRONMENT}


@pytest.mark.parametrize("script", ["echo é", "echo \0", "x" * 120_000])
def test_what_does_not_fit_on_a_command_line_is_refused(script):
    with pytest.raises(ValueError, match="stdin"):
        ssh_root.start_shell(RootAccess("root", True, False), script)


@pytest.mark.parametrize(
    ("access", "begins"),
    [
        (RootAccess("root", True, True), "exec /usr/bin/env -i "),
        (RootAccess("bob", False, False), "exec /usr/bin/env -i "),
        (RootAccess("bob", True, False), "exec env LC_ALL=C sudo -n -u root -- /usr/bin/env -i "),
        (RootAccess("bob", True, True), "exec env LC_ALL=C sudo -k -S -p "),
    ],
)
def test_the_way_to_root(access, begins):
    assert ssh_root.start_shell(access, "true").command.startswith(begins)


@pytest.mark.parametrize(
    ("complaint", "what", "hint"),
    [
        ("sudo: a password is required", "sudo wants a password of bob", "ansible_become_password"),
        ("sudo: interactive authentication is required", "sudo wants a password of bob", "NOPASSWD"),
        ("bob is not in the sudoers file.", "bob may not use sudo", "usermod -aG sudo bob"),
        ("sudo: I'm sorry bob. I'm afraid I can't do that", "bob may not use sudo", "usermod -aG sudo bob"),
        ("sudo: sorry, you must have a tty to run sudo", "sudo wants a terminal for bob", "!requiretty"),
        ("env: 'sudo': No such file or directory", "it has no sudo", "install sudo"),
        (
            'Please login as the user "ubuntu" rather than the user "root".',
            "it lets nobody work as bob",
            "ansible_user",
        ),
        (
            "You are required to change your password immediately",
            "the password or the account of bob has expired",
            "chage",
        ),
        ("This account is currently not available.", "bob has no login shell", "chsh -s /bin/sh bob"),
        ("stowage: not root", "bob is not root there", "ansible_become: true"),
        ('sudo: the "no new privileges" flag is set', "sudo gave bob no root shell", ""),
    ],
)
def test_each_refusal_of_sudo_says_what_to_do(complaint, what, hint):
    trouble = ssh_root.refused(RootAccess("bob", True, False), "prod", complaint, 1)
    assert trouble.what == what
    assert hint in trouble.hint


LONG = """Sorry, user bob is not allowed to execute '/usr/bin/env -i PATH=/usr/sbin HOME=/root /bin/sh -c eval "$(printf %s QUJD
RA== | base64 -d)"' as root on lab."""


@pytest.mark.parametrize(
    ("complaint", "what", "hint"),
    [
        (LONG, "sudo does not let bob start a shell as root", "sudo -l -U bob"),
        ("env: '/bin/sh': Permission denied", "sudo lets bob start nothing further", "!noexec"),
        (
            "sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set",
            "sudo has lost its rights",
            "chmod 4755",
        ),
        (
            "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set",
            "lost its",
            "nosuid",
        ),
        (
            "sudo: /etc/sudoers is world writable\nsudo: error initializing audit plugin sudoers_audit",
            "its own",
            "visudo -c",
        ),
        ("sudo: account validation failure, is your account locked?", "has expired", "chage -E -1 bob"),
        ("something that nobody has seen before", "sudo gave bob no root shell", "sudo -v; sudo id"),
    ],
)
def test_each_refusal_of_sudo_has_its_own_way_out(complaint, what, hint):
    trouble = ssh_root.refused(RootAccess("bob", True, True), "lab", complaint, 1)
    assert what in trouble.what
    assert hint in trouble.hint
    assert len(trouble.why) < 120


def test_sudo_makes_root_whoever_its_settings_name():
    """`Defaults runas_default=nobody`."""
    for password in (True, False):
        assert " -u root -- " in ssh_root.start_shell(RootAccess("bob", True, password), "true").command

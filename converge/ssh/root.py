"""Becoming root: the command that starts a root shell over any login shell, and what its refusals mean."""

from __future__ import annotations

import base64
import re
import secrets

from converge.errors import ERROR, Trouble
from converge.record import dataclass

_WANTS_PASSWORD = "sudo wants a password of {user}"

# Texts of a login or of sudo (LC_ALL=C; sudo and sudo-rs), what they mean, and what to do.
_REFUSALS = [
    (("Please login as the user",), "it lets nobody work as {user}",
     "the user that it names: ansible_user in inventory/host_vars/{host}.yml"),
    (("required to change your password", "password has expired", "Password change required", "account has expired"),
     "the password or the account of {user} has expired",
     "log in once by hand and change it; or on the host, as root: chage -E -1 -M -1 {user}"),
    (("account is currently not available", "This account is not available"), "{user} has no login shell",
     "on the host, as root: chsh -s /bin/sh {user}; or name another ansible_user"),
    (("a password is required", "interactive authentication is required"), _WANTS_PASSWORD,
     "write `ansible_become_password: {{file: PATH}}` into inventory/host_vars/{host}.yml, or on the host:"
     " echo '{user} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{user}"),
    (("is not allowed to",), "sudo does not let {user} start a shell as root",
     "on the host: sudo -l -U {user}; what it needs is the line `{user} ALL=(root) ALL` in a file of /etc/sudoers.d"),
    (("is not in the sudoers", "may not run sudo", "I'm afraid I can't do that"),
     "{user} may not use sudo", "add {user} to the group sudo on the host: usermod -aG sudo {user}"),
    (("must have a tty",), "sudo wants a terminal for {user}",
     "on the host, in sudoers: Defaults:{user} !requiretty"),
    (("sudo': No such file", "sudo: not found", "sudo: No such file"), "it has no sudo",
     "install sudo on the host, or log in as root"),
    (("/bin/sh': Permission denied",), "sudo lets {user} start nothing further (noexec)",
     "on the host, in sudoers: Defaults:{user} !noexec, and no NOEXEC: in its line"),
    (("must be owned by uid 0", "effective uid is not 0"), "sudo has lost its rights there",
     "on the host, as root: chown root:root /usr/bin/sudo; chmod 4755 /usr/bin/sudo; findmnt -T /usr/bin/sudo, which must not say nosuid"),
    (("is world writable", "error initializing audit plugin", "no valid sudoers sources", "bad permissions"),
     "sudo does not take its own configuration", "on the host, as root: chown root:root /etc/sudoers; chmod 440 /etc/sudoers; visudo -c"),
    (("account validation failure", "Account expired"), "the account of {user} has expired",
     "on the host, as root: chage -E -1 {user}"),
    (("stowage: not root",), "{user} is not root there", "set ansible_become: true, or ansible_user: root"),
]  # fmt: skip

# Linux takes 128 KiB for one argument.
_LONGEST = 120_000
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Docker's own configuration may hold a proxy, which it would give to every container; only a pull wants its credentials.
ENVIRONMENT = {"HOME": "/root", "LC_ALL": "C", "DOCKER_CONFIG": "/var/empty/docker"}
"""The whole environment of our commands: nothing of the login, of /etc/environment or of sudo reaches them."""


class SudoPassword(Trouble):
    """sudo wants a password, or refuses the one that it was given."""


@dataclass(frozen=True)
class RootAccess:
    """One way to root: directly, by sudo, or by sudo with a password."""

    user: str
    become: bool
    password: bool

    @property
    def sudo(self) -> bool:
        return self.become and self.user != "root"


@dataclass(frozen=True)
class Start:
    """A command to start, and the words to look for: `ready` on stdout, `asks` on stderr when sudo wants a password."""

    command: str
    ready: str
    asks: str | None


def start_shell(access: RootAccess, script: str) -> Start:
    """The command that runs a script as root. It says `ready` first: login shell and sudo may print before."""
    ready = secrets.token_hex(16)
    lines = ['[ "$(id -u)" = 0 ] || { echo "stowage: not root" >&2; exit 77; }', f"echo {ready}; echo {ready} >&2"]
    if not (access.sudo and access.password):
        return Start(f"exec {_sudo(access, '-n')}{_shell(lines, script)}", ready, None)
    asks = secrets.token_hex(16)
    # When sudo did not ask for the password, it is still on stdin: everything up to the line with `ready` is thrown away.
    lines.append(f'line=; until [ "$line" = {ready} ]; do IFS= read -r line || exit 78; done; unset line')
    return Start(f"exec {_sudo(access, f'-k -S -p {asks}')}{_shell(lines, script)}", ready, asks)


def _sudo(access: RootAccess, flags: str) -> str:
    return f"env LC_ALL=C sudo {flags} -u root -- " if access.sudo else ""  # runas_default may name another


def _shell(lines: list[str], script: str) -> str:
    """`sh` in an empty environment, and the script as one word of letters and digits.

    Login shells disagree about all else: csh ends a word at a line end and reads `!` within quotes, fish reads backslashes.
    """
    word = base64.b64encode("\n".join([*lines, script]).encode()).decode()
    if not script.isascii() or "\0" in script or len(word) > _LONGEST:
        raise ValueError(f"a script is ASCII, and {_LONGEST} bytes at most as base64: the rest travels on stdin")
    settings = " ".join(f"{key}={value}" for key, value in {"PATH": PATH, **ENVIRONMENT}.items())
    return f"/usr/bin/env -i {settings} /bin/sh -c 'eval \"$(printf %s {word} | base64 -d)\"'"


def refused(access: RootAccess, where: str, output: str, status: int) -> Trouble:
    """The error when there is no root shell, from the output on stderr."""
    output = re.sub(r"'/usr/bin/env -i .*?base64 -d\)\"'", "a root shell", output, flags=re.DOTALL)
    for phrases, what, hint in _REFUSALS:
        if any(word in output for word in phrases):
            trouble = SudoPassword if what is _WANTS_PASSWORD else Trouble
            return trouble(
                what.format(user=access.user), where, output.strip(), hint=hint.format(user=access.user, host=where)
            )
    what = f"sudo gave {access.user} no root shell" if access.sudo else f"{access.user} gets no shell there"
    look = "on the host, as this user: sudo -v; sudo id" if access.sudo else f"ssh {where} echo works"
    return Trouble(what, where, output.strip() or f"it ended with {status} and said nothing", hint=look, code=ERROR)


def silent(access: RootAccess, where: str, output: str) -> Trouble:
    """The error for a login after which nothing runs: its shell, or one of its start-up files, waits for something."""
    return Trouble(
        f"{access.user} logs in, but no command runs",
        where,
        (output.strip() + "\n").lstrip()
        + "its login shell, or a line of its start-up files (`exec tcsh`, say), waits for something",
        "no command was sent",
        f"see what `ssh {where} echo works` prints here; on the host: getent passwd {access.user}, and look at .bashrc and .profile",
    )


def wrong_password(access: RootAccess, where: str) -> Trouble:
    hint = f"correct what ansible_become_password names: inv inventory --host {where}; with targetpw or rootpw in sudoers it is root's"
    why = "it was given once, and nothing after it"
    return SudoPassword(f"sudo refused the password of {access.user}", where, why, hint=hint, code=ERROR)

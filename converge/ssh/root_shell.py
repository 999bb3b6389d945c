"""One root shell on the host for a whole run: it holds the lock and runs only scripts that have arrived whole."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from converge.engine.long_commands import WAIT_FOR_OTHERS
from converge.errors import LOCKED, UNREACHABLE, Trouble
from converge.shell import quote

if TYPE_CHECKING:
    from converge.ssh.link import Link, Pipe, Target

LOCK = "/run/stowage.lock"
STOP = "/run/stowage.stop"
SILENCE = 60
"""Seconds without a word from the operator's side after which the shell on the host ends."""

# A frame is a header of 76 bytes (SHA-256, blank, length, line end) and a body. `head -c` never reads further than it
# is told, so the next frame stays in the pipe. The body is evaluated in a subshell: not in argv, not in a file.
_SETTINGS = """
LC_ALL=C; export LC_ALL; umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
"""
_FIRST = """
(
{body}
) </dev/null
printf '\\n{marker} done %s\\n' $?
"""
LONGEST_FIRST = 60_000
_LOOP = """
while :; do
  head=$(timeout {silence} head -c 76)
  set -- $head
  [ $# = 2 ] || exit 0
  [ "$2" != 0 ] || continue
  body=$(head -c "$2"; printf x); body=${{body%x}}
  case $(printf %s "$body" | sha256sum) in "$1 "*) ;; *) printf '{marker} cut\\n'; exit 76;; esac
  ( eval "$body" ) </dev/null
  printf '\\n{marker} done %s\\n' $?
done
"""

# `>>` creates the lock without emptying what the holder wrote into it. A reader of the lock may hold it for an instant.
# Where the connection of the holder's shell is gone, only the step that it had begun goes on: that is waited for.
_TAKE_LOCK = """
umask 022
( : >>{lock} ) 2>/dev/null || {{ printf '{marker} nolock\\n'; exit 74; }}
exec 9>>{lock}
say() {{ printf '{marker} waits %s\\n' "$*"; }}
is_left() {{
  above=$(cat {lock}.shell 2>/dev/null); [ -n "$above" ] || return 1
  while above=$(sed -n 's/^PPid:[[:blank:]]*//p' "/proc/$above/status" 2>/dev/null); [ "${{above:-1}}" != 1 ]; do
    [ "$(cat "/proc/$above/comm" 2>/dev/null)" = sudo ] || return 1
  done
}}
patience=2
until flock -w $patience 9; do
  is_left || {{ printf '{marker} locked\\n'; cat {lock}; exit {code}; }}
  say "the last step of a run whose connection is gone; inv unlock ends it"
  patience=10
done
printf '%s\\n' {holder} >{lock}; echo $$ >{lock}.shell; rm -f {stop}
{wait}
"""


def holder(command: str) -> dict[str, str]:
    """The holder of a lock: the operator's name and machine, since when, doing what."""
    import getpass
    import socket

    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"who": getpass.getuser(), "from": socket.gethostname(), "since": since, "doing": command}


def describe(text: str) -> str:
    """The holder of a lock in words."""
    try:
        holding = json.loads(text)
        return f"{holding['who']}@{holding['from']} since {holding['since']}: {holding['doing']}"
    except (ValueError, KeyError, TypeError):
        return "somebody, whose name could not be read"


class RootShell:
    """Runs scripts as root, one after the other, in one channel; with a holder, under the host's lock.

    With the lock it first waits for the commands that an earlier run left behind, and tells `on_wait` so.
    """

    def __init__(
        self,
        link: Link,
        locked_by: dict[str, str] | None = None,
        on_wait: Callable[[str], None] = lambda text: None,
        first: Callable[[str], str] = lambda marker: "",
    ) -> None:
        """`first` gives a script, for the marker, that begins without having been sent: it stands in the shell's command.

        sshd takes the stdin of a session only once its command has begun, so that saves a round trip. All users of the
        host can see commands: it must hold no secret.
        """
        self.link = link
        self.host = link.target.name
        self.marker = "stowage-" + secrets.token_hex(8)
        self.waited = False
        self._on_wait = on_wait
        first_script = first(self.marker)
        self._first = first_script if first_script.isascii() and len(first_script) < LONGEST_FIRST else ""
        begin = _FIRST.format(body=self._first, marker=self.marker) if self._first else ""
        script = _SETTINGS + begin + _LOOP.format(silence=SILENCE, marker=self.marker)
        if locked_by:
            who = quote(json.dumps(locked_by))
            values = {"lock": LOCK, "stop": STOP, "marker": self.marker, "code": LOCKED, "holder": who}
            script = _TAKE_LOCK.format(**values, wait=WAIT_FOR_OTHERS) + script
        self._pipe: Pipe = link.shell(script)
        self._writing = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._keep_talking, daemon=True).start()

    def start(self, body: str) -> None:
        """Send a script without waiting for its answer; that which stood in the shell's command has begun already."""
        if body and body == self._first:
            self._first = ""
            return
        data = body.encode() or b":"  # a frame without a body is a sign of life
        # When the shell has ended, its output says why.
        with self._writing, suppress(BrokenPipeError):
            self._pipe.write(f"{hashlib.sha256(data).hexdigest()} {len(data):>10d}\n".encode() + data)

    def finish(self, on_line: Callable[[str], None] | None = None, quiet: float = 900) -> tuple[int, str]:
        """The exit status and the output of the script that was started first.

        `on_line` sees every line as it comes. `quiet` is the number of seconds without any line after which the host is
        given up; a script reports progress more often than that.
        """
        lines: list[str] = []
        while True:
            try:
                raw = self._pipe.readline(quiet)
            except TimeoutError:
                raise self.lost(f"it said nothing for {quiet:.0f} s") from None
            if not raw:
                raise self._ended("\n".join(lines))
            line = raw.decode(errors="replace").rstrip("\n")
            if line.startswith(self.marker):
                word, _, rest = line[len(self.marker) + 1 :].partition(" ")
                if word == "done":
                    return int(rest), "\n".join(lines)
                if word == "waits":
                    self.waited = True
                    self._on_wait(f"waits for {rest}")
                    continue
                raise self._refused(word)
            if on_line:
                on_line(line)
            lines.append(line)

    def run(self, body: str, on_line: Callable[[str], None] | None = None) -> tuple[int, str]:
        """Run a script: its exit status and its output."""
        self.start(body)
        return self.finish(on_line)

    def close(self) -> None:
        """End the shell on the host, and with it the lock."""
        self._closed.set()
        self._pipe.close_stdin()

    def _keep_talking(self) -> None:
        while not self._closed.wait(SILENCE / 3):
            try:
                with self._writing:
                    self._pipe.write(f"{'0' * 64} {0:>10d}\n".encode())
            except (Trouble, OSError):
                return

    def _refused(self, word: str) -> Trouble:
        if word == "locked":
            return Trouble(
                "another run holds the lock",
                where=self.host,
                why=describe(self._pipe.readline(10).decode(errors="replace")),
                untouched="nothing was changed",
                hint=f"wait for it, or see what it does: inv unlock --host {self.host}",
                code=LOCKED,
            )
        why = {"nolock": f"{LOCK} cannot be written", "cut": "a script did not arrive whole"}.get(word, word)
        return Trouble("the run could not go on", where=self.host, why=why, hint=f"inv status --host {self.host}")

    def _ended(self, output: str) -> Trouble:
        status = self._pipe.exit_status()
        tail = self._pipe.stderr_tail().strip() or output.strip()[-300:]
        return self.lost(
            "the connection was lost" if status in (-1, None) else f"the shell ended with {status}: {tail}"
        )

    def lost(self, why: str) -> Trouble:
        """The error when the connection to the host is lost."""
        return Trouble(
            "the line to the host broke",
            where=self.host,
            why=why,
            untouched="a step that had begun may still run; the next deploy waits for it and finishes the work",
            hint=f"inv deploy --host {self.host}",
            code=UNREACHABLE,
        )


def run_locked(target: Target, command: str, script: str) -> tuple[int, str]:
    """The exit status and the output of a script that changes something, run with the host's lock for `command`."""
    from converge.ssh.link import connect

    link = connect(target)
    try:
        shell = RootShell(link, holder(command))
        answer = shell.run(f"set -e\n{script}")
        shell.close()
        return answer
    finally:
        link.close()

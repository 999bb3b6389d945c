"""Sockets to a machine: direct, or through a command. Needs no Paramiko, so that it can begin before that is loaded."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import tempfile
import time
from typing import IO, Any

from converge.errors import UNREACHABLE, Trouble
from converge.record import dataclass
from converge.ssh.config import Route
from converge.ui import interrupt

SILENCE = 30.0


@dataclass
class OpenSocket:
    """A socket, the seconds it took to get an answer (0.0: not known), and the command that it leads through."""

    sock: Any
    rtt: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    complaints: IO[bytes] | None = None

    def complaint(self) -> str:
        """The output of the command on its stderr."""
        if not self.complaints:
            return ""
        self.complaints.seek(0)
        return self.complaints.read(4000).decode(errors="replace").strip()

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            self.sock.close()
        if self.process:
            self.process.terminate()
            self.process.wait()


def dial(route: Route, timeout: float, wake: str = "") -> OpenSocket:
    """Connect to the machine itself; `wake` is the command that switches it on, where there is one."""
    begun = time.monotonic()
    try:
        sock = socket.create_connection((route.host, route.port), timeout)
    except (OSError, UnicodeError) as error:
        raise _unreachable(route, error, timeout, wake) from None
    took = time.monotonic() - begun
    _prepare(sock)
    return OpenSocket(sock, took)


def through_command(command: str) -> OpenSocket:
    """Connect through a ProxyCommand, which a Ctrl-C for us does not end."""
    ours, theirs = socket.socketpair()
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the command
    line = ["/bin/sh", "-c", f"exec {command}"]
    end = theirs.detach()
    process = subprocess.Popen(line, stdin=end, stdout=end, stderr=complaints, start_new_session=True)
    interrupt.child(process)
    os.close(end)
    return OpenSocket(ours, process=process, complaints=complaints)


def _prepare(sock: socket.socket) -> None:
    """Send at once (a channel costs 44 ms otherwise), and notice a peer that is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3,
               "TCP_USER_TIMEOUT": int(SILENCE * 1000)}  # fmt: skip
    for name, value in options.items():
        if hasattr(socket, name):  # macOS has not all of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _unreachable(route: Route, error: Exception, timeout: float, wake: str) -> Trouble:
    if isinstance(error, (socket.gaierror, UnicodeError)):
        itself = f"write `ansible_host: ADDRESS` into inventory/host_vars/{route.name}.yml"
        hint = itself if route.host == route.name else f"getent hosts {route.host}"
        why = getattr(error, "strerror", None) or str(error)
        return Trouble(f"no address is known for {route.host}", route.name, why, hint=wake or hint, code=UNREACHABLE)
    late = isinstance(error, TimeoutError) or getattr(error, "errno", None) == errno.ETIMEDOUT
    why = f"no answer within {timeout:.0f} s" if late else getattr(error, "strerror", None) or str(error)
    what = f"it cannot be reached at {route.host}:{route.port}"
    return Trouble(what, route.name, why, hint=wake or f"{route.command} true", code=UNREACHABLE)

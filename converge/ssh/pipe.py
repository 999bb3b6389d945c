"""A running command: its stdin, its stdout by lines or bytes, the end of its stderr, its exit status."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.ssh import root as ssh_root
from converge.ssh.root import RootAccess, Start
from converge.ssh.wire import BROKEN

if TYPE_CHECKING:
    from converge.ssh.line import Line

_TAIL = 64 * 1024
_MOUTHFUL = 1024 * 1024
# What fits into one packet of OpenSSH: Paramiko would copy all that is left for each.
_PACKET = 32 * 1024 - 64
_NOISE = 2000
_HESITATION = 0.5
_PATIENCE = 60.0
"""Seconds that a login and sudo may take until the root shell is there."""
# A daemon that the command left behind may print later: that is no output of the command.
_LINGER = 2.0


class Pipe:
    """One command on one channel. Reading is for one thread at a time, and so is writing."""

    def __init__(self, line: Line, access: RootAccess, start: Start, ended: Callable[[], None]) -> None:
        self._far, self._access, self._start = line, access, start
        self._channel = channel = line.session(start.command)
        self._where = line.route.name
        self._buffer = bytearray()
        self._errors = bytearray()
        self._noise = b""
        self._asked = 0
        self._ready = False
        self._greeting = threading.Lock()
        self._readable = threading.Event()
        channel.in_buffer.set_event(self._readable)
        self._drain = threading.Thread(target=self._drain_errors, args=(ended,), daemon=True)
        self._drain.start()

    def write(self, data: bytes) -> None:
        """Send bytes to its stdin. A lost line is a Trouble; BrokenPipeError says that the command reads no more.

        Nothing is sent before the root shell has said that it is there: another program would take it for commands.
        """
        self._expect_ready(None)
        self._send(data)

    def _send(self, data: bytes) -> None:
        view, at = memoryview(data), 0
        try:
            while at < len(view):
                sent = self._channel.send(bytes(view[at : at + _PACKET]))
                if not sent:
                    raise OSError("stdin is closed")  # Paramiko's own sendall would try for ever
                at += sent
        except BROKEN:
            self._raise_if_lost()
            raise BrokenPipeError("the command reads no more") from None

    def readline(self, timeout: float | None = None) -> bytes:
        """The next line with its end; b"" at the end of its output; TimeoutError when no whole line came in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._expect_ready(deadline)
        return self._line(deadline)

    def read(self) -> bytes:
        """Some bytes, as they come; b"" at the end of its output."""
        self._expect_ready(None)
        if not self._buffer:
            self._fill(None)
        return self._take(len(self._buffer))

    def close_stdin(self) -> None:
        """Say that nothing more will come."""
        try:
            self._channel.shutdown_write()
        except BROKEN:
            self._raise_if_lost()

    def close(self) -> None:
        """Let go of the command. It may still be running."""
        with contextlib.suppress(*BROKEN):
            self._channel.close()

    def exit_status(self) -> int:
        """Wait for the end. 128 and the number of a signal when one ended it; -1 when the line was lost before."""
        self._channel.status_event.wait()
        return self._channel.exit_status

    def stderr_tail(self) -> str:
        """The end of what it said on stderr: so far, or until it ended."""
        if self._channel.status_event.is_set():
            self._drain.join(_LINGER)
        text = bytes(self._errors).decode(errors="replace").rpartition(f"{self._start.ready}\n")[2]
        return text.replace(self._start.asks, "") if self._start.asks else text

    def give_password(self, password: Secret) -> None:
        """Answer sudo once. What follows is sent only after the root shell has said that it is there."""
        self._send(password.reveal().encode() + b"\n")
        self._expect_ready(None)
        self._send(self._start.ready.encode() + b"\n")

    def _expect_ready(self, deadline: float | None) -> None:
        """Read up to the first line of the root shell; anything before comes from the login shell or sudo."""
        if self._ready:
            return
        limit = time.monotonic() + _PATIENCE
        with self._greeting:
            while not self._ready:
                try:
                    line = self._line(limit if deadline is None else min(deadline, limit))
                except TimeoutError:
                    if time.monotonic() < limit:
                        raise
                    self.close()
                    output = self.stderr_tail() + self._noise.decode(errors="replace")
                    raise ssh_root.silent(self._access, self._where, output) from None
                if not line:
                    raise self._refusal()
                self._ready = line.rstrip(b"\r\n") == self._start.ready.encode()
                self._noise = (self._noise + line)[-_NOISE:]

    def _refusal(self) -> Trouble:
        status = self.exit_status()
        if self._asked > 1:
            return ssh_root.wrong_password(self._access, self._where)
        output = self.stderr_tail() + self._noise.decode(errors="replace")
        return ssh_root.refused(self._access, self._where, output, status)

    def _line(self, deadline: float | None) -> bytes:
        seen = 0
        while (end := self._buffer.find(b"\n", seen)) < 0:
            seen = len(self._buffer)
            if not self._fill(deadline):
                return self._take(len(self._buffer))
        return self._take(end + 1)

    def _take(self, n: int) -> bytes:
        taken = bytes(self._buffer[:n])
        del self._buffer[:n]
        return taken

    def _fill(self, deadline: float | None) -> bool:
        """Wait for more; False at the end of the output. A line that was lost is a Trouble, not an end."""
        if not self._readable.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
            raise TimeoutError(f"{self._where}: no answer in time")
        try:
            data = self._channel.recv(_MOUTHFUL)
        except BROKEN:
            raise self._far.loss() from None
        self._buffer += data
        if not data and not self._channel.eof_received:
            self._raise_if_lost()
        return bool(data)

    def _raise_if_lost(self) -> None:
        if self._channel.exit_status < 0:
            # Paramiko closes the channels of a broken line before it says that the line is broken.
            self._far.wire.join(_HESITATION)
        trouble = self._far.lost()
        if trouble:
            raise trouble

    def _more_errors(self) -> bytes:
        try:
            return self._channel.recv_stderr(_TAIL)
        except BROKEN:
            return b""

    def _drain_errors(self, ended: Callable[[], None]) -> None:
        while data := self._more_errors():
            self._errors += data
            if self._start.asks and not self._ready:
                self._asked = bytes(self._errors).count(self._start.asks.encode())
                if self._asked > 1:
                    # A second question means that the first answer was wrong: nothing more may be taken for one.
                    self.close()
            del self._errors[:-_TAIL]
        self._channel.status_event.wait()
        ended()


class Collector(threading.Thread):
    """Reads the output of a command while someone else writes to it."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(daemon=True)
        self._pipe, self._out = pipe, bytearray()
        self._trouble: Trouble | None = None
        self.start()

    def run(self) -> None:
        try:
            while data := self._pipe.read():
                self._out += data
                del self._out[:-_TAIL]
        except Trouble as trouble:
            self._trouble = trouble

    def result(self) -> tuple[int, bytes, bytes]:
        """Exit status, end of stdout, end of stderr; a lost line is a Trouble."""
        self.join()
        if self._trouble:
            raise self._trouble
        status = self._pipe.exit_status()
        if status < 0:
            self._pipe._raise_if_lost()
        return status, bytes(self._out), self._pipe.stderr_tail().encode()

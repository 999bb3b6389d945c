"""Standard output and error of a command: a reader that went away or a full disk gives an error, never a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from converge.errors import ERROR, Trouble

_ours = False


class Unwritten(Trouble):
    """The output of a command cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            "what this command has to say cannot be written",
            why=f"standard output: {error.strerror}",
            hint="the same command with its output going elsewhere, to a terminal say",
            code=ERROR,
        )
        self.silent = error.errno in (errno.EPIPE, errno.EIO)
        """The reader is gone: `| head` has its lines, or the terminal was closed."""


class _Out(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise Unwritten(error) from None


class _Complaints(io.FileIO):
    """Standard error: there is nowhere left to tell that it cannot be written.

    Where both streams go to one file or pipe, an error stands behind what led to it.
    """

    def write(self, data: Any) -> int:
        with suppress(Unwritten, RuntimeError):  # reported at the end; a signal came during the write
            sys.stdout.flush()
        try:
            return super().write(data)
        except OSError:
            return len(data)


def take() -> None:
    """Make both streams ours. One that is closed leads to /dev/null, or the next socket would have its number."""
    global _ours
    _ours = True
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _stream(_Out(1, "w", closefd=False), sys.stdout)
    sys.stderr = _stream(_Complaints(2, "w", closefd=False), sys.stderr)


def nobody_reads(error: BaseException) -> bool:
    """Whether `| head` has seen enough of a command that Invoke's own program began; what Python still holds is let go."""
    if _ours or not isinstance(error, BrokenPipeError):
        return False  # of a command of ours this is a line to a host
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _stream(raw: io.FileIO, before: TextIO | None) -> TextIO:
    encoding = before.encoding if before else "utf-8"
    lines = raw.isatty() or isinstance(raw, _Complaints)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=lines)

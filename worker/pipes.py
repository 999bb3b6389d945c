"""Programs that filter large data, and their pipes."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from worker.contract import REFUSED
from worker.errors import Failed

SIZE = 1 << 20
"""The largest pipe for an unprivileged process (/proc/sys/fs/pipe-max-size), 16 times the default."""


BLOCK = 1 << 20


def widen(*pipes: IO[Any] | None) -> None:
    """Enlarges a pipe, which makes a backup 5 % faster. Linux may refuse it if there are many pipes, which does no harm."""
    for pipe in pipes:
        with suppress(OSError):
            assert pipe
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, SIZE)


def through(argv: Sequence[str], data: bytes | bytearray, *pass_fds: int, expect: int = 0) -> tuple[int, bytes, str]:
    """Exit code, output and errors of a program with `data` as input; the output is in memory only once, if it is as long as one can `expect`."""
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=pass_fds
        )
    except OSError as error:
        raise Failed(
            REFUSED,
            f"{argv[0]} cannot be started",
            why=error.strerror or "",
            hint=f"apt install {argv[0].partition('-')[0]}",
        ) from None
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    widen(child.stdin, child.stdout)
    complaint: list[bytes] = []
    feeder = threading.Thread(target=_feed, args=(child, data), daemon=True)
    listener = threading.Thread(target=lambda: complaint.append(child.stderr.read()), daemon=True)  # type: ignore[union-attr]
    # Room for all of it: what grows is copied, and is in memory twice meanwhile.
    output = io.BytesIO(bytes(expect))
    with child:
        feeder.start()
        listener.start()
        while block := os.read(child.stdout.fileno(), BLOCK):
            output.write(block)
        feeder.join()
        listener.join()
    output.truncate()
    return child.returncode, output.getvalue(), b"".join(complaint).decode(errors="replace")


def _feed(child: subprocess.Popen[bytes], data: bytes | bytearray) -> None:
    assert child.stdin is not None
    # A program that refuses its input closes it, and reports by its exit code.
    with suppress(OSError):
        child.stdin.write(data)
    with suppress(OSError):
        child.stdin.close()

"""Pipes that large data goes through."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from typing import IO, Any

SIZE = 1 << 20
"""What an unprivileged process may ask for (/proc/sys/fs/pipe-max-size); a pipe has a sixteenth of it by itself."""


def widen(*pipes: IO[Any] | None) -> None:
    """Fewer turns between two programs: a backup is a twentieth faster. Where root has many pipes, Linux refuses, and nothing is lost."""
    for pipe in pipes:
        with suppress(OSError):
            assert pipe
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, SIZE)

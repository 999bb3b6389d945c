"""Ports of this machine for servers that a test starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def until(true: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Waits for a condition, longer than any machine should need."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"after {seconds:.0f} s there was not yet {what}"
        time.sleep(0.05)


def wait_for(port: int) -> None:
    """Waits until a program listens on the port."""
    for _ in range(2400):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")

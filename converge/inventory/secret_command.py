"""The command that prints a secret: its output and its time have limits, and a long wait is reported."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from pathlib import Path

from converge.record import dataclass
from converge.ui import interrupt

WORD = 10
"""Seconds until a line says what is waited for, and from one such line to the next."""
LIMIT = 300
"""Seconds that a command has: a person may have to find a token and type a PIN."""


class Endless(Exception):
    """The command printed too much, or did not end."""


@dataclass
class Printed:
    code: int
    text: bytes
    complaint: str


def printed(line: str, folder: Path, size: int, limit: float = LIMIT, word: float = WORD) -> Printed:
    """What a command of the shell prints. It has this terminal: a password store may ask there."""
    process = subprocess.Popen(["/bin/sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder)
    interrupt.child(process)
    try:
        return _read(process, line, size, limit, word)
    finally:
        process.kill()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
        process.wait()


def _read(process: subprocess.Popen[bytes], line: str, size: int, limit: float, word: float) -> Printed:
    begun = time.monotonic()
    spoke_at, text, complaint = begun, b"", b""
    with selectors.DefaultSelector() as waiting:
        for pipe in (process.stdout, process.stderr):
            waiting.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type]
        while waiting.get_map() or process.poll() is None:
            ready = waiting.select(0.1) if waiting.get_map() else []
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    waiting.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    text += piece
                else:
                    complaint = (complaint + piece)[-2000:]
            now = time.monotonic()
            if len(text) > size:
                raise Endless(f"it prints more than {size >> 10} KiB")
            if now - begun > limit:
                raise Endless(f"it had not ended after {limit:.0f} s, and was stopped")
            if now - spoke_at > word:
                spoke_at = now
                print(f"waiting for `{line}`, {now - begun:.0f} s", file=sys.stderr, flush=True)
            if not ready and process.poll() is not None:
                break  # what it left behind in the background holds its output open
            if not waiting.get_map():
                time.sleep(0.01)
    return Printed(process.wait(), text, complaint.decode(errors="replace").strip()[-300:])

"""The list of versions that a restore makes, on disk before they are made, so that exactly these can be deleted."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worker.contract import RESTORE_FAILED
from worker.errors import Failed

Line = dict[str, Any]


class Made:
    """A file of lines that only grows; an incomplete last line was not acted on."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock, self._writing = path, threading.Lock(), threading.Lock()
        self._waiting, self._came, self._written, self._broken = b"", 0, 0, False

    def add(self, *lines: Line) -> None:
        """The lines are on disk when this returns. Lines that arrive during a sync share the next one."""
        if not lines:
            return
        with self._lock:
            self._waiting += "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
            self._came += 1
            mine = self._came
        with self._writing:
            if self._written >= mine:
                return
            if self._broken:
                raise Failed(RESTORE_FAILED, f"{self.path} cannot be written", "", "df -h /var/lib/stowage on the host")
            self._broken = True
            with self._lock:
                data, self._waiting, came = self._waiting, b"", self._came
            with open(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._written, self._broken = came, False

    def lines(self) -> Iterator[Line]:
        """The lines, in the order in which they were written."""
        if self.path.exists():
            with self.path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield json.loads(line)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

"""Limits the bytes a second that a run may send."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Rate:
    """Makes callers wait until earlier bytes have had their time; 0 is no limit."""

    def __init__(
        self, limit: int, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._limit, self._now, self._sleep = limit, now, sleep
        self._free_at, self._lock = 0.0, threading.Lock()

    def take(self, size: int) -> None:
        """Returns when these bytes may be sent."""
        if not self._limit:
            return
        with self._lock:
            begin = max(self._now(), self._free_at)
            self._free_at = begin + size / self._limit
            waits = begin - self._now()
        if waits > 0:
            self._sleep(waits)

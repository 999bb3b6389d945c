"""The journal of a run: lines of JSON in a file that outlives the run and that the operator follows."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.contract import FAILED, USAGE
from worker.errors import Failed

PROGRESS_EVERY = 1.0
RECENT = 30.0
"""Seconds over which a rate is taken: known objects pass in no time, and say nothing of how long new ones take."""
GO = "go"
"""A file beside the journal that ends a pause."""


class Journal:
    """Appends events; each is on disk before the work continues. Only the given steps are allowed."""

    def __init__(self, path: Path | str, steps: Collection[str], pause: str | None = None) -> None:
        step, _, after = (pause or "").partition("+")
        if pause and (step not in steps or (after and not after.isdigit())):
            raise Failed(USAGE, f"there is no step called {pause}", why=f"there are {', '.join(steps)}")
        self.path, self._steps, self._pause = Path(path), frozenset(steps), step
        self._within, self._after, self._pieces, self._still = "", int(after or 0), 0, threading.Lock()
        self._lock = threading.Lock()
        self._unit: str | None = None
        self._said_at, self._counted = float("-inf"), deque([(time.monotonic(), 0)])
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._file).st_size
            # A killed run may have left half a line, which must not join the next one.
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise self._lost(error) from None

    def write(self, event: str, **more: Any) -> None:
        """Writes one event; `more` are its other fields."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"at": at, "event": event, **more}, ensure_ascii=False) + "\n"
        with self._lock:
            try:
                data = line.encode("utf-8", "replace")
                if os.write(self._file, data) != len(data):
                    raise OSError(0, "it was written in part")
                os.fsync(self._file)
            except OSError as error:
                raise self._lost(error) from None

    def say(self, text: str) -> None:
        self.write("say", text=text)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Writes the begin and the end of a step; a test can pause the run here until it kills it or lets it continue."""
        if name not in self._steps:
            raise Failed(USAGE, f"{name} is no step of this run", why=f"there are {', '.join(sorted(self._steps))}")
        begun = time.monotonic()
        self.write("begin", step=name)
        self._begin_progress()
        self._within, self._pieces = name, 0
        self._stand_still()
        try:
            yield
        except BaseException as error:
            what = error.what if isinstance(error, Failed) else type(error).__name__
            self.write("end", step=name, seconds=round(time.monotonic() - begun, 3), failed=what)
            raise
        self.write("end", step=name, seconds=round(time.monotonic() - begun, 3))

    def progress(self, done: int, total: int = 0, **more: Any) -> None:
        """Writes the progress at most once a second: bytes or pieces, the rate of the last half minute, and the seconds that
        remain at that rate. A total of 0 is not known; `more` are other fields."""
        now = time.monotonic()
        with self._lock:
            if now - self._said_at < PROGRESS_EVERY:
                return
            self._said_at = now
            rate = self._rate(now, done, str(more.get("pieces", "")))
        remaining = round(max(total - done, 0) / rate) if rate > 0 and total else None
        self.write("progress", done=done, total=total or None, rate=round(rate, 1), remaining=remaining, **more)

    def _rate(self, now: float, done: int, unit: str) -> float:
        """The recent rate. What is counted in another unit, or begins anew, has one of its own."""
        if self._unit not in (None, unit) or (self._counted and done < self._counted[-1][1]):
            self._counted.clear()
        self._unit = unit
        self._counted.append((now, done))
        while len(self._counted) > 2 and now - self._counted[1][0] >= RECENT:
            self._counted.popleft()
        since, before = self._counted[0]
        return (done - before) / (now - since) if now > since else 0.0

    def piece(self) -> None:
        """Marks the begin of a piece of work; if a test has asked for a pause here, all threads wait."""
        if self._after:
            with self._still:
                self._pieces += 1
                self._stand_still()

    def _stand_still(self) -> None:
        if (self._within, self._pieces) == (self._pause, self._after):
            self.write("paused", step=self._within)
            while not self.path.with_name(GO).exists():
                time.sleep(0.1)

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin_progress(self) -> None:
        with self._lock:
            self._said_at, self._unit = float("-inf"), None
            self._counted = deque([(time.monotonic(), 0)])

    def _lost(self, error: OSError) -> Failed:
        why = error.strerror or str(error)
        return Failed(FAILED, f"the journal {self.path} cannot be written", why=why, hint=f"df -h {self.path.parent}")


def read(path: Path | str) -> Iterator[dict[str, Any]]:
    """The events of a journal, without a line that a kill has cut."""
    with open(path, "rb") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                yield event

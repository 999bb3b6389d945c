"""Long work is never silent: a line when it starts, one every few seconds, one when it ends."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY = 8.0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class LongWork:
    """Work that takes long; `note` keeps the last line of its output for the next report."""

    def __init__(self, what: str) -> None:
        self.what, self.last, self.started, self.over = what, "", time.monotonic(), threading.Event()

    def note(self, line: str) -> None:
        self.last = " ".join(line.split())[:90] or self.last

    @property
    def seconds(self) -> int:
        return round(time.monotonic() - self.started)

    def count(self) -> None:
        while not self.over.wait(EVERY):
            say(f"  {self.what}: {self.seconds} s{f', {self.last}' if self.last else ''}")


@contextmanager
def long_work(what: str, takes: str = "") -> Iterator[LongWork]:
    """Count aloud while the block runs; `takes` is what to expect, such as `1-2 minutes`."""
    work = LongWork(what)
    if takes:
        say(f"  {what} ({takes}) ...")
    counter = threading.Thread(target=work.count, daemon=True)
    counter.start()
    try:
        yield work
    finally:
        work.over.set()
        counter.join()
    if takes:
        say(f"  {what}: done in {work.seconds} s")

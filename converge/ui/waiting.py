"""A line on a terminal while something is waited for: silence looks like a hang."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from converge.ui.durations import spoken

FIRST, AGAIN = 4.0, 1.0
"""Seconds before the line is shown, and between its updates."""
WIPE = "\r\033[K"


@contextmanager
def waiting(what: Callable[[], str]) -> Iterator[None]:
    """Says what is waited for and how long, on standard error, and wipes that at the end; nothing without a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    over = Event()
    teller = Thread(target=_tell, args=(what, over), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _tell(what: Callable[[], str], over: Event) -> None:
    begun, pause = time.monotonic(), FIRST
    while not over.wait(pause):
        pause = AGAIN
        sys.stderr.write(f"{WIPE}  {what()}, {spoken(time.monotonic() - begun)}")
        sys.stderr.flush()
    if pause == AGAIN:
        sys.stderr.write(WIPE)
        sys.stderr.flush()

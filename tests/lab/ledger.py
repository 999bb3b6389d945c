"""The time of a test run: seconds by command, shown at its end."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

_SPENT: dict[str, list[float]] = defaultdict(list)
_CPU: list[float] = []


@contextmanager
def spent(what: str) -> Iterator[None]:
    """Counts the seconds of the block under this name."""
    begun = time.monotonic()
    try:
        yield
    finally:
        _SPENT[what].append(time.monotonic() - begun)


def used(seconds: float) -> None:
    """Counts the CPU of a command that is not a child of this process."""
    _CPU.append(seconds)


def table(rows: int = 15) -> list[str]:
    """The commands that took the most time: seconds, how often, and what they are."""
    most = sorted(_SPENT.items(), key=lambda item: -sum(item[1]))[:rows]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(_CPU) + children.ru_utime + children.ru_stime
    lines = [f"{sum(seconds):7.0f} s  {len(seconds):5} x  {what}" for what, seconds in most]
    return [*lines, f"{cpu:7.0f} s of CPU in the commands themselves, without the hosts"]

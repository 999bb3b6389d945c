"""The share of a test's cases for a run: it changes each day and is printed; script/soak takes all."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
DAY = int(time.time() / 86400)


def todays(cases: Sequence[T], parts: int, day: int = DAY, all_of_them: bool = "STOWAGE_COLD" in os.environ) -> list[T]:
    """Today's part of the cases.

    >>> [todays("abcde", 2, day, False) for day in (20784, 20785, 20786)], todays("abcde", 2, 20784, True)
    ([['a', 'c', 'e'], ['b', 'd'], ['a', 'c', 'e']], ['a', 'b', 'c', 'd', 'e'])
    """
    return list(cases) if all_of_them else list(cases[day % parts :: parts])

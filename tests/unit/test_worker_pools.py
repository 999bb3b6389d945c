"""A restore of objects that fails takes back what it has made: nothing may be made after that."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from worker.buckets.pools import Pools
from worker.errors import Failed

LARGE: list[Any] = [{"parts": ["a", "b"]}]


@pytest.fixture
def job() -> Any:
    journal = SimpleNamespace(piece=lambda: None, progress=lambda *_, **__: None)
    return SimpleNamespace(journal=journal, config={"uploads": 2})


@pytest.mark.parametrize("rows", [[], LARGE], ids=["small", "large"])
@pytest.mark.parametrize("failing", [[], LARGE], ids=["small fails", "large fails"])
def test_no_task_makes_anything_after_a_failure_was_told(job, rows, failing):
    made, running = list[int](), threading.Event()

    def slow(number: int) -> int:
        running.set()
        time.sleep(0.2)
        made.append(number)
        return 1

    def fail() -> int:
        running.wait(10)
        raise Failed(41, "a content is damaged", "the hash")

    with Pools(job) as pools:
        tasks = [(rows, lambda: slow(0)), (failing, fail), *((rows, lambda at=at: slow(at)) for at in range(1, 40))]
        with pytest.raises(Failed, match="a content is damaged"):
            pools.all(iter(tasks), 41)
        told = len(made)
        time.sleep(0.5)
        assert len(made) == told < 40
        assert [pools.all(iter([(rows, lambda: 1)]), 1)] == [None]  # the next bucket goes on


def test_what_fails_among_keys_waits_for_those_that_run(job):
    made, running = list[int](), threading.Event()

    def slow() -> None:
        running.set()
        time.sleep(0.3)
        made.append(1)

    def fail() -> None:
        running.wait(10)
        raise Failed(41, "no room", "")

    with Pools(job) as pools:
        with pytest.raises(Failed, match="no room"):
            pools.each(iter([fail, slow]), 2)
        assert made == [1]

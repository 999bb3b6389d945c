"""Thread pools for keys: many small objects at a time, and fewer large ones, of which a piece each is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from worker.buckets.index import Row
from worker.buckets.live import at_once
from worker.job import Job

SMALL = 8
T = TypeVar("T")
Task = Callable[[], object]
Moving = Callable[[], int]
"""A task that gives the bytes that it moved."""


class Pools:
    """Runs tasks for keys, and reports progress by the bytes that they return."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._small = ThreadPoolExecutor(SMALL, "small")
        self._large = ThreadPoolExecutor(job.config["uploads"], "large")

    def __enter__(self) -> Pools:
        return self

    def __exit__(self, *_: object) -> None:
        self._small.shutdown(cancel_futures=True)
        self._large.shutdown(cancel_futures=True)

    def all(self, tasks: Iterable[tuple[Sequence[Row], Moving]], total: int) -> None:
        """Runs every task with its rows, `total` bytes in all; the first failure ends it."""
        done = 0
        for size in at_once(self._small, self._sorted(tasks)):
            done += size
            self._job.journal.progress(done, max(done, total))

    def each(self, tasks: Iterable[Task], total: int) -> None:
        """Runs every task, `total` keys in all, that moves no content."""
        for done, _ in enumerate(at_once(self._small, (partial(self._piece, task) for task in tasks)), 1):
            self._job.journal.progress(done, max(done, total), pieces="keys")

    def _sorted(self, tasks: Iterable[tuple[Sequence[Row], Moving]]) -> Iterator[Moving]:
        for rows, task in tasks:
            piece = partial(self._piece, task)
            yield self._large.submit(piece).result if any("parts" in row for row in rows) else piece

    def _piece(self, task: Callable[[], T]) -> T:
        self._job.journal.piece()
        return task()

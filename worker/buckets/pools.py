"""Thread pools for keys: many small objects at a time, and fewer large ones, of which a piece each is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
        """Runs every task with its rows, `total` bytes in all; the first failure ends it, once no task runs any more."""
        done, failed, large = 0, list[BaseException](), set[Future[int]]()
        try:
            for size in at_once(self._small, self._sorted(tasks, failed, large)):
                done += size
                self._job.journal.progress(done, max(done, total))
        except BaseException as error:
            failed.append(error)  # those that wait for a thread end at once
            raise
        finally:
            wait(list(large))

    def each(self, tasks: Iterable[Task], total: int) -> None:
        """Runs every task, `total` keys in all, that moves no content."""
        failed = list[BaseException]()
        pieces = (partial(self._piece, task, failed) for task in tasks)
        for done, _ in enumerate(at_once(self._small, pieces), 1):
            self._job.journal.progress(done, max(done, total), pieces="keys")

    def _sorted(
        self, tasks: Iterable[tuple[Sequence[Row], Moving]], failed: list[BaseException], large: set[Future[int]]
    ) -> Iterator[Moving]:
        for rows, task in tasks:
            piece = partial(self._piece, task, failed)
            if any("parts" in row for row in rows):
                future = self._large.submit(piece)
                large.add(future)
                future.add_done_callback(large.discard)
                yield future.result
            else:
                yield piece

    def _piece(self, task: Callable[[], T], failed: list[BaseException]) -> T:
        if failed:
            raise failed[0]
        try:
            self._job.journal.piece()
            return task()
        except BaseException as error:
            failed.append(error)
            raise

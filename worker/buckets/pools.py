"""Many keys at once: small objects beside each other, and of large ones, which are held in memory a piece at a time, fewer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from worker.buckets.index import Row
from worker.buckets.live import at_once
from worker.job import Job

SMALL = 8
Task = Callable[[], int | None]


class Pools:
    """Does what it is given for each key, and says how far it is by the bytes that come back."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._small = ThreadPoolExecutor(SMALL, "small")
        self._large = ThreadPoolExecutor(job.config["uploads"], "large")

    def __enter__(self) -> Pools:
        return self

    def __exit__(self, *_: object) -> None:
        self._small.shutdown(cancel_futures=True)
        self._large.shutdown(cancel_futures=True)

    def all(self, tasks: Iterable[tuple[Sequence[Row], Task]], total: int) -> None:
        """Every task, with the rows whose contents it moves, of so many bytes in all; the first failure ends it."""
        done = 0
        for size in at_once(self._small, self._sorted(tasks)):
            done += size or 0
            self._job.journal.progress(done, max(done, total))

    def each(self, tasks: Iterable[Task], total: int) -> None:
        """Every task, of so many keys, where no content is moved."""
        for done, _ in enumerate(at_once(self._small, (partial(self._piece, task) for task in tasks)), 1):
            self._job.journal.progress(done, max(done, total), pieces="keys")

    def _sorted(self, tasks: Iterable[tuple[Sequence[Row], Task]]) -> Iterator[Task]:
        for rows, task in tasks:
            piece = partial(self._piece, task)
            yield self._large.submit(piece).result if any("parts" in row for row in rows) else piece

    def _piece(self, task: Task) -> int | None:
        self._job.journal.piece()
        return task()

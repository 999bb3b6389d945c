"""Many keys at once: small objects beside each other, and of large ones, which are held in memory a piece at a time, fewer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

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

    def all(self, tasks: Iterable[tuple[Sequence[Row], Task]], total: int = 0) -> None:
        """Every task, with the rows whose contents it moves; the first failure ends it."""
        done = 0
        for size in at_once(self._small, self._sorted(tasks)):
            done += size or 0
            self._job.journal.progress(done, max(done, total))

    def _sorted(self, tasks: Iterable[tuple[Sequence[Row], Task]]) -> Iterator[Task]:
        for rows, task in tasks:
            yield self._large.submit(task).result if any("parts" in row for row in rows) else task

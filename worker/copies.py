"""The targets of a run: what is done with all that live, and what is told of those that were given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from worker import retention
from worker.contract import COPY_FAILED, FAILED
from worker.errors import Failed
from worker.job import Job


def on_each(job: Job, do: Callable[[Any], object], code: int = FAILED) -> None:
    """Does something with every target that lives, at once; the last one that dies ends the run."""
    with ThreadPoolExecutor(max(1, len(job.alive))) as pool:
        asked = {target.name: pool.submit(do, target) for target in job.alive}
    for name, future in asked.items():
        error = future.exception()
        if isinstance(error, Failed):
            died(job, name, error)
        elif error:
            raise error
    if not job.alive:
        # Why, stands with each target: job.dead is told with the end.
        ways = "\n".join(f"{name}: {way}" for name, way in job.ways.items())
        raise Failed(code, "no target takes a backup", hint=ways or "inv status")


def died(job: Job, name: str, error: Failed) -> None:
    if error.hint:
        job.ways[name] = error.hint
    job.dead[name] = error.words(name)
    job.journal.say(f"the target {name} is given up: {job.dead[name]}")


def lacks_copies(job: Job) -> Failed:
    """What is told of a set that is not on every target; why it is not stands with the targets themselves."""
    lacking = ", ".join(job.dead)
    what = f"the set is on {', '.join(target.name for target in job.alive)}, and not on {lacking}"
    ways = [f"{name}: {way}" for name, way in job.ways.items()]
    return Failed(COPY_FAILED, what, hint="\n".join([*ways, f"then, for a set that is on {lacking}, too: inv backup"]))


def take_away(job: Job, dropped: Iterable[str]) -> None:
    """What had arrived on a target that was given up is no set, and takes room that the next one needs."""
    for name in dropped:
        with suppress(Failed):
            if gone := retention.take_away(job.pruner(name), job.stack, job.run):
                job.journal.say(f"{name}: {gone} parts of this set had arrived, and were taken away")

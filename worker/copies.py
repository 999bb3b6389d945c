"""The live targets of a run, and the report of those that were given up."""

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
    """Runs a function for every live target at the same time; when the last target dies the run ends."""
    with ThreadPoolExecutor(max(1, len(job.alive))) as pool:
        asked = {target.name: pool.submit(do, target) for target in job.alive}
    for name, future in asked.items():
        error = future.exception()
        if isinstance(error, Failed):
            died(job, name, error)
        elif error:
            raise error
    if not job.alive:
        # The end of the run reports the reasons, from job.dead.
        ways = "\n".join(f"{name}: {way}" for name, way in job.ways.items())
        raise Failed(code, "no target takes a backup", hint=ways or "inv status")


def died(job: Job, name: str, error: Failed) -> None:
    if error.hint:
        job.ways[name] = error.hint
    job.dead[name] = error.one_line(name)
    job.journal.say(f"the target {name} is given up: {job.dead[name]}")


def lacks_copies(job: Job) -> Failed:
    """The error for a set that some targets lack; the reasons are reported with the targets."""
    lacking = ", ".join(job.dead)
    what = f"the set is on {', '.join(target.name for target in job.alive)}, and not on {lacking}"
    ways = [f"{name}: {way}" for name, way in job.ways.items()]
    return Failed(COPY_FAILED, what, hint="\n".join([*ways, f"then, for a set that is on {lacking}, too: inv backup"]))


def take_away(job: Job, dropped: Iterable[str]) -> None:
    """Removes the incomplete set from a target that was given up, to free the room."""
    for name in dropped:
        with suppress(Failed):
            if gone := retention.take_away(job.pruner(name), job.stack, job.run):
                job.journal.say(f"{name}: {gone} parts of this set had arrived, and were taken away")

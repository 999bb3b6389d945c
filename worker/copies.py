"""The live targets of a run, and the report of those that were given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from worker import retention
from worker.contract import COPY_FAILED, FAILED
from worker.errors import Failed
from worker.job import Job
from worker.parts import PartWriter
from worker.targets.base import Full


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
    if error.code == FAILED and not isinstance(error, Full):
        job.silent.add(name)
    job.journal.say(f"the target {name} is given up: {job.dead[name]}")


def lacks_copies(job: Job) -> Failed:
    """The error for a set that some targets lack; the reasons are reported with the targets."""
    lacking = ", ".join(job.dead)
    what = f"the set is on {', '.join(target.name for target in job.alive)}, and not on {lacking}"
    ways = [f"{name}: {way}" for name, way in job.ways.items()]
    return Failed(COPY_FAILED, what, hint="\n".join([*ways, f"then, for a set that is on {lacking}, too: inv backup"]))


@contextmanager
def writing(job: Job, writer: PartWriter) -> Iterator[None]:
    """Writes a set; when no target is left, full ones are freed of what had arrived."""
    try:
        with writer:
            yield
    except Failed:
        free(job, writer.dropped)
        raise


def free(job: Job, dropped: Mapping[str, Failed]) -> None:
    """Takes what had arrived of this set away from the targets that ran full: they need the room, and no set needs it."""
    for name in (name for name, error in dropped.items() if isinstance(error, Full)):
        try:
            pruner = job.pruner(name)
            parts = retention.take_away(pruner, job.stack, job.run)
            contents = retention.sweep_contents(job, pruner)
        except Failed as error:
            job.journal.say(f"{name}: what had arrived of this set stays: {error.one_line(name)}")
            continue
        if parts or contents:
            job.journal.say(f"{name}: {parts} parts and {contents} contents that no set needs were taken away")

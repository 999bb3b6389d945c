"""Whether the containers that a run has started answer, each asked as a deploy asks it, within its own limit."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from worker import host
from worker.job import Job

EVERY = 10
"""Seconds of silence at most."""


def silent(job: Job, started: Sequence[str]) -> list[str]:
    """Waits until all of them answer; gives a line for each that does not. One whose page has no `answers` is not asked."""
    asks = {name: ask for name, ask in job.config.get("answers", {}).items() if name in started}
    if not asks:
        return []
    with ThreadPoolExecutor(len(asks), "answer") as pool:
        asked = {name: pool.submit(host.run, job, "sh", "-c", ask) for name, ask in asks.items()}
        while pending := [name for name, answer in asked.items() if not answer.done()]:
            job.journal.say(f"waiting until {', '.join(pending)} answer{'s' * (len(pending) == 1)}")
            wait([asked[name] for name in pending], EVERY)
        lines = []
        for name, answer in asked.items():
            status, output, complaint = answer.result()
            if status:
                lines.append(f"{name} was started and does not answer: {(output + complaint).strip()[-500:]}")
    return lines

"""A backup of buckets, against `mc mirror`, rclone and restic, and the way back. All of it on the lab host, to a second MinIO.

A dozen minutes for `ROUNDS=2`; after `MINUTES`, if given, nothing more is begun. The results are written after each measurement.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from subprocess import SubprocessError

from checkout import lab
from measure import Failed, Times, table, verdict, write
from two_servers import LARGE, MIB, OBJECTS, RCLONE, SEVERAL, SMALL, WARM, Contender, Servers, mirror, servers

ROUNDS = int(os.environ.get("ROUNDS", "3"))
MINUTES = float(os.environ.get("MINUTES", "inf"))
OURS, MC = "Stowage", "mc mirror"
MUCH_SLOWER = 1.5
HEAD = [
    "From the stack's MinIO of four nodes to a second MinIO on the same host, which is the same for all. Ours is a run of the worker from the",
    "start of its unit to its end, with a quarter of a container's weight of CPU: it encrypts, packs, and writes an index with versions, tags and",
    "locks. `mc mirror` and `rclone copy --transfers 16` copy what is current, in clear; restic encrypts, and reads files of `rclone mount`. To warm",
    "up, each has copied two small objects. A peer that took half as long again as the best of them is not asked again.",
]


@dataclass
class Sentence:
    """One thing that is promised, and who does it."""

    title: str
    contenders: dict[str, Contender]
    promise: Callable[[float, float], str]
    """Compares the seconds of ours with those of the best peer."""
    remark: str = ""
    times: dict[str, Times] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.times = {name: Times() for name in self.contenders}

    def ask(self, name: str, number: int) -> None:
        """One run of a contender, unless it has failed before or is much slower than another peer."""
        times = self.times[name]
        if times.failure or (name != OURS and times.median > MUCH_SLOWER * self._best()):
            return
        try:
            times.seconds.append(self.contenders[name]())
        except (Failed, OSError, SubprocessError, ValueError) as error:
            times.failure = f"round {number}: {error}"
        print(f"{number}: {self.title}: {name} {times.failure or f'{times.seconds[-1]:.2f} s'}", file=sys.stderr)

    def lines(self) -> list[str]:
        asked = {name: times for name, times in self.times.items() if times.seconds or times.failure}
        if not asked:
            return []
        compared = self.promise(self.times[OURS].median, self._best())
        return ["", f"### {self.title}", *([self.remark] if self.remark else []), "", *table(asked), "", compared]

    def _best(self) -> float:
        medians = [times.median for name, times in self.times.items() if name != OURS]
        return min((median for median in medians if median == median), default=float("nan"))


def main() -> None:
    begun, read = time.monotonic(), float("nan")
    with servers(lab()) as both:
        warming = _first(both, WARM, "to warm up")
        for name in warming.contenders:
            warming.ask(name, 0)
        sentences = _sentences(both)
        print(f"prepared within {time.monotonic() - begun:.0f} s", file=sys.stderr)
        for number in range(1, ROUNDS + 1):
            for sentence in sentences:
                for name in sentence.contenders:
                    if time.monotonic() - begun < MINUTES * 60:
                        sentence.ask(name, number)
                        _written(sentences, read)
            if read != read and time.monotonic() - begun < MINUTES * 60:
                read = _read(both)
    _written(sentences, read)
    print(f"done within {time.monotonic() - begun:.0f} s", file=sys.stderr)


def _sentences(both: Servers) -> list[Sentence]:
    return [
        _first(both, LARGE, f"{MIB} MiB in objects of 64 MiB, for the first time"),
        _first(both, SMALL, f"{OBJECTS} objects of 10 KB, for the first time"),
        Sentence(
            f"the {OBJECTS} once more, of which nothing has changed",
            {OURS: both.saved_again, MC: both.mirrored_again},
            lambda ours, peer: verdict("to `mc mirror` with nothing to do", ours / peer, 3.0),
        ),
        Sentence(
            f"the {OBJECTS} back, into a bucket that was not there",
            {OURS: both.restored, MC: both.mirrored_back},
            lambda ours, peer: verdict("rate to `mc mirror`", peer / ours, 0.9, most=False),
            "Ours decrypts, keeps a list of what it makes on the disk, and reads each object back.",
        ),
    ]


def _first(both: Servers, bucket: str, title: str) -> Sentence:
    """A bucket that nobody has copied before. What a contender does once for all buckets is not counted."""
    contenders: dict[str, Contender] = {
        OURS: partial(both.saved, bucket),
        MC: partial(both.copied, bucket, mirror(bucket)),
        "rclone copy": partial(both.copied, bucket, f"{RCLONE} copy {SEVERAL} src:{bucket} dst:COPY"),
        "restic, over a mount of rclone": partial(both.kept, bucket),
    }
    return Sentence(
        title,
        contenders,
        lambda ours, peer: verdict("rate to the best of them", peer / ours, 0.9, most=False),
    )


def _read(both: Servers) -> float:
    try:
        return both.read()
    except (Failed, OSError, SubprocessError, ValueError) as error:
        print(f"objects that are read: {error}", file=sys.stderr)
        return float("nan")


def _written(sentences: list[Sentence], read: float) -> None:
    lines = [line for sentence in sentences for line in sentence.lines()]
    counted = verdict("objects that a second run reads, by `mc admin trace`", read, 0)
    write("objects", "A backup and a restore of buckets", [*HEAD, *lines, "", counted], show=False)


if __name__ == "__main__":
    main()

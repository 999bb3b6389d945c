"""What the benchmarks share: turns, medians, and bench/RESULTS.md, which only they write."""

from __future__ import annotations

import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Asked to end, a benchmark ends what it started and removes its copies, in which there are secrets.
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))

# Without its cache of compiled code, Python would compile our modules for each run, but not those that pip compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

INV = "./inv"
"""As people type it, in the folder of a checkout."""
RESULTS = ROOT / "bench" / "RESULTS.md"
ROUNDS = int(os.environ.get("ROUNDS", "7"))
HEAD = """# What was measured

Written by `bench/run`; the text is part of it, the figures are never edited. Each figure is the median of its rounds, and the
contenders of one table took turns (A B C A B C ...) in one go, so that a busy moment of the machine meets all of them. Ratios are
ratios of medians.
"""


@dataclass
class Times:
    """The seconds that one contender took, and why it was left out, if so."""

    seconds: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds and not self.failure else float("nan")


class Failed(Exception):
    """A contender that did not do what was to be measured."""


def turns(contenders: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, Times]:
    """Let contenders take turns, one round to warm up, then `rounds` that count. One that gives a number timed itself."""
    times_of = {name: Times() for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            if times_of[name].failure:
                continue
            begun = time.perf_counter()
            try:
                given = run()
            except (Failed, OSError, subprocess.SubprocessError) as error:
                times_of[name].failure = f"round {number}: {error}"
                continue
            took = given if isinstance(given, float) else time.perf_counter() - begun
            if number:
                times_of[name].seconds.append(took)
        print(f"\r{number}/{rounds} ", end="", file=sys.stderr, flush=True)
    print(
        ", ".join(f"{name} {times.failure or f'{times.median:.2f} s'}" for name, times in times_of.items()),
        file=sys.stderr,
    )
    return times_of


def run(argv: Sequence[object], expect: str = "", **options: object) -> str:
    """Run a command; its output must match `expect`, and its exit status be 0."""
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, **{"stdin": subprocess.DEVNULL} | options
    )  # type: ignore[call-overload]
    output = done.stdout + done.stderr
    if done.returncode or not re.search(expect, output):
        raise Failed(f"{Path(str(argv[0])).name} ended with {done.returncode}: {output.strip()[-400:]}")
    return str(done.stdout)


def table(contenders: Mapping[str, Times], unit: float = 1.0, decimals: int = 2, what: str = "seconds") -> list[str]:
    """One line a contender: median, fastest, slowest, rounds."""
    lines = [f"| contender | median, {what} | fastest | slowest | rounds |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, times in contenders.items():
        if times.failure:
            lines.append(f"| {name} | failed | | | {len(times.seconds)} |")
            continue
        values = [
            f"{seconds * unit:.{decimals}f}" for seconds in (times.median, min(times.seconds), max(times.seconds))
        ]
        lines.append(f"| {name} | {' | '.join(values)} | {len(times.seconds)} |")
    return lines + [
        f"\n{name} failed: `{' '.join(times.failure.split())}`" for name, times in contenders.items() if times.failure
    ]


def verdict(what: str, ratio: float, wanted: float, most: bool = True) -> str:
    """A line that compares a ratio with its goal."""
    if ratio != ratio:
        return f"- {what}: not measured"
    held = ratio <= wanted if most else ratio >= wanted
    return f"- {what}: **{ratio:.2f}** (wanted: at {'most' if most else 'least'} {wanted:g}): {'held' if held else 'MISSED'}"


def write(name: str, title: str, lines: Sequence[str], show: bool = True) -> None:
    """Put a section in the place of its last version."""
    text = RESULTS.read_text() if RESULTS.exists() else HEAD
    stamp = f"*{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {_commit()}, {machine()}*"
    section = "\n".join([f"<!-- {name} -->", f"## {title}", "", stamp, "", *lines, f"<!-- /{name} -->", ""])
    old = re.compile(rf"<!-- {name} -->\n.*<!-- /{name} -->\n", re.DOTALL)
    text = old.sub(lambda _: section, text) if old.search(text) else f"{text}\n{section}"
    RESULTS.write_text(text)
    if show:
        print("\n".join(lines))


def _commit() -> str:
    def git(*argv: str) -> str:
        return subprocess.run(["git", *argv], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git(
        "status", "--porcelain", "--", "converge", "roles", "runbook", "templates", "files", "tasks.py", "inv"
    )
    return git("rev-parse", "--short", "HEAD") + (" with changes that are not committed" if changed else "")


def machine() -> str:
    """The machine in a line: what a reader needs to weigh the figures."""
    model = (
        re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    cpu = model[1] if model else platform.processor()
    return f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, {platform.system()} {platform.release()}, Python {platform.python_version()}, load {load}"

"""Interrupts a command at a random moment, and reports how it ended.

A terminal sends SIGINT and SIGHUP to all processes of a command; SIGTERM only goes to the process itself.

python tests/interrupter.py RUNS LONGEST SIGNAL COMMAND...      (such as 100 2.5 INT ./inv check)
"""

from __future__ import annotations

import collections
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 20


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it left running in its session."""

    after: float
    code: int | None
    output: str
    took: float
    left: tuple[str, ...]

    def faults(self, number: int) -> list[str]:
        """What is wrong with the end; nothing if the command ended by itself before the signal."""
        lines = self.output.strip().splitlines()
        faults = ["something is left: " + ", ".join(self.left)] if self.left else []
        if self.code is None:
            return [*faults, "it hangs"]
        if "Traceback" in self.output or "Exception ignored" in self.output:
            return [*faults, "a traceback"]
        if self.code == -number:
            return [*faults, "no line: the signal ended it before it could say anything"]
        if self.code == 128 + number and len(lines) != 1 and number != signal.SIGHUP:  # nobody is left to read
            faults.append(f"{len(lines)} lines")
        if self.took > 10:
            faults.append(f"it took {self.took:.1f} s to end")
        return faults


def interrupted(
    command: list[str],
    after: float,
    number: int = signal.SIGINT,
    folder: Path | None = None,
    meanwhile: Callable[[float], object] = time.sleep,
) -> Outcome:
    """Sends the signal to a command after so many seconds."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder,
        start_new_session=True, preexec_fn=_listening,
    )  # fmt: skip
    meanwhile(after)
    send = os.kill if number == signal.SIGTERM else os.killpg
    send(process.pid, number)  # not waited for yet, so its pid is not reused
    begun = time.monotonic()
    try:
        _, output = process.communicate(timeout=PATIENCE)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        code, output = None, b""
    took, left = time.monotonic() - begun, _left(process.pid)
    if code is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return Outcome(after, code, output.decode(errors="replace"), took, left)


def _listening() -> None:
    """Restores the defaults: background processes of a script ignore SIGINT, and so would their children."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _left(session: int) -> tuple[str, ...]:
    """The processes of a session that still run, a moment after its leader has ended."""
    time.sleep(0.05)
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue
        state, _, _, its_session = rest.split()[:4]
        if int(its_session) == session and state != "Z" and stat.parent.name != str(session):
            names.append(name)
    return tuple(names)


def main(runs: str, longest: str, name: str, *command: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    codes: collections.Counter[str] = collections.Counter()
    slowest = 0.0
    for _ in range(int(runs)):
        outcome = interrupted(list(command), random.uniform(0, float(longest)), number)
        codes[str(outcome.code)] += 1
        slowest = max(slowest, outcome.took)
        for fault in outcome.faults(number):
            codes[fault] += 1
            print(f"after {outcome.after:.3f} s: {fault}\n{outcome.output}", flush=True)
    print(f"{' '.join(command)}, {name}: {dict(codes)}, the slowest end {slowest:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])

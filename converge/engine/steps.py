"""Apply: the changes of one role carried out on its host, reported as each ends, read back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from converge.engine.plan import Change
from converge.engine.resource import Call, Send, Shell, Step
from converge.errors import Trouble
from converge.record import dataclass
from converge.shell import quote
from converge.ssh.root_shell import STOP, RootShell

if TYPE_CHECKING:
    from converge.ssh.link import Link

TAIL = 12
"""Lines of a failed step's output that are shown."""
FORESEEN = 16 << 20
"""Bytes sent before the time left is shown: a large image starts slowly, and the first estimate would be thousands of seconds."""


@dataclass
class Done:
    """What became of a role's changes."""

    done: list[Change] = field(default_factory=list)
    failed: Change | None = None
    why: str = ""
    hint: str = ""
    """What the step itself says that a person may type."""
    left: list[Change] = field(default_factory=list)
    stopped: bool = False


Report = Callable[[str, Change, str], None]
"""Told of a change: "begin", "says" with a line, "end" or "failed"."""


@dataclass(frozen=True)
class _Part:
    """Neighbouring shell steps that travel in one frame, or one step that is not shell."""

    steps: tuple[tuple[Change, Step], ...]


def parts(changes: Sequence[Change]) -> Iterator[_Part]:
    """The steps of the changes, cut where something else than shell is to be done."""
    shell: list[tuple[Change, Step]] = []
    for change in changes:
        for step in change.resource.fix(change.before):
            if isinstance(step, Shell):
                shell.append((change, step))
                continue
            if shell:
                yield _Part(tuple(shell))
                shell = []
            yield _Part(((change, step),))
    if shell:
        yield _Part(tuple(shell))


def carry_out(shell: RootShell, link: Link, changes: Sequence[Change], report: Report) -> Done:
    """Carry out changes in their order; stop at the first that fails, or where a person asked to stop."""
    result = Done()
    open_changes = list(changes)
    seen: list[Change] = []

    def finish_up_to(change: Change | None) -> None:
        while open_changes and open_changes[0] is not change:
            finished = open_changes.pop(0)
            result.done.append(finished)
            report("end", finished, "")

    for part in parts(changes):
        why = hint = ""
        first = part.steps[0][0]
        finish_up_to(first)
        if isinstance(part.steps[0][1], Shell):
            why = _run_shell(shell, part, seen, finish_up_to, report)
        else:
            why = "" if first in seen or not shell.run(f"[ ! -e {STOP} ]")[0] else "stopped"
            if not why:
                if first not in seen:
                    seen.append(first)
                    report("begin", first, part.steps[0][1].says)
                try:
                    why, hint = _run_other(link, part.steps[0][1], first, report)
                except Exception as error:
                    _must_be_there(shell, link, type(error).__name__)
                    raise
                if why:
                    _must_be_there(shell, link, why)
        if why:
            result.stopped = why == "stopped"
            result.failed = None if result.stopped else open_changes[0]
            result.why, result.hint = why, hint
            result.left = open_changes[0 if result.stopped else 1 :]
            if result.failed:
                report("failed", result.failed, why)
            return result
    finish_up_to(None)
    return result


def _must_be_there(shell: RootShell, link: Link, why: str) -> None:
    """When the line is gone, raise that: a library reports only what followed from it."""
    if not link.alive():
        raise shell.lost(why)
    shell.run(":")  # a line that broke a moment ago still looks alive: nothing comes back through it


def _run_shell(
    shell: RootShell, part: _Part, seen: list[Change], finish_up_to: Callable[[Change | None], None], report: Report
) -> str:
    """Run one frame of steps; an empty answer is success."""
    tail: list[str] = []
    current: list[Change] = []
    stopped: list[Change] = []

    def on_line(line: str) -> None:
        if line.startswith(f"@{shell.marker} "):
            _, number, *stop = line.split(" ")
            change = part.steps[int(number)][0]
            current[:] = [change]
            tail.clear()
            finish_up_to(change)
            if stop:
                stopped.append(change)
            elif change not in seen:
                seen.append(change)
                report("begin", change, "")
        elif line.strip():
            tail.append(line)
            report("says", current[0] if current else part.steps[0][0], line)

    status, _ = shell.run(frame(part, shell.marker), on_line)
    if stopped:
        return "stopped"
    return "" if status == 0 else "\n".join([f"ended with status {status}", *tail[-TAIL:]])


def frame(part: _Part, marker: str) -> str:
    """The script of neighbouring steps. Each is announced by a line; a failed one ends the script."""
    lines = []
    before: Change | None = None
    for number, (change, step) in enumerate(part.steps):
        assert isinstance(step, Shell)
        if change is not before:
            lines.append(f"[ ! -e {STOP} ] || {{ printf '@%s %s stop\\n' {quote(marker)} {number}; exit 130; }}")
            before = change
        lines.append(f"printf '@%s %s\\n' {quote(marker)} {number} || exit 141")
        # Not `( ... ) || exit`: a shell ignores `set -e` on the left of `||`.
        lines.append(f"( set -e\n{step.script}\n) 2>&1\nstatus=$?; [ $status = 0 ] || exit $status")
    return "\n".join(lines)


def _run_other(link: Link, step: Step, change: Change, report: Report) -> tuple[str, str]:
    """Run a stream or an API call: what went wrong, and what a person may type; both empty after a success."""
    if isinstance(step, Call):
        try:
            step.run(link)
        except Trouble as trouble:
            return "\n".join(part for part in (trouble.what, trouble.why) if part), trouble.hint
        return "", ""
    assert isinstance(step, Send)
    sent = _Progress(step.size, lambda text: report("says", change, text))
    status, out, err = link.send(step.command, step.source(), sent)
    if status == 0:
        return "", ""
    return "\n".join([f"ended with status {status}", (out + err).decode(errors="replace")[-600:]]), ""


class _Progress:
    """Counts bytes and says so every few seconds."""

    def __init__(self, size: int, say: Callable[[str], None]) -> None:
        import time

        self.size, self.say, self.clock = size, say, time.monotonic
        self.begun = self.last = self.clock()
        self.sent = 0

    def __call__(self, more: int) -> None:
        self.sent += more
        now, sent = self.clock(), self.sent
        if now - self.last < 3 or sent < FORESEEN:
            return
        self.last = now
        rate = sent / max(now - self.begun, 0.001)
        remaining = f", {(self.size - sent) / rate:.0f} s left" if self.size and rate else ""
        self.say(f"{sent / 1e6:.0f} of {self.size / 1e6:.0f} MB, {rate / 1e6:.0f} MB/s{remaining}")

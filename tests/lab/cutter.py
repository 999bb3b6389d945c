"""An operator for tests only: `inv deploy --yes`, in this process, which pauses at one named place of one step.

`python -m tests.lab.cutter` in a clone, with the orders as JSON on the command line:

    host    whom to deploy to
    steps   every step in its order, as [address, number]; a run never goes further than its place
    at      the number of the step that is cut; -1 is no cut
    where   before, inside or after
    share   inside: how far into the step it is killed, from 0 to 1
    seconds how long the step takes when nothing cuts it
    through a local port to which to connect instead of the host's own
    silence seconds after which the shell on the host ends by itself

It says `CUT "..."` on a line of its own once it stands still, and after the end what each change took: `TOOK {...}`.
With `list` instead of a cut it only says the steps of the plan in their order: `STEPS [...]`.

What is patched is patched from the outside: `frame` of `converge.engine.steps`, `carry_out` of `converge.engine.apply`, and what carries out single
steps. The product knows nothing of this. Whoever waits on the host says so every tenth of a second, so it ends by
itself with its connection, as a step that comes to its end would; then the script goes on as far as it may.
"""

from __future__ import annotations

import faulthandler
import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converge.engine import apply, run
from converge.engine import steps as carrying
from converge.engine.plan import Change
from converge.engine.resource import Call, Send, Step
from converge.ssh import link as ssh
from converge.ssh import root_shell

PAUSED = "stowage-cut stands"
SHORT = 0.25
"""Seconds up to which the way through a script is counted in commands, for a clock is too coarse."""


@dataclass
class Cut:
    """The place of the cut, and the progress of the run."""

    steps: list[tuple[str, int]]
    at: int
    where: str
    share: float
    seconds: float
    numbers: dict[str, int] = field(default_factory=dict)
    stands: bool = False
    begun: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def place(self, change: Change) -> str:
        """Where to stop at the next step of a change, empty to go on; a step after the requested place is an error."""
        number = self.numbers[change.address] = self.numbers.get(change.address, -1) + 1
        step = (change.address, number)
        if self.at < 0 or self.stands or step not in self.steps:
            return ""
        position = self.steps.index(step)
        if position < self.at:
            return ""
        self.stands = True
        return self.where if position == self.at else "too far"


def say(word: str, what: Any) -> None:
    print(word, json.dumps(what), flush=True)


def pause(how: str) -> str:
    """Shell that pauses until its connection ends, and has no other effect."""
    return (
        f"( trap '' PIPE; n=0; while [ $n -lt 3000 ] && printf '{PAUSED} %s\\n' {how} 2>/dev/null; "
        "do n=$((n + 1)); sleep 0.1; done )"
    )


def cut_script(script: str, where: str, cut: Cut) -> str:
    """The script of a step with a pause in it or at its end."""
    if where == "after":
        # In a subshell, so that its `exit` and its trap have run when the pause begins.
        return f"( set -e\n{script}\n)\n{pause('after')}"
    end = "END_" + secrets.token_hex(8)
    unquoted = re.sub(r"'[^']*'", "", script.strip())
    commands = max(1, round(len(re.findall(r"[;\n|&]+", unquoted)) * cut.share))
    if cut.seconds < SHORT and commands > 1:
        how = f"trap 'n=$((${{n:-0}} + 1)); [ $n -le {commands} ] || kill -KILL -$$' DEBUG\n"
        start = "setsid -w bash"
    else:
        how, start = "", f"timeout -s KILL {max(0.002, cut.seconds * cut.share):.3f} sh"
    return f"""
mkdir -p -m 0700 /run/stowage-cut
cat >/run/stowage-cut/step <<'{end}'
{how}set -e
{script}
{end}
status=0; {start} /run/stowage-cut/step || status=$?
{pause("inside-$status")}
exit $status
"""


def frames(cut: Cut) -> Callable[[Any, str], str]:
    original = carrying.frame

    def frame(part: Any, marker: str) -> str:
        steps: list[tuple[Change, Step]] = []
        first = None
        for number, (change, step) in enumerate(part.steps):
            where = cut.place(change)
            if where in ("before", "too far"):
                first = number, where
            elif where:
                step = replace(step, script=cut_script(step.script, where, cut))
            steps.append((change, step))
        script = original(replace(part, steps=tuple(steps)), marker)
        if first:
            # The line of the script that reports the begin of the step, or ends the script without a listener.
            head, question, tail = script.partition(f"printf '@%s %s\\n' {marker} {first[0]} ||")
            assert question
            script = f"{head}\n{pause(first[1].replace(' ', '-'))}\n{question}{tail}"
        return script

    return frame


def stand(how: str) -> None:
    """Pauses on the operator's side until a line of input."""
    say("CUT", how)
    sys.stdin.readline()


def others(cut: Cut) -> Callable[..., str]:
    """Cuts streams between two bytes, and API calls between two requests."""
    original = carrying._run_other

    def run_other(link: Any, step: Step, change: Change, report: Any) -> str:
        where = cut.place(change)
        if where in ("before", "too far"):
            stand(where)
        if where == "inside" and isinstance(step, Send):
            step = replace(step, source=lambda source=step.source, size=step.size: half(source(), size * cut.share))
        if where == "inside" and isinstance(step, Call):
            step = replace(step, run=lambda link, do=step.run: between_requests(link, do))
        result = original(link, step, change, report)
        if where == "after":
            stand("after")
        return result

    def half(chunks: Iterator[bytes], size: float) -> Iterator[bytes]:
        sent = 0
        for chunk in chunks:
            if sent <= size < sent + len(chunk):
                yield chunk[: int(size - sent)]
                stand("inside")
                chunk = chunk[int(size - sent) :]
            sent += len(chunk)
            yield chunk

    return run_other


def between_requests(link: Any, do: Callable[[Any], None]) -> None:
    """Pauses before the second request: the resource exists, without its settings."""
    import urllib3

    original, count = urllib3.PoolManager.urlopen, 0

    def urlopen(*args: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            stand("inside")
        return original(*args, **more)

    urllib3.PoolManager.urlopen = urlopen  # type: ignore[method-assign]
    try:
        do(link)
    finally:
        urllib3.PoolManager.urlopen = original  # type: ignore[method-assign]


def carrying_out(cut: Cut) -> Callable[..., Any]:
    original = apply.carry_out

    def carry_out(shell: Any, link: Any, changes: Any, report: Any) -> Any:
        announced = False

        def listen(event: str, change: Change, text: str) -> None:
            nonlocal announced
            now = time.monotonic()
            if event == "begin":
                cut.begun[change.address] = now
            elif event == "end":
                cut.took[change.address] = now - cut.begun.get(change.address, now)
            if event == "says" and text.startswith(PAUSED):
                if not announced:
                    announced = True
                    say("CUT", text.removeprefix(PAUSED).strip())
                return
            report(event, change, text)

        return original(shell, link, changes, listen)

    return carry_out


def connect_through(port: int) -> None:
    original = ssh.dial
    ssh.dial = lambda route, *more: original(replace(route, host="127.0.0.1", port=port), *more)


def list_steps(name: str) -> None:
    """Prints the steps of a host's whole plan, without changes."""
    from converge.inventory.hosts import load
    from roles.deploying import roles_of
    from roles.settings.model import Settings

    (host,) = load(Path.cwd(), name, Settings, ())
    prepared = run.prepare(host, roles_of(host, ()).roles)
    run.look(prepared, "", lock=False)
    assert prepared.plan
    say(
        "STEPS",
        [
            (change.address, n)
            for change in prepared.plan.todo
            for n, _ in enumerate(change.resource.fix(change.before))
        ],
    )
    prepared.close()


HANGS = 1200
"""Seconds after which a run shows where it stands and ends; a whole deploy takes 200, and 900 where the images must be built first."""


def main() -> None:
    faulthandler.dump_traceback_later(HANGS, exit=True)
    orders = json.loads(sys.argv[1])
    if orders.get("list"):
        list_steps(orders["host"])
        return
    steps = [(address, number) for address, number in orders.get("steps", [])]
    cut = Cut(
        steps,
        orders.get("at", -1),
        orders.get("where", ""),
        orders.get("share", 0.5),
        orders.get("seconds", 0.1),
    )
    carrying.frame, carrying._run_other, apply.carry_out = frames(cut), others(cut), carrying_out(cut)
    if orders.get("through"):
        connect_through(orders["through"])
    root_shell.SILENCE = orders.get("silence", root_shell.SILENCE)
    from invoke.main import program

    sys.argv[:] = ["inv", "deploy", "--yes", "--host", orders["host"]]
    try:
        program.run(sys.argv)
    finally:
        say("TOOK", cut.took)


if __name__ == "__main__":
    main()

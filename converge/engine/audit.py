"""What a host remembers of runs: a line for each, and what was made by which role."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from converge.engine import probe
from converge.engine.resource import Action
from converge.errors import Trouble
from converge.shell import quote, write_record
from converge.ssh.root_shell import holder

if TYPE_CHECKING:
    from converge.engine.run import Run

AUDIT = "/var/lib/stowage/audit.jsonl"


def write(run: Run, what: str, changes: list[str]) -> None:
    """Write the host's memory and, for an event, a line of JSON: who did what, from which commit. No values, so no secrets."""
    assert run.shell
    line = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "event": what,
        **holder(""),
        "commit": _commit(run),
        "changes": changes,
    }
    line.pop("since")
    line.pop("doing")
    if what == "end":
        line["result"] = "stopped" if run.stopped else "failed" if run.troubles else "done"
    folder = AUDIT.rsplit("/", 1)[0]
    kept = _memory(run, what == "end")
    memory = "".join(f"{role_and_hash} {address}\n" for address, role_and_hash in sorted(kept.items()))
    append = f"printf '%s\\n' {quote(json.dumps(line))} >>{AUDIT}\n" if what else ""
    status, output = run.shell.run(
        f"set -e\nmkdir -p -m 0750 {folder}\n{append}" + write_record(probe.MEMORY, f"printf %s {quote(memory)}")
    )
    if status:
        raise Trouble(
            "the audit line could not be written", where=run.name, why=output, untouched="nothing was changed"
        )
    run.written = {*kept}


def _memory(run: Run, ends: bool) -> dict[str, str]:
    """What the host is to remember: what was made, what was begun, and until the end what is to be made: a cut run says no more."""
    assert run.plan
    begun = [*run.begun.values(), *(run.plan.todo if not ends else ())]
    kept = {change.address: f"{change.role} {probe.BEGUN}" for change in begun} | run.memory
    as_they_should_be = [change for change in run.plan.changes if change.action is Action.NONE]
    finished = [change for change in as_they_should_be if kept.get(change.address, "").endswith(f" {probe.BEGUN}")]
    # What holds data is remembered even if no deploy made it: when it disappears, it must not be made anew, empty.
    finished += [change for change in as_they_should_be if change.address not in kept and change.resource.lost()]
    made = [change for change in (*finished, *run.done) if change.address not in run.not_taken]
    kept |= {change.address: f"{change.role} {change.resource.remembered()}" for change in made}
    gone = {change.address for change in [*as_they_should_be, *made] if change.resource.desired() is None}
    return {address: remembered for address, remembered in kept.items() if address not in gone}


def end(run: Run) -> None:
    try:
        write(run, "end", [f"{change.action.value} {change.address}" for change in run.done])
    except Trouble as trouble:
        run.failure = run.failure or trouble


def _commit(run: Run) -> str:
    """The commit of the checkout, read without starting git; empty where there is none."""
    git = run.host.root / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        return str(head if not head.startswith("ref: ") else (git / head[5:]).read_text())[:12]
    except OSError:
        return ""

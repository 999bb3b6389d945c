"""Runs of the backup worker, controlled from the operator's machine: started as a unit of the host, followed by its journal.

A lost connection only ends the view: the unit continues, and `inv backup.attach` shows the same journal again.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from converge.errors import ERROR, LOCKED, REFUSED, UNREACHABLE, Trouble, for_host
from converge.shell import quote
from converge.ssh.link import connect
from converge.ssh.root_shell import holder
from converge.ui.waiting import waiting
from roles.backup.configuration import settings_of
from roles.backup.role import SCRIPT
from worker import contract
from worker.contract import RUNS, Request

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

ACTIVE = "systemctl list-units --plain --no-legend --state=active,activating,deactivating 'stowage-backup@*'"
"""Lists the units of the current runs."""
# Exit codes of the worker that have another number here; docs list the others.
CODES = {
    contract.OK: 0,
    contract.USAGE: ERROR,
    contract.LOCKED: LOCKED,
    contract.REFUSED: REFUSED,
    contract.RESTORE_REFUSED: REFUSED,
}
# For a run that died without an error, by its last step: the exit code, the possible state, and what to type.
_LOADING = (
    contract.RESTORE_FAILED,
    "what it had loaded beside them goes with the next run",
    "inv backup.settle, or the same restore again",
)
_SWAPPING = (
    contract.SWAP_FAILED,
    "databases may still be closed, and what depends on them stopped",
    "inv backup.settle, which puts this right",
)
CUT = dict.fromkeys(("fetch", "roles", "load", "compare"), _LOADING)
CUT |= dict.fromkeys(("stop", "swap", "health", "start", "undo"), _SWAPPING)
_OBJECTS = "versions that the restore made may still stand in buckets, and their lifecycle, quota and the like be off"
CUT["insert"] = (
    contract.RESTORE_FAILED,
    _OBJECTS,
    "inv backup.settle, which deletes exactly those and puts the settings on",
)
CUT |= dict.fromkeys(
    ("current", "lock", "accounts"),
    (
        contract.SWAP_FAILED,
        f"{_OBJECTS}; databases of the same restore be closed, and what depends on them stopped",
        "inv backup.settle, which takes all of it back",
    ),
)
CUT["folders"] = (
    contract.FAILED,
    "a service that stands still while it is copied may be stopped",
    "inv backup.settle, then inv backup",
)
CUT["publish"] = (contract.COPY_FAILED, "", "inv backup.list, then inv backup")
CUT["retention"] = (contract.RETENTION_FAILED, "the next run removes what is too old", "inv backup.list")
# Loses no line: after the unit has ended, the journal is read once more to its end.
_FOLLOW = """
journal={runs}/{run}/journal.jsonl
[ -d {runs}/{run} ] || exit 66
n=0
while :; do
  case $(systemctl show -p ActiveState --value stowage-backup@{run}.service) in active|*ing) over= ;; *) over=yes ;; esac
  now=$(wc -c 2>/dev/null <"$journal" || echo 0)
  [ "$now" -le "$n" ] || {{ tail -c "+$((n + 1))" "$journal" | head -c "$((now - n))"; n=$now; }}
  [ -z "$over" ] || break
  sleep 0.3
done
"""


def new_id() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"


def begin(host: Host[Settings], request: Request, command: str, accepted: Sequence[str] = ()) -> str:
    """Sends a request to the host and starts its unit; gives the id of the run, which for a backup is also the id of its set.

    Accepted differences are written to the host's audit log before the start.
    """
    run = new_id()
    audit = _audited(command, run, accepted) if accepted else ":"
    body = replace(request, by=f"{holder(command)['who']}@{holder(command)['from']}").text()
    who = json.dumps(holder(f"{command} ({run})"))
    script = f"""set -eu; umask 077
[ -x {SCRIPT} ] || exit 67
! {ACTIVE} | grep -q . || exit 68
mkdir -p {RUNS}/{run}; cat >{RUNS}/{run}/request.json
printf '%s\\n' {quote(who)} >{RUNS}/{run}/holder
{audit}
systemctl start --no-block stowage-backup@{run}.service
"""
    link = connect(host.target)
    try:
        status, out, err = link.send(script, iter([body.encode()]))
    finally:
        link.close()
    if status == 67:
        raise not_deployed(host)
    if status == 68:
        raise Trouble(
            "a backup or a restore is under way",
            where=host.name,
            untouched="nothing was begun",
            hint=f"inv backup.attach --host {host.name}",
            code=LOCKED,
        )
    if status:
        raise Trouble("the run could not be begun", host.name, (out + err).decode(errors="replace")[-400:])
    return run


def _audited(command: str, run: str, accepted: Sequence[str]) -> str:
    """Shell that adds a line to what `inv history` shows."""
    from converge.engine.audit import AUDIT  # imported only when something is accepted

    who = holder(command)
    line = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "who": who["who"], "from": who["from"]}
    entry = json.dumps({**line, "event": "restore", "run": run, "result": "accepted", "changes": list(accepted)})
    return f"printf '%s\\n' {quote(entry)} >>{AUDIT}"


def not_deployed(host: Host[Settings]) -> Trouble:
    return Trouble(
        "the backup role is not deployed",
        where=host.name,
        untouched="nothing was changed",
        hint=f"inv deploy --role backup --host {host.name}",
    )


def follow(host: Host[Settings], run: str, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Shows the journal of a run while it grows; gives its last event. Ctrl-C ends the view, not the run."""
    link = connect(host.target)
    last: dict[str, Any] = {}
    step = ""
    pipe = link.shell(_FOLLOW.format(runs=RUNS, run=run))
    try:
        pipe.close_stdin()
        while raw := pipe.readline(None):
            with suppress(ValueError):
                last = json.loads(raw)
                step = last["step"] if last.get("event") == "begin" else step
                show(last)
        if pipe.exit_status() == 66:
            newest = _runs(host)[1]
            why = f"the newest one is {newest}" if newest else "there was none yet"
            raise Trouble(f"there is no run {run}", host.name, why, hint=f"inv status --host {host.name}")
    except KeyboardInterrupt:
        raise Trouble(
            "the view was left; the run goes on on the host",
            where=host.name,
            hint=f"to end it: inv backup.stop --host {host.name}; to see it again: inv backup.attach --host {host.name}",
            code=130,
        ) from None
    except Trouble as trouble:
        if trouble.code == UNREACHABLE:
            trouble.untouched = "the run goes on on the host"
            trouble.hint = f"inv backup.attach --host {host.name}"
        raise
    finally:
        link.close()
    if last.get("event") != "end" or "code" not in last:
        return told_by_targets(host, run, cut(step))
    return told_by_targets(host, run, cut(last["cut"])) if "cut" in last else last


def cut(step: str) -> dict[str, Any]:
    """The end of a run that was killed in a step. For a restore it must not say that nothing was changed."""
    code, why, hint = CUT.get(step, (contract.FAILED, "", "inv backup"))
    end = {"event": "end", "code": code, "why": why, "hint": hint, "dead": {}}
    end["what"] = "the run was killed, or the host went down"
    if step == "publish":
        end["untouched"] = "a target that has the set's manifest has it whole; there may be none"
    return end


def told_by_targets(host: Host[Settings], run: str, end: dict[str, Any]) -> dict[str, Any]:
    """The end of an interrupted backup, as its targets know it: the killed worker cannot report what was stored."""
    if end["code"] not in (contract.FAILED, contract.COPY_FAILED, contract.RETENTION_FAILED):
        return end
    try:
        answer = ask(host, Request(ask="list"))
    except Trouble:
        return end
    targets: dict[str, str] = next((listed["targets"] for listed in answer["sets"] if listed["id"] == run), {})
    complete = [name for name, state in targets.items() if state == "whole"]
    if not complete:
        return end
    everywhere = len(complete) == len(settings_of(host).targets)
    code = contract.RETENTION_FAILED if everywhere else contract.COPY_FAILED
    return end | {"code": code, "untouched": f"the set is whole on {', '.join(complete)}", "hint": "inv backup.list"}


def ask(host: Host[Settings], request: Request) -> dict[str, Any]:
    """The answer of the worker to a read-only question."""
    link = connect(host.target)
    out = b""
    try:
        pipe = link.shell(f"[ -x {SCRIPT} ] || exit 67\nexec {SCRIPT} look {quote(request.text())}")
        pipe.close_stdin()
        with waiting(lambda: f"{host.name}: the worker reads"):
            while chunk := pipe.read():
                out += chunk
        status, errors = pipe.exit_status(), pipe.stderr_tail()
    finally:
        link.close()
    if status == 67:
        raise not_deployed(host)
    try:
        answer = dict(json.loads(out.decode()))
    except ValueError:
        why = (out.decode(errors="replace") + errors)[-600:]
        raise Trouble("the worker does not answer", host.name, why, hint=f"inv status --host {host.name}") from None
    if failed := answer.get("failed"):
        raise Trouble(
            failed["what"],
            where=host.name,
            why=failed["why"],
            untouched="nothing was changed",
            hint=for_host(failed["hint"], host.name),
            code=CODES.get(failed["code"], ERROR),
        )
    return answer


def current(host: Host[Settings]) -> str:
    """The current run, or the last one."""
    active, last = _runs(host)
    if not (active or last):
        raise Trouble("there was no run yet", host.name, hint=f"inv backup --host {host.name}")
    return active or last


def under_way(host: Host[Settings]) -> str:
    """The current run; empty if there is none."""
    return _runs(host)[0]


def _runs(host: Host[Settings]) -> tuple[str, str]:
    """The current run, and the newest of all; either may be empty."""
    script = f"""{ACTIVE} | sed 's/.*@\\([^.]*\\)\\..*/\\1/' | head -n 1; echo --
ls {RUNS} 2>/dev/null | sort | tail -n 1"""
    link = connect(host.target)
    try:
        _, out, _ = link.send(script, iter(()))
    finally:
        link.close()
    active, _, last = out.decode().partition("--")
    return active.strip(), last.strip()


def ended(host: Host[Settings], end: dict[str, Any]) -> Trouble | None:
    """The error at the end of a run, if any."""
    code = int(end.get("code", contract.FAILED))
    if not code:
        return None
    why, meaning = str(end.get("why", "")), contract.MEANS.get(code, "the run failed")
    # The reason may have the error of a dead target already.
    dead = "\n".join(f"{name}: {reason}" for name, reason in (end.get("dead") or {}).items() if reason not in why)
    return Trouble(
        end.get("what") or meaning,
        where=host.name,
        why="\n".join(part for part in (why, dead) if part),
        untouched=end.get("untouched") or (meaning if end.get("what") else ""),
        hint=for_host(end.get("hint", ""), host.name) or f"inv status --host {host.name}",
        code=CODES.get(code, code),
    )

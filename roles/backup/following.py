"""The progress of a run: each event a line for people, or a line of JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from converge.ui.durations import spoken
from converge.ui.lines import say
from roles.backup import runs
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


def watch(host: Host[Settings], run: str, as_json: bool = False) -> dict[str, Any]:
    if as_json:
        print(json.dumps({"event": "run", "host": host.name, "run": run}), flush=True)
        return runs.follow(host, run, lambda event: print(json.dumps(event), flush=True))
    say(f"{host.name}: run {run}")
    return runs.follow(host, run, lambda event: show_event(event, sys.stdout.isatty()))


def show_event(event: dict[str, Any], terminal: bool) -> None:
    """One event as a line; progress overwrites one line of a terminal, and is left out elsewhere."""
    wipe = "\r\033[K" if terminal else ""
    kind = event["event"]
    if kind == "say":
        print(wipe, end="")
        say(f"  {event['text']}")
    elif kind == "end" and "step" in event:
        how = f"failed: {event['failed']}" if event.get("failed") else "done"
        print(wipe, end="")
        say(f"  {event['step']:10} {how}  {event['seconds']:.1f} s")
    elif kind == "progress" and terminal:
        # Not wider than the terminal: only the last row of a wrapped line could be overwritten.
        width = shutil.get_terminal_size().columns - 1
        print(f"{wipe}{f'  {_how_far(event)}'[:width]}", end="", flush=True)


def _how_far(event: dict[str, Any]) -> str:
    """Progress in words: of the whole set, and of the bucket that is being saved."""
    remaining = f", {spoken(event['remaining'])} left" if event.get("remaining") is not None else ""
    total = event["total"]
    if pieces := event.get("pieces"):
        return f"{event['done']} of {total} {pieces}{remaining}" if total else f"{event['done']} {pieces}"
    overall = f"{human(event['done'])}{f' of {human(total)}' if total else ''}, {human(event['rate'])}/s{remaining}"
    if not (bucket := event.get("bucket")):
        return overall
    its = f", {human(event['bucket_done'])} of {human(event['bucket_total'])}"
    several = bool(total) and event["bucket_total"] != total
    of = f" of {event['of']}" if event["of"] > event["objects"] else ""
    return f"{overall}; {bucket}: {event['objects']}{of} objects{its * several}"


def end(host: Host[Settings], event: dict[str, Any], as_json: bool = False) -> None:
    # Said on the way as well, where more lines hide it.
    for note in () if as_json else event.get("notes") or ():
        say(f"{host.name}: {note}")
    trouble = runs.ended(host, event)
    if trouble:
        raise trouble
    if not as_json:
        say(f"{host.name}: done")

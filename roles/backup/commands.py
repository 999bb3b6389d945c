"""The commands of backups: make, follow, verify, pin, fetch and stop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.shell import quote
from converge.ssh.link import connect
from converge.ui.cli import confirm
from converge.ui.lines import say
from converge.ui.waiting import waiting
from roles.backup import runs
from roles.backup.configuration import components as stack_components
from roles.backup.following import end, watch
from roles.backup.role import SCRIPT
from roles.backup.sets import id_of
from roles.backup.sheet import not_in_sets
from roles.settings.fields import size_in_bytes
from worker.contract import Request
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


def backup(host: Host[Settings], request: Request, command: str, as_json: bool = False) -> None:
    """Make a set now and follow it to its end. A lost connection does not end it."""
    for component in request.only:
        if component not in (known := stack_components(host.settings)):
            raise Trouble(
                f"there is no component {component}",
                host.name,
                f"components are {', '.join(known)}",
                "nothing was begun",
            )
    end(host, watch(host, runs.begin(host, request, command), as_json), as_json)
    if not as_json and (held := not_in_sets(host.settings)):
        say(f"{host.name}: no set holds {held}; copy them elsewhere yourself")


def rate_of(text: str) -> int:
    """A rate in bytes a second; 0 where none is given."""
    if not text:
        return 0
    if not re.fullmatch(r"[1-9][0-9]{0,9}(B|KiB|MiB|GiB)", text):
        raise Trouble(
            f"--limit-rate is {text}",
            why="it must be a size, which is sent each second",
            untouched="nothing was begun",
            hint="--limit-rate 20MiB",
        )
    return size_in_bytes(text)


def attach(host: Host[Settings], run: str, as_json: bool) -> None:
    """The journal of the current run, or of the last one, from its beginning."""
    run = run or runs.current(host)
    end(host, watch(host, run, as_json), as_json)


def verify(host: Host[Settings], id: str, source: str, drill: bool, command: str) -> None:
    """Reads every byte of a set; with `drill` it is restored into a throwaway server and compared."""
    request = Request(do="verify", set=id_of(id), source=source, drill=drill)
    end(host, watch(host, runs.begin(host, request, command)))


def pin(host: Host[Settings], id: str, why: str) -> None:
    """Keeps a set from retention."""
    run = runs.ask(host, Request(ask="show", set=id_of(id)))["id"]
    runs.ask(host, Request(ask="pin", set=run, why=why))
    say(f"{host.name}: {run} is kept until inv backup.unpin {run}")


def unpin(host: Host[Settings], id: str) -> None:
    """Leaves a set to retention again."""
    run = runs.ask(host, Request(ask="show", set=id_of(id)))["id"]
    targets = runs.ask(host, Request(ask="unpin", set=run))["unpinned"]
    say(f"{host.name}: {run} " + (f"is pinned no more on {', '.join(targets)}" if targets else "was not pinned"))


def settle(host: Host[Settings], command: str) -> None:
    """Cleans up after interrupted runs: closed databases, stopped containers, scratch databases."""
    end(host, watch(host, runs.begin(host, Request(do="settle"), command)))


def stop(host: Host[Settings], yes: bool) -> None:
    """Ends the current run; the next run cleans up after it."""
    run = runs.under_way(host)
    if not run:
        say(f"{host.name}: no backup or restore is under way; nothing was stopped")
        return
    confirm(f"{host.name}: stop the run {run}? [y/N] ", yes)
    link = connect(host.target)
    try:
        link.send(f"systemctl stop {quote(f'stowage-backup@{run}.service')}", iter(()))
    finally:
        link.close()
    say(f"{host.name}: {run} is stopped")


def fetch(host: Host[Settings], id: str, folder: str, source: str) -> None:
    """Copies a set as it is, encrypted, into a folder of this machine."""
    place = Path(folder).expanduser()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = f"inv backup.fetch {id} FOLDER --host {host.name}"
        raise Trouble(f"{place} cannot be made", host.name, str(error.strerror), "nothing was fetched", hint) from None
    answer = runs.ask(host, Request(ask="show", set=id_of(id), source=source))
    name = place / f"{answer['id']}.tar"
    unfinished = name.with_suffix(".partial")
    link = connect(host.target)
    request = Request(ask="stream", set=answer["id"], source=answer["from"])
    again = f"inv backup.list --host {host.name}\ninv backup.fetch {answer['id']} {quote(folder)} --host {host.name}"
    untouched = f"{unfinished} is no set"
    try:
        pipe = link.shell(f"exec {SCRIPT} look {quote(request.text())}")
        pipe.close_stdin()
        with unfinished.open("wb") as file, waiting(lambda: f"{host.name}: {human(file.tell())} came"):
            while chunk := pipe.read():
                file.write(chunk)
        if status := pipe.exit_status():
            why = pipe.stderr_tail().strip() or f"the worker ended with {status}"
            raise Trouble("the set did not come whole", host.name, why, untouched, again)
    except OSError as error:
        what = f"{unfinished} cannot be written"
        raise Trouble(what, host.name, error.strerror or str(error), untouched, again) from None
    finally:
        link.close()
    unfinished.rename(name)
    say(f"{host.name}: {name}, {human(name.stat().st_size)}; docs/restore-by-hand.md says how to read it")

"""Backups: made, listed, shown, checked, kept and stopped."""

from __future__ import annotations

import json
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.shell import quote
from converge.ssh.link import connect
from converge.ui.cli import confirm
from converge.ui.durations import spoken
from converge.ui.lines import say
from roles.backup import runs
from roles.backup.configuration import components as stack_components
from roles.backup.configuration import has_buckets, settings_of, stack_of
from roles.backup.objects import Objects, printable, show_versions
from roles.backup.role import SCRIPT
from roles.minio.kms_key import fingerprint
from roles.settings.fields import size_in_bytes
from worker.contract import ID, Request
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

CHANGES = {"gone": "-", "new": "+"}
"""How a file of the configuration that is not the set's any more is marked; any other has `~`."""
FEW = 40


def backup(host: Host[Settings], request: Request, said: str, as_json: bool = False) -> None:
    """One set now, followed to its end. A lost line does not end it."""
    for one in request.only:
        if one not in (known := stack_components(host.settings)):
            raise Trouble(
                f"there is no component {one}", host.name, f"components are {', '.join(known)}", "nothing was begun"
            )
    end(host, watch(host, runs.begin(host, request, said), as_json), as_json)
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


def not_in_sets(settings: Settings) -> str:
    """What a host keeps that no set holds, in words; nothing where all is held."""
    saved = settings.backup.buckets if settings.backup and has_buckets(settings) else None
    names = [one.name for one in settings.buckets] if "buckets" in settings.roles else []
    buckets = [one for one in names if not saved or (saved.names and one not in saved.names)]
    found = [f"the objects of {', '.join(buckets)}"] if buckets else []
    found += (
        [f"of {name} the objects beside {', '.join(some)}" for name, some in saved.prefixes.items()] if saved else []
    )
    folders = {
        folder: name
        for name, one in settings.services.items()
        for inside, folder in one.data.items()
        if not one.backup or inside not in one.backup.folders
    }
    found += [f"the data of {name} ({folder})" for folder, name in folders.items()]
    return ", ".join(found)


def attach(host: Host[Settings], run: str, as_json: bool) -> None:
    """The journal of the run that is under way, or of the last one, from its beginning."""
    run = run or runs.current(host)
    end(host, watch(host, run, as_json), as_json)


def watch(host: Host[Settings], run: str, as_json: bool = False) -> dict[str, Any]:
    if as_json:
        print(json.dumps({"event": "run", "host": host.name, "run": run}), flush=True)
        return runs.follow(host, run, lambda event: print(json.dumps(event), flush=True))
    say(f"{host.name}: run {run}")
    return runs.follow(host, run, lambda event: show_event(event, sys.stdout.isatty()))


def show_event(event: dict[str, Any], terminal: bool) -> None:
    """One event as a line; progress stays on one line of a terminal, and is left out elsewhere."""
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
        # Not wider than the terminal: of a line that was broken only its end could be wiped.
        width = shutil.get_terminal_size().columns - 1
        print(f"{wipe}{f'  {_how_far(event)}'[:width]}", end="", flush=True)


def _how_far(event: dict[str, Any]) -> str:
    """Progress in words: the whole, and of buckets the one that is being saved."""
    left = f", {spoken(event['remaining'])} left" if event.get("remaining") is not None else ""
    whole = f"{human(event['done'])} of {human(event['total'])}, {human(event['rate'])}/s{left}"
    if not (bucket := event.get("bucket")):
        return whole
    its = f", {human(event['bucket_done'])} of {human(event['bucket_total'])}"
    several = event["bucket_total"] != event["total"]
    return f"{whole}; {bucket}: {event['objects']} of {event['of']} objects{its * several}"


def end(host: Host[Settings], told: dict[str, Any], as_json: bool = False) -> None:
    trouble = runs.ended(host, told)
    if trouble:
        raise trouble
    if not as_json:
        say(f"{host.name}: done")


def listing(host: Host[Settings], source: str, as_json: bool) -> None:
    """Every set with its age, its size, and the targets on which it is whole."""
    found = runs.ask(host, Request(ask="list", source=source))
    if as_json:
        print(json.dumps({"host": host.name, **found}))
    else:
        _listed(host, found)
    if found["dead"] and not found["sets"]:
        raise Trouble(
            "no set can be listed",
            host.name,
            "\n".join(f"the target {name} does not answer: {why}" for name, why in found["dead"].items()),
            "there may be sets all the same",
            f"once it answers: inv backup.list --host {host.name}",
        )


def _listed(host: Host[Settings], found: dict[str, Any]) -> None:
    if not found["sets"] and not found["dead"]:
        say(f"{host.name}: there is no set yet; inv backup --host {host.name} makes one")
    for one in found["sets"]:
        marks = _marks(one)
        notes = [f"only {', '.join(one['only'])}"] if one["only"] else []
        notes += [f"INCOMPLETE, without {', '.join(one['failed'])}"] if one["failed"] else []
        notes += ["pinned"] if one["pinned"] else []
        say(
            f"{host.name}  {one['id']}  {age(one['created']):>8}  {human(one['bytes']):>9}  on {', '.join(marks)}"
            f"{'  (' + ', '.join(notes) + ')' if notes else ''}"
        )
    for name, why in found["dead"].items() if found["sets"] else ():
        say(f"{host.name}  the target {name} does not answer: {why}")


def _marks(one: dict[str, Any]) -> list[str]:
    """The targets in the line of a set; what is the same of all of them is said once."""
    marks = {name: _mark(name, state, one["checks"].get(name)) for name, state in one["targets"].items()}
    told = {mark.removeprefix(name) for name, mark in marks.items()}
    if len(marks) > 1 and len(told) == 1 and (same := next(iter(told))):
        return [*marks, f"each{same}"]
    return list(marks.values())


def _mark(name: str, state: str, check: dict[str, Any] | None) -> str:
    """A target in the line of a set: whether it has it whole, and how its newest check there ended."""
    marks = [] if state == "whole" else [state]
    if check:
        what = "drilled" if check["drill"] else "checked"
        marks.append(f"{what} {age(check['at'])} ago" if check["passed"] else f"CHECK FAILED {age(check['at'])} ago")
    return f"{name} ({', '.join(marks)})" if marks else name


def show(host: Host[Settings], id: str, source: str, as_json: bool, objects: Objects | None = None) -> None:
    """What is in a set; of one bucket, its versions."""
    request = Request(ask="show", set=id_of(id), source=source)
    if objects:
        objects.asked(host, request, service=False)
    found = runs.ask(host, request)
    if as_json:
        print(json.dumps({"host": host.name, **found}))
        return
    if objects:
        show_versions(found)
        return
    say(f"{found['id']} of the stack {found['stack']}, made on {found['host']}, read from {found['from']}")
    say(f"  made       {_moments(found)}, {human(found['bytes'])} in {found['parts']} parts")
    for name, state in found["targets"].items():
        check = found["checks"].get(name)
        say(f"  on         {_mark(name, state, check)}")
        if check and check["why"]:
            say("\n".join(f"             {line}" for line in check["why"].splitlines()), 0)
    if found["server"]:
        say(f"  server     {found['server'].get('version', '').partition(' on ')[0]}")
    for name, one in found["databases"].items():
        rows = f"{one['rows']} rows in {one['tables']} tables, dump {human(one['dump_bytes'])}, owner {one['owner']}"
        say(f"  database   {name:16} {rows}", 28)
        say(f"{'':30}{', '.join(one['extensions'])}", 0)
    for name, one in found["folders"].items():
        how = ", while it stood still" if one["stopped"] else ""
        say(f"  folder     {name:16} {human(one['bytes'])} in {one['files']} files of {one['here']}{how}", 28)
    for name, one in found["buckets"].items():
        say(
            f"  bucket     {name:16} {human(one['bytes'])} in {one['versions']} versions, {one['markers']} delete markers",
            28,
        )
    for why in dict.fromkeys(found["left_out"].values()):
        say(f"  left out   {', '.join(name for name, one in found['left_out'].items() if one == why)}: {why}", 11)
    for kind, names in found["omitted"].items():
        say(f"  not in it  {kind}: {', '.join(names)}", 11)
    say(f"  files      {len(found['files'])} of the deployed configuration")


def _moments(found: dict[str, Any]) -> str:
    """From when to when a set was made; its day once."""
    begun, over = (found[key][:19].replace("T", " ") for key in ("created", "finished"))
    return f"{begun} to {over.removeprefix(begun[:11])} UTC"


def diff(host: Host[Settings], id: str, source: str, as_json: bool) -> None:
    """A set against what is there now: databases by their counts, files by their text."""
    found = runs.ask(host, Request(ask="diff", set=id_of(id), source=source))
    if as_json:
        print(json.dumps({"host": host.name, **found}))
        return
    say(f"{host.name}: {found['id']}, made {age(found['created'])} ago, against what is there now")
    for name, lines in found["databases"].items():
        say(f"  database {name}" + ("" if lines else ": the same counts"))
        _few([f"    {line}" for line in lines])
    for name, lines in found["folders"].items():
        say(f"  folder {name}" + ("" if lines else ": the same files, of the same size and time"))
        _few([f"    {line}" for line in lines])
    for name, lines in found["buckets"].items():
        say(f"  bucket {name}" + ("" if lines else ": the same versions"))
        _few([f"    {printable(line)}" for line in lines])
    for one in found["files"]:
        say(f"  {CHANGES.get(one['what'], '~')} {one['path']}{_how(one)}")
        _few([f"      {line}" for line in one.get("lines", [])[2:]])
    if found["number"] and not found["files"]:
        say(f"  configuration: all {found['number']} files are the same")


def _how(one: dict[str, Any]) -> str:
    if one["what"] == "content":
        return "" if "lines" in one else "  its content changed; it is not shown, for only root may read it"
    return {"gone": "  it is gone", "new": "  the set does not have it"}.get(one["what"], f"  {one['what']}")


def _few(lines: list[str]) -> None:
    for line in lines[:FEW]:
        say(line)
    if len(lines) > FEW:
        say(f"      and {len(lines) - FEW} lines more: --json")


def verify(host: Host[Settings], id: str, source: str, drill: bool, said: str) -> None:
    """Reads every byte of a set; with `drill` it is restored into a throwaway server and compared."""
    request = Request(do="verify", set=id_of(id), source=source, drill=drill)
    end(host, watch(host, runs.begin(host, request, said)))


def pin(host: Host[Settings], id: str, why: str) -> None:
    """Keeps a set from retention."""
    found = runs.ask(host, Request(ask="show", set=id_of(id)))["id"]
    runs.ask(host, Request(ask="pin", set=found, why=why))
    say(f"{host.name}: {found} is kept until inv backup.unpin {found}")


def unpin(host: Host[Settings], id: str) -> None:
    """Leaves a set to retention again."""
    found = runs.ask(host, Request(ask="show", set=id_of(id)))["id"]
    targets = runs.ask(host, Request(ask="unpin", set=found))["unpinned"]
    say(f"{host.name}: {found} " + (f"is pinned no more on {', '.join(targets)}" if targets else "was not pinned"))


def settle(host: Host[Settings], said: str) -> None:
    """Brings to an end what runs that were cut off have left: closed databases, stopped containers, scratch databases."""
    end(host, watch(host, runs.begin(host, Request(do="settle"), said)))


def stop(host: Host[Settings], yes: bool) -> None:
    """Ends the run that is under way; what it has begun is cleared away by the next one."""
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
    place.mkdir(parents=True, exist_ok=True)
    found = runs.ask(host, Request(ask="show", set=id_of(id), source=source))
    name = place / f"{found['id']}.tar"
    unfinished = name.with_suffix(".partial")
    link = connect(host.target)
    request = Request(ask="stream", set=found["id"], source=found["from"])
    try:
        pipe = link.shell(f"exec {SCRIPT} look {quote(request.text())}")
        pipe.close_stdin()
        with unfinished.open("wb") as file:
            while chunk := pipe.read():
                file.write(chunk)
        if status := pipe.exit_status():
            raise Trouble("the set did not come whole", host.name, f"status {status}", f"{unfinished} is no set")
    finally:
        link.close()
    unfinished.rename(name)
    say(f"{host.name}: {name}, {human(name.stat().st_size)}; docs/restore-by-hand.md says how to read it")


def recovery_sheet(host: Host[Settings]) -> None:
    """What to do when the host is dead: to be printed, and kept where the keys are."""
    settings = settings_of(host)
    print(f"Recovery of the stack {stack_of(host)} ({host.name}), written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n")
    print("You need, from outside of the dead machine:")
    print(f"  1. this checkout and its secrets: inventory/secrets/{host.name}/ (or where the references lead)")
    print("  2. the age identity of backup.identity; without it no byte of any set can be read")
    if host.settings.minio and (key := host.settings.minio.kms_key):
        print(
            f"     and the key of MinIO's encryption, minio.kms_key: {fingerprint(key.reveal())}; another one opens nothing"
        )
    print("  3. one of the targets:")
    for one in settings.targets:
        where = {
            "stack": "the stack's own bucket: lost with the machine",
            "s3": f"{getattr(one, 'endpoint', '')}/{getattr(one, 'bucket', '')}",
            "sftp": f"{getattr(one, 'user', '')}@{getattr(one, 'host', '')}:{getattr(one, 'path', '')}",
            "path": getattr(one, "path", ""),
        }[one.kind]
        print(f"     {one.name} ({one.kind}): {where}")
    if held := not_in_sets(host.settings):
        print(f"  No set holds {held}: you need your own copies of them.")
    print("\nThen, in this order:")
    print(f"  inv host.trust {host.name}            # the new machine's key, compared with its console")
    print(f"  inv deploy --host {host.name}         # an empty stack, with the same keys")
    print(f"  inv backup.list --host {host.name}    # which sets there are")
    if has_buckets(host.settings):
        print(
            f"  inv restore latest --with iam,bucket-config --host {host.name}    # databases, buckets, who may use them"
        )
    else:
        print(f"  inv restore latest --host {host.name}")
    for name in (name for name, one in host.settings.services.items() if one.backup):
        print(f"  inv restore latest --service {name} --host {host.name}")
    print("\nWithout Stowage: docs/restore-by-hand.md")


def id_of(text: str) -> str:
    """`latest`, an id, or anything that holds one: the key of an object, the name of a fetched file."""
    if text == "latest":
        return text
    if found := ID.search(text):
        return found[0]
    raise Trouble(
        f"{text} names no set",
        why="a set is named by its id, such as 20261121T020000Z-a1b2c3, by the key of one of its objects, or latest",
        untouched="nothing was changed",
        hint="inv backup.list",
    )


def age(at: str) -> str:
    """How long ago a moment is."""
    return spoken(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()))

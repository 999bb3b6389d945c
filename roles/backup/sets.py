"""Sets on the screen: the list, one set, and its differences from the live data."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.ui.durations import spoken
from converge.ui.lines import say
from roles.backup import runs
from roles.backup.objects import Objects, printable, show_versions
from worker.contract import ID, Request
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

CHANGES = {"gone": "-", "new": "+"}
"""Marks of configuration files that differ from the set; all others have `~`."""
FEW = 40
FORGED, UNFINISHED = "forged", "unfinished"
"""States of a set on a target: its signature is not by our identity; it has no manifest."""


def listing(host: Host[Settings], source: str, as_json: bool) -> None:
    """Print every set with its age, its size, and the targets on which it is complete."""
    answer = runs.ask(host, Request(ask="list", source=source))
    if as_json:
        print(json.dumps({"host": host.name, **answer}))
    else:
        _listed(host, answer)
    if answer["dead"] and not answer["sets"]:
        raise Trouble(
            "no set can be listed",
            host.name,
            "\n".join(f"the target {name} does not answer: {why}" for name, why in answer["dead"].items()),
            "there may be sets all the same",
            f"once it answers: inv backup.list --host {host.name}",
        )


def _listed(host: Host[Settings], answer: dict[str, Any]) -> None:
    if not answer["sets"] and not answer["dead"]:
        say(f"{host.name}: there is no set yet; inv backup --host {host.name} makes one")
    for set_ in answer["sets"]:
        marks = _marks(set_)
        notes = [f"only {', '.join(set_['only'])}"] if set_["only"] else []
        notes += [f"INCOMPLETE, without {', '.join(set_['failed'])}"] if set_["failed"] else []
        notes += ["pinned"] if set_["pinned"] else []
        say(
            f"{host.name}  {set_['id']}  {age(set_['created']):>8}  {_size(set_)}  on {', '.join(marks)}"
            f"{'  (' + ', '.join(notes) + ')' if notes else ''}"
        )
    states = {state for set_ in answer["sets"] for state in set_["targets"].values()}
    if FORGED in states and states <= {FORGED, UNFINISHED}:
        say(
            f"{host.name}: all of them are signed with another identity: backup.identity must be the one that they were made with"
        )
    for name, why in answer["dead"].items() if answer["sets"] else ():
        say(f"{host.name}  the target {name} does not answer: {why}")


def _size(set_: dict[str, Any]) -> str:
    """The size of a set, and that of the objects in it, whose contents sets share."""
    objects = f" and {human(set_['objects'])} of objects" if set_["objects"] else ""
    return f"{human(set_['bytes']):>9}{objects}"


def _marks(set_: dict[str, Any]) -> list[str]:
    """The targets in the line of a set; a remark that holds for all is written once."""
    marks = {name: _mark(name, state, set_["checks"].get(name)) for name, state in set_["targets"].items()}
    states = {mark.removeprefix(name) for name, mark in marks.items()}
    if len(marks) > 1 and len(states) == 1 and (same := next(iter(states))):
        return [*marks, f"each{same}"]
    return list(marks.values())


def _mark(name: str, state: str, check: dict[str, Any] | None) -> str:
    """A target in the line of a set: whether the set is complete there, and its newest check."""
    marks = [] if state == "whole" else [state]
    if check:
        what = "drilled" if check["drill"] else "checked"
        marks.append(f"{what} {age(check['at'])} ago" if check["passed"] else f"CHECK FAILED {age(check['at'])} ago")
    return f"{name} ({', '.join(marks)})" if marks else name


def show(host: Host[Settings], id: str, source: str, as_json: bool, objects: Objects | None = None) -> None:
    """Print the contents of a set, or the versions of one bucket."""
    request = Request(ask="show", set=id_of(id), source=source)
    if objects:
        objects.browsed(host, request)
    answer = runs.ask(host, request)
    if as_json:
        print(json.dumps({"host": host.name, **answer}))
        return
    if objects:
        show_versions(answer, objects)
        return
    say(f"{answer['id']} of the stack {answer['stack']}, made on {answer['host']}, read from {answer['from']}")
    say(f"  made       {_moments(answer)}, {human(answer['bytes'])} in {answer['parts']} parts")
    for name, state in answer["targets"].items():
        check = answer["checks"].get(name)
        say(f"  on         {_mark(name, state, check)}")
        if check and check["why"]:
            say("\n".join(f"             {line}" for line in check["why"].splitlines()), 0)
    if answer["server"]:
        say(f"  server     {answer['server'].get('version', '').partition(' on ')[0]}")
    for name, database in answer["databases"].items():
        rows = f"{database['rows']} rows in {database['tables']} tables, dump {human(database['dump_bytes'])}, owner {database['owner']}"
        say(f"  database   {name:16} {rows}", 28)
        say(f"{'':30}{', '.join(database['extensions'])}", 0)
    for name, folder in answer["folders"].items():
        how = ", while it stood still" if folder["stopped"] else ""
        say(f"  folder     {name:16} {human(folder['bytes'])} in {folder['files']} files of {folder['here']}{how}", 28)
    for name, bucket in answer["buckets"].items():
        say(
            f"  bucket     {name:16} {human(bucket['bytes'])} in {bucket['versions']} versions, {bucket['markers']} delete markers",
            28,
        )
    for why in dict.fromkeys(answer["left_out"].values()):
        say(
            f"  left out   {', '.join(name for name, reason in answer['left_out'].items() if reason == why)}: {why}", 11
        )
    for kind, names in answer["omitted"].items():
        say(f"  not in it  {kind}: {', '.join(names)}", 11)
    say(f"  files      {len(answer['files'])} of the deployed configuration")


def _moments(answer: dict[str, Any]) -> str:
    """When a set was begun and finished; its day once."""
    begun, over = (answer[key][:19].replace("T", " ") for key in ("created", "finished"))
    return f"{begun} to {over.removeprefix(begun[:11])} UTC"


def diff(host: Host[Settings], id: str, source: str, as_json: bool, objects: Objects | None = None) -> None:
    """Print the differences of a set, or of one bucket, from the live data: databases by their counts, files by their text."""
    request = Request(ask="diff", set=id_of(id), source=source)
    if objects:
        objects.browsed(host, request)
    answer = runs.ask(host, request)
    if as_json:
        print(json.dumps({"host": host.name, **answer}))
    else:
        _compared(host, answer)
    if unread := answer["unread"]:
        raise Trouble(
            f"the {' and '.join(unread)} could not be compared",
            host.name,
            "\n".join(unread.values()),
            "nothing was changed",
            f"inv status --host {host.name}",
        )


def _compared(host: Host[Settings], answer: dict[str, Any]) -> None:
    say(f"{host.name}: {answer['id']}, made {age(answer['created'])} ago, against what is there now")
    for name, lines in answer["databases"].items():
        say(f"  database {name}" + ("" if lines else ": the same counts"))
        _few([f"    {line}" for line in lines])
    for name, lines in answer["folders"].items():
        say(f"  folder {name}" + ("" if lines else ": the same files, of the same size and time"))
        _few([f"    {line}" for line in lines])
    for name, lines in answer["buckets"].items():
        say(f"  bucket {name}" + ("" if lines else ": the same versions"))
        _few([f"    {printable(line)}" for line in lines])
    for file in answer["files"]:
        say(f"  {CHANGES.get(file['what'], '~')} {file['path']}{_how(file)}")
        _few([f"      {line}" for line in file.get("lines", [])[2:]])
    if answer["number"] and not answer["files"]:
        say(f"  configuration: all {answer['number']} files are the same")


def _how(file: dict[str, Any]) -> str:
    if file["what"] == "content":
        return "" if "lines" in file else "  its content changed; it is not shown, for only root may read it"
    return {"gone": "  it is gone", "new": "  the set does not have it"}.get(file["what"], f"  {file['what']}")


def _few(lines: list[str]) -> None:
    for line in lines[:FEW]:
        say(line)
    if len(lines) > FEW:
        say(f"      and {len(lines) - FEW} lines more: --json")


def id_of(text: str) -> str:
    """`latest`, or the id in a text such as the key of an object or the name of a fetched file."""
    if text == "latest":
        return text
    if match := ID.search(text):
        return match[0]
    raise Trouble(
        f"{text} names no set",
        why="a set is named by its id, such as 20261121T020000Z-a1b2c3, by the key of one of its objects, or latest",
        untouched="nothing was changed",
        hint="inv backup.list",
    )


def age(at: str) -> str:
    """How long ago a time was."""
    return spoken(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()))

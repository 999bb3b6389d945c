"""The commands of restores: the plan, a question that wants the host's name, the run, and the undo."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import REFUSED, Trouble
from converge.shell import quote
from converge.ui.cli import confirm
from converge.ui.lines import say
from roles.backup import given, runs, upload
from roles.backup.configuration import stack_of
from roles.backup.following import end, watch
from roles.backup.objects import Objects, asked_for, show_objects
from roles.backup.sets import age, id_of
from worker.contract import ID, Request
from worker.quoting import listed, names_in
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

FEW = 4


def restore(
    host: Host[Settings],
    file: str,
    database: Sequence[str],
    name: str,
    source: str,
    other_stack: str,
    yes: bool,
    command: str,
    *,
    tablespaces: bool = True,
    accept: bool = False,
    accept_empty: bool = False,
    of: tuple[str, str] | None = None,
    objects: Objects | None = None,
) -> None:
    """Restores a set, or a dump that was made by hand. Nothing is replaced before all of it was loaded and compared.

    With `accept` it may have the differences that an earlier try found: they are shown, confirmed, and recorded.
    `of` limits it to the folders of a service, or to one of them by its path in the container.
    """
    request = Request(
        source=source, databases=_names(database), new_name=name, no_tablespaces=not tablespaces, stack=other_stack
    )
    if of:
        request.service, request.inside = _folders(host, *of, bool(request.databases or name))
    if objects:
        objects.asked(host, request, bool(of))
    path, kind = Path(file).expanduser(), given.kind(file, host)
    if kind == given.DUMP and objects:
        raise objects.of_a_dump(host, path)
    if kind == given.SET:
        request.folder, request.set = upload.set_sent(host, path, other_stack or stack_of(host))
        request.source = ""
    elif kind == given.DUMP and of:
        raise Trouble(
            f"{path} is a dump of a database",
            host.name,
            "--service is for sets",
            "nothing was changed",
            "inv backup.list",
        )
    elif kind == given.DUMP:
        request.local, request.set = upload.dump_sent(host, path, request.databases), "local"
    else:
        request.set = _named(host, file)
    try:
        plan = runs.ask(host, replace(request, ask="plan", show_differences=accept))
        request.set, request.source = plan["set"], "" if request.local else plan["from"]
        _shown(host, plan, asked_for(request))
        if not tablespaces:
            say("  tablespaces: none; all tables go where the server keeps its others")
        written = list(_accepted(plan))
        for line in written:
            say(f"  ACCEPTED  {line}")
        confirm(f"Type the host's name to restore, {host.name}: ", yes, word=host.name)
        if not accept_empty:
            _agreed_to_lose(host, file, plan["databases"], yes)
        if written:
            request.accept = {key: [what for what, _ in rows] for key, rows in plan["accept"].items()}
        run = runs.begin(host, replace(request, do="restore"), command, written)
    except BaseException:
        upload.taken_back(host, request.local or request.folder)
        raise
    end(host, watch(host, run))
    # Nothing to undo if nothing was replaced.
    if plan.get("objects") or any(
        place["replaces"] is not None for place in [*plan["databases"], *plan.get("folders", ())]
    ):
        say(f"  undo with: inv restore.undo --host {host.name}")


def _folders(host: Host[Settings], service: str, folder: str, databases: bool) -> tuple[str, str]:
    """The part of a request for folders of a service: a restore is of folders or of databases, not both."""
    if databases or not service:
        what = (
            "--folder belongs to --service NAME"
            if not service
            else "--service is for folders alone, without --database and --as"
        )
        raise Trouble(
            what,
            host.name,
            untouched="nothing was changed",
            hint=f"inv restore latest --service NAME --host {host.name}",
        )
    return service, folder


def _names(given: Sequence[str]) -> list[str]:
    """The databases of `--database`, which may be given several times, each time with commas."""
    try:
        return list(dict.fromkeys(name for text in given for name in names_in(text)))
    except ValueError as error:
        raise Trouble(
            f"--database {' --database '.join(map(quote, given))} cannot be read",
            why=f"{error}: a name that holds a comma stands in double quotes, and a double quote within it twice",
            untouched="nothing was changed",
            hint="""--database '"a,b",c', which are a,b and c""",
        ) from None


def _accepted(plan: dict[str, Any]) -> Iterator[str]:
    """The accepted differences from the set, a line each."""
    for name, rows in plan.get("accept", {}).items():
        yield from (f"{name}: {what}: {how}" for what, how in rows)


def _named(host: Host[Settings], text: str) -> str:
    """The set of an argument that is no local file."""
    if text != "latest" and not ID.search(text):
        raise given.missing(text, host)
    id = id_of(text)
    if id != text:
        say(f"{host.name}: {text} is no file of this machine; the set {id} is looked for on the targets")
    return id


def _agreed_to_lose(host: Host[Settings], file: str, databases: list[dict[str, Any]], yes: bool) -> None:
    """Asks once more if tables with rows would be replaced by a dump without: `--yes` does not answer that."""
    for lossy in (lossy for lossy in databases if lossy.get("lost")):
        if yes or not sys.stdin.isatty():
            again = f"inv restore {quote(file)} --database {listed([lossy['name']])} --host {host.name}"
            raise Trouble(
                f"the dump has no rows of {_some(lossy['lost'])}, which {lossy['to']} has",
                host.name,
                "a dump of the schema alone, or of some tables, would replace all of it; --yes does not answer that",
                "nothing was changed",
                f"{again} --accept-empty, when that is right\n  or, beside it: {again} --as NAME",
                code=REFUSED,
            )
        confirm(f"Type {lossy['to']} to replace it with a dump that lacks these rows: ", False, word=lossy["to"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} tables more" if len(names) > FEW else "")


def _shown(host: Host[Settings], plan: dict[str, Any], limits: str = "") -> None:
    if plan["set"] == "local":
        say(f"{host.name}: a dump made by hand, without checksum and counts of its own; it is read to its end first")
    else:
        say(
            f"{host.name}: {plan['set']} of {plan['stack']}, made on {plan['host']} {age(plan['created'])} ago,"
            f" read from {plan['from']}"
        )
    for line in plan["warnings"]:
        say(f"  warning: {line}")
    for database in plan["databases"]:
        rows = f", {database['rows']} rows" if database["rows"] is not None else ""
        if database["replaces"] is None:
            say(f"  + {database['to']}  {human(database['bytes'])}{rows}; there is no such database now")
            continue
        say(f"  ~ {database['to']}  {human(database['bytes'])}{rows}, in the place of {human(database['replaces'])}")
        if plan["set"] != "local":
            say(f"      changes since {_moment(plan['created'])} leave it; it is kept as {database['kept']}")
        if database.get("lost"):
            say(f"      THE DUMP HAS NO ROWS of {_some(database['lost'])}; it has some now")
        if database["sessions"]:
            say(f"      {database['sessions']} sessions are cut at the swap")
    for folder in plan.get("folders", ()):
        place = (
            f", in the place of {human(folder['replaces'])}"
            if folder["replaces"] is not None
            else "; IT IS NOT THERE NOW"
        )
        say(f"  ~ {folder['here']}  {human(folder['bytes'])} in {folder['files']} files of {folder['name']}{place}")
        say(f"      changes since {_moment(plan['created'])} leave it; it is kept as {folder['kept']}")
    if limits:
        say(f"  of the buckets only {limits}")
    for bucket in plan.get("objects", ()):
        show_objects(bucket)
    for line in plan.get("accounts", ()):
        say(f"  + who may use the buckets, {line}")
    if "files" in plan:
        differ = f"{len(plan['differ'])} differ here" if plan["differ"] else "all are the same here"
        say(f"  configuration: {plan['files']} files are laid beside, none is installed; {differ}")
    if plan["dependents"]:
        say(f"  stopped for the swap: {', '.join(plan['dependents'])}")
    for place, free in plan["free"].items():
        say(f"  free in {place}: {human(free)}")
    if plan["obstacles"]:
        raise Trouble(
            "the live databases cannot be renamed",
            host.name,
            "\n".join(plan["obstacles"]),
            "nothing was changed",
            "\n".join([*plan.get("ways", []), "then the same again"]),
            code=REFUSED,
        )


def _moment(at: str) -> str:
    return f"{at[:16].replace('T', ' ')} UTC"


def undo(host: Host[Settings], yes: bool, command: str) -> None:
    """Undoes the last restore: swaps back what it replaced."""
    answer = runs.ask(host, Request(ask="undo"))
    say(f"{host.name}: the last restore brought {answer['set']}, begun {_moment(answer['restored'])}")
    for database in answer["databases"]:
        say(
            f"  ~ {database['name']} is again what is kept as {database['kept']}; what is there now is kept as {database['away']}"
        )
    for bucket in answer.get("buckets", ()):
        say(f"  ~ the bucket {bucket} loses each version that the restore made, and gets back what it displaced")
    for line in answer.get("accounts", ()):
        say(f"  - who may use the buckets, {line}")
    confirm(f"Swap these back on {host.name}? Type its name: ", yes, word=host.name)
    end(host, watch(host, runs.begin(host, Request(do="undo", of=answer["run"]), command)))


def cleanup(host: Host[Settings], yes: bool, command: str) -> None:
    """Drops what restores have kept; after that they cannot be undone."""
    answer = runs.ask(host, Request(ask="leftovers"))
    leftovers = answer["leftovers"]
    if not leftovers and not answer["configuration"]:
        say(f"{host.name}: nothing is kept from restores")
        return
    say(f"{host.name}: kept from restores")
    for leftover in leftovers:
        say(f"  - {leftover['name']}  {human(leftover['bytes'])}, since the restore of {_moment(leftover['restored'])}")
    for path in answer["configuration"]:
        say(f"  - {path}  files of a set's configuration, laid beside")
    confirm(f"Drop these on {host.name}? There is no undo after it. Type its name: ", yes, word=host.name)
    end(host, watch(host, runs.begin(host, Request(do="cleanup"), command)))

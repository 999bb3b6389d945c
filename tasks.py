"""The commands: a table of contents. Each reads as the sentence it is; the work is done in converge/ and roles/."""

from __future__ import annotations

import importlib
import shlex
import sys
from contextlib import suppress
from typing import Any

from invoke.collection import Collection
from invoke.exceptions import Exit

from converge.errors import Trouble
from converge.ui.cli import ROOT, command, hosts, last_words, only, words_of
from roles import MODULES, named, names_of


def _roles(host: Any, names: tuple[str, ...]) -> Any:
    from converge.engine.order import chosen

    if unknown := [name for name in host.settings.roles if named(name) is None]:
        raise Trouble(
            f"there is no role {unknown[0]}",
            where=host.name,
            why=f"its settings name it under roles; there are {', '.join(MODULES)}",
            untouched="nothing was changed",
            hint=f"inv inventory --host {host.name}, which says where it comes from",
        )
    return chosen(host.name, names_of(host.settings), lambda name: named(name, host), names)


def _past(name: str) -> Any:
    """A role that a host had: one of ours, or a service that its settings name no more."""
    from converge.engine.role import Role

    return named(name) or Role(name, lambda host: ())


def _deploy(c: Any, host: str, role: str, set: list[str] | None, **options: Any) -> None:
    from converge.ui.deploy import Options, deploy

    chosen = hosts(c, host, set)
    services = [name for one in chosen for name in one.settings.services]
    names = tuple(only(role, tuple(dict.fromkeys([*MODULES, *services]))))
    roles = {one.name: _roles(one, names) for one in chosen}
    deploy(
        chosen,
        {name: one.roles for name, one in roles.items()},
        Options(command=_said(), **options),
        None if names else _past,
        {name: one.beneath for name, one in roles.items()},
    )


@command(at_once=True)
def deploy(c, host="", role="", check=False, diff=True, full=False, yes=False, set=None, json=False):  # type: ignore[no-untyped-def]
    """Bring hosts to what the inventory says: plan, ask, change, read back."""
    _deploy(c, host, role, set, check=check, diff=diff, full=full, yes=yes, json=json)


@command(at_once=True)
def check(c, host="", role="", diff=True, full=False, set=None, json=False):  # type: ignore[no-untyped-def]
    """Show how far hosts are from the inventory; changes nothing. Exit code 2 when something differs."""
    _deploy(c, host, role, set, check=True, diff=diff, full=full, yes=False, json=json)


@command(at_once=True)
def status(c, host="", json=False):  # type: ignore[no-untyped-def]
    """The screen to open first: drives, nodes, quorum, endpoints, buckets, databases, drift, and what to do next."""
    from runbook.status import show

    chosen = hosts(c, host)
    _end(show(chosen, {one.name: _roles(one, ()).roles for one in chosen}, json))


@command(
    positional=["service"],
    help={"service": "a container (default: all)", "lines": "how many", "since": "such as 42m or a time"},
)
def logs(c, service="", host="", lines=100, follow=False, since=""):  # type: ignore[no-untyped-def]
    """Show the logs of a service, or of all."""
    from runbook.logs import logs

    logs(_one(c, host), service, lines, follow, since)


@command(help={"service": "minio (all nodes together), nginx or postgres"})
def restart(c, service, host=""):  # type: ignore[no-untyped-def]
    """Restart a service, and wait until data passes through it again."""
    from runbook.services import restart

    restart(_one(c, host), service, _said())


@command(at_once=True, help={"lines": "how many"})
def history(c, host="", lines=20, json=False):  # type: ignore[no-untyped-def]
    """Show which deploys a host has seen: when, by whom, from which commit."""
    from runbook.history import history

    for one in hosts(c, host):
        history(one, lines, json)


@command
def unlock(c, host="", yes=False):  # type: ignore[no-untyped-def]
    """Show who holds the lock of a host; ask, then end what holds it."""
    from runbook.history import unlock

    unlock(_one(c, host), yes)


@command(at_once=True)
def inventory(c, host="", set=None, json=False):  # type: ignore[no-untyped-def]
    """Show every setting of a host and where it came from."""
    from runbook.inventory import show

    for one in hosts(c, host, set, secrets=False):
        show(one, json)


@command(name="list", at_once=True)
def drives_list(c, host="", json=False):  # type: ignore[no-untyped-def]
    """Show the drives of a host, with size, serial and content."""
    from runbook.drive import show

    for one in hosts(c, host):
        show(one, json)


@command(name="replace", help={"label": "the drive that is replaced"})
def drives_replace(c, label, host="", yes=False):  # type: ignore[no-untyped-def]
    """Put a blank drive in the place of a dead one, and follow the healing to its end."""
    from runbook import drive

    one = _one(c, host)
    with drive.replacing(one, label, yes, _said()):
        _deploy(c, one.name, "", None, check=False, diff=True, full=False, yes=yes, json=False)
    drive.follow_healing(one)


@command(
    name="trust",
    help={
        "name": "a host, a group, or several with commas",
        "address": "where a new machine is",
        "port": "its SSH port",
    },
)
def host_trust(c, name, address="", port=0, yes=False):  # type: ignore[no-untyped-def]
    """Show the fingerprint of a host's key and pin it."""
    from runbook.machines import newcomer
    from runbook.trust import trust

    if address:
        trust(newcomer(ROOT, name, address, port=port).target, yes)
        return
    for one in hosts(c, name, secrets=False):
        trust(one.target, yes)


@command(
    name="add",
    help={
        "name": "its name in the inventory",
        "address": "where it is",
        "user": "who logs in",
        "port": "SSH port",
        "key": "private key file",
        "group": "what it is to be: a group of inventory/hosts.yml",
        "sudo-password": "where it is: file:PATH, env:NAME or command:TEXT",
    },
)
def host_add(c, name, address, user="", port=0, key="", group="", sudo_password=""):  # type: ignore[no-untyped-def]
    """Read a new machine and write its host file and secrets."""
    from runbook.machines import add, newcomer

    add(ROOT, newcomer(ROOT, name, address, user, port, key, group, sudo_password))


@command(
    help={
        "only": "postgres or config: a set of that alone",
        "accept-shrink": "a dump may be half of the last one",
        "take-over": "the sets of this stack were another host's",
        "allow-many": "more than half of the sets are old and may go",
    },
)
def backup(c, host="", only="", accept_shrink=False, take_over=False, allow_many=False):  # type: ignore[no-untyped-def]
    """Make a set of the databases and the configuration now, on every target, and follow it to its end."""
    from roles.backup.commands import backup

    allowed = {"accept_shrink": accept_shrink, "take_over": take_over, "allow_many": allow_many}
    backup(_one(c, host), only, allowed, _said())


@command(name="attach", help={"run": "its id (default: the one under way, else the last)"})
def backup_attach(c, host="", run=""):  # type: ignore[no-untyped-def]
    """Show the journal of a backup or restore from its beginning, and follow it."""
    from roles.backup.commands import attach

    attach(_one(c, host), run)


@command(name="list", help={"from": "one target (default: all)"})
def backup_list(c, host="", from_="", json=False):  # type: ignore[no-untyped-def]
    """Show the sets of every target: age, size, checked when."""
    from roles.backup.commands import listing

    listing(_one(c, host), from_, json)


@command(name="show", help={"set-id": "its id, or latest", "from": "one target (default: all)"})
def backup_show(c, set_id, host="", from_="", json=False):  # type: ignore[no-untyped-def]
    """Show what is in a set."""
    from roles.backup.commands import show

    show(_one(c, host), set_id, from_, json)


@command(name="diff", help={"set-id": "its id, or latest", "from": "one target (default: all)"})
def backup_diff(c, set_id, host="", from_="", json=False):  # type: ignore[no-untyped-def]
    """Compare a set with what is there now: counts of rows, files of the configuration."""
    from roles.backup.commands import diff

    diff(_one(c, host), set_id, from_, json)


@command(
    name="verify",
    help={
        "set-id": "its id, or latest",
        "from": "one target (default: all)",
        "drill": "restore it into a throwaway server and compare every count",
    },
)
def backup_verify(c, set_id, host="", from_="", drill=False):  # type: ignore[no-untyped-def]
    """Read every byte of a set and compare; with --drill, restore it where nobody is hurt."""
    from roles.backup.commands import verify

    verify(_one(c, host), set_id, from_, drill, _said())


@command(name="fetch", help={"set-id": "its id, or latest", "folder": "a folder of this machine", "from": "one target"})
def backup_fetch(c, set_id, folder, host="", from_=""):  # type: ignore[no-untyped-def]
    """Copy a set to this machine, encrypted as it is."""
    from roles.backup.commands import fetch

    fetch(_one(c, host), set_id, folder, from_)


@command(name="pin", help={"set-id": "its id", "why": "for those who come after you"})
def backup_pin(c, set_id, host="", why=""):  # type: ignore[no-untyped-def]
    """Keep a set from being removed when it is old."""
    from roles.backup.commands import pin

    pin(_one(c, host), set_id, why)


@command(name="unpin", help={"set-id": "its id"})
def backup_unpin(c, set_id, host=""):  # type: ignore[no-untyped-def]
    """Let a pinned set be removed when it is old."""
    from roles.backup.commands import unpin

    unpin(_one(c, host), set_id)


@command(name="settle")
def backup_settle(c, host=""):  # type: ignore[no-untyped-def]
    """Put right what a backup or restore that was cut off has left; makes no backup."""
    from roles.backup.commands import settle

    settle(_one(c, host), _said())


@command(name="stop")
def backup_stop(c, host="", yes=False):  # type: ignore[no-untyped-def]
    """Stop the backup or restore that is under way."""
    from roles.backup.commands import stop

    stop(_one(c, host), yes)


@command(name="recovery-sheet")
def backup_recovery_sheet(c, host=""):  # type: ignore[no-untyped-def]
    """Print what to do when the host is dead, to be kept where the keys are."""
    from roles.backup.commands import recovery_sheet

    recovery_sheet(_one(c, host))


@command(
    positional=["file"],
    iterable=["database"],
    help={
        "file": "a set's id, latest, the key of an object, what backup.fetch brought, or a local file of pg_dump -Fc",
        "database": "only these databases, with commas; may be repeated; one with a comma in double quotes",
        "as": "the name that the database gets",
        "from": "one target (default: the first that has it whole)",
        "of-stack": "a set of another stack",
        "no-tablespaces": "all tables where the server keeps its others: a tablespace of the set is not there",
        "accept-differences": "take what the last try found to be other than in the set; shows it, asks, writes it down",
        "accept-empty": "a dump may lack the rows of tables that have some",
    },
)
def restore(  # type: ignore[no-untyped-def]
    c,
    file,
    host="",
    database=None,
    as_="",
    from_="",
    of_stack="",
    no_tablespaces=False,
    accept_differences=False,
    accept_empty=False,
    yes=False,
):
    """Restore beside, compare every count, then swap; what was there is kept."""
    from roles.backup.restore import restore

    one = _one(c, host)
    allowed = {"tablespaces": not no_tablespaces, "accept": accept_differences, "accept_empty": accept_empty}
    restore(one, file, database or (), as_, from_, of_stack, yes, _said(), **allowed)
    # What a set brought back may not be what the inventory says by now; that is shown, and is no failure of the restore.
    with suppress(Exit):
        _deploy(c, one.name, "", None, check=True, diff=True, full=False, yes=False, json=False)


@command(name="undo")
def restore_undo(c, host="", yes=False):  # type: ignore[no-untyped-def]
    """Swap back what the last restore replaced."""
    from roles.backup.restore import undo

    undo(_one(c, host), yes, _said())


@command(name="cleanup")
def restore_cleanup(c, host="", yes=False):  # type: ignore[no-untyped-def]
    """Drop the databases and files that restores have kept; asks first."""
    from roles.backup.restore import cleanup

    cleanup(_one(c, host), yes, _said())


def _one(c: Any, host: str) -> Any:
    chosen = hosts(c, host)
    if len(chosen) > 1:
        raise Trouble(
            "one host, please",
            why=f"that names {', '.join(one.name for one in chosen)}",
            hint=f"--host {chosen[0].name}",
        )
    return chosen[0]


def _end(code: int) -> None:
    if code:
        raise Exit(code=code)


def _said() -> str:
    return "inv " + " ".join(shlex.quote(word) for word in sys.argv[1:])


def _collection(name: str, *tasks: Any, default: Any = None) -> Collection:
    """`inv NAME` deploys one role, or is a command of its own; runbook commands stand beside it as `inv NAME.COMMAND`."""
    collection = Collection(name, *tasks)
    if default:
        collection.add_task(default, name="now", default=True)
    elif name in MODULES:

        def deploy(c, host="", check=False, diff=True, full=False, yes=False, set=None, json=False):  # type: ignore[no-untyped-def]
            _deploy(c, host, name, set, check=check, diff=diff, full=full, yes=yes, json=json)

        deploy.__doc__ = _first_line(name)
        collection.add_task(command(deploy, at_once=True), name="deploy", default=True)
    return collection


def _first_line(role: str) -> str:
    """What a role says of itself; not by loading it, for most commands need none of them."""
    with (ROOT / MODULES[role].replace(".", "/")).with_suffix(".py").open(encoding="utf-8") as source:
        return source.readline().strip('"\n')


sys.excepthook = last_words
namespace = Collection(deploy, check, status, logs, restart, history, unlock, inventory)
namespace.add_collection(_collection("host", host_add, host_trust))
namespace.add_collection(Collection.from_module(importlib.import_module("lab.tasks"), "lab"))
_backup = (
    backup_attach,
    backup_diff,
    backup_fetch,
    backup_list,
    backup_pin,
    backup_recovery_sheet,
    backup_settle,
    backup_show,
    backup_stop,
    backup_unpin,
    backup_verify,
)
namespace.add_collection(_collection("backup", *_backup, default=backup))
namespace.add_collection(_collection("restore", restore_cleanup, restore_undo, default=restore))
for _name in (one for one in MODULES if one != "backup"):
    namespace.add_collection(_collection(_name, *((drives_list, drives_replace) if _name == "drives" else ())))
words_of(namespace)

"""The commands of backups and restores."""

from __future__ import annotations

from contextlib import suppress

from invoke.exceptions import Exit

from converge.ui.cli import command, one, said


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
    backup(one(c, host), only, allowed, said())


@command(name="attach", help={"run": "its id (default: the one under way, else the last)"})
def backup_attach(c, host="", run=""):  # type: ignore[no-untyped-def]
    """Show the journal of a backup or restore from its beginning, and follow it."""
    from roles.backup.commands import attach

    attach(one(c, host), run)


@command(name="list", help={"from": "one target (default: all)"})
def backup_list(c, host="", from_="", json=False):  # type: ignore[no-untyped-def]
    """Show the sets of every target: age, size, checked when."""
    from roles.backup.commands import listing

    listing(one(c, host), from_, json)


@command(name="show", help={"set-id": "its id, or latest", "from": "one target (default: all)"})
def backup_show(c, set_id, host="", from_="", json=False):  # type: ignore[no-untyped-def]
    """Show what is in a set."""
    from roles.backup.commands import show

    show(one(c, host), set_id, from_, json)


@command(name="diff", help={"set-id": "its id, or latest", "from": "one target (default: all)"})
def backup_diff(c, set_id, host="", from_="", json=False):  # type: ignore[no-untyped-def]
    """Compare a set with what is there now: counts of rows, files of the configuration."""
    from roles.backup.commands import diff

    diff(one(c, host), set_id, from_, json)


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

    verify(one(c, host), set_id, from_, drill, said())


@command(name="fetch", help={"set-id": "its id, or latest", "folder": "a folder of this machine", "from": "one target"})
def backup_fetch(c, set_id, folder, host="", from_=""):  # type: ignore[no-untyped-def]
    """Copy a set to this machine, encrypted as it is."""
    from roles.backup.commands import fetch

    fetch(one(c, host), set_id, folder, from_)


@command(name="pin", help={"set-id": "its id", "why": "for those who come after you"})
def backup_pin(c, set_id, host="", why=""):  # type: ignore[no-untyped-def]
    """Keep a set from being removed when it is old."""
    from roles.backup.commands import pin

    pin(one(c, host), set_id, why)


@command(name="unpin", help={"set-id": "its id"})
def backup_unpin(c, set_id, host=""):  # type: ignore[no-untyped-def]
    """Let a pinned set be removed when it is old."""
    from roles.backup.commands import unpin

    unpin(one(c, host), set_id)


@command(name="settle")
def backup_settle(c, host=""):  # type: ignore[no-untyped-def]
    """Put right what a backup or restore that was cut off has left; makes no backup."""
    from roles.backup.commands import settle

    settle(one(c, host), said())


@command(name="stop")
def backup_stop(c, host="", yes=False):  # type: ignore[no-untyped-def]
    """Stop the backup or restore that is under way."""
    from roles.backup.commands import stop

    stop(one(c, host), yes)


@command(name="recovery-sheet")
def backup_recovery_sheet(c, host=""):  # type: ignore[no-untyped-def]
    """Print what to do when the host is dead, to be kept where the keys are."""
    from roles.backup.commands import recovery_sheet

    recovery_sheet(one(c, host))


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
    from roles.deploying import deploy

    chosen = one(c, host)
    allowed = {"tablespaces": not no_tablespaces, "accept": accept_differences, "accept_empty": accept_empty}
    restore(chosen, file, database or (), as_, from_, of_stack, yes, said(), **allowed)
    # What a set brought back may not be what the inventory says by now; that is shown, and is no failure of the restore.
    with suppress(Exit):
        deploy(c, chosen.name, "", None, check=True, diff=True, full=False, yes=False, json=False)


@command(name="undo")
def restore_undo(c, host="", yes=False):  # type: ignore[no-untyped-def]
    """Swap back what the last restore replaced."""
    from roles.backup.restore import undo

    undo(one(c, host), yes, said())


@command(name="cleanup")
def restore_cleanup(c, host="", yes=False):  # type: ignore[no-untyped-def]
    """Drop the databases and files that restores have kept; asks first."""
    from roles.backup.restore import cleanup

    cleanup(one(c, host), yes, said())


BACKUP = (
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
RESTORE = (restore_cleanup, restore_undo)

"""The commands of backups and restores."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from converge.ui.cli import command, command_line
from roles.settings.hosts import one_host

if TYPE_CHECKING:
    from invoke.context import Context

    from roles.backup.objects import Objects


@command(
    help={
        "only": "postgres, buckets, config or services: a set of that alone",
        "accept-shrink": "a dump may be half of the last one",
        "accept-unreadable": "the objects that cannot be read now stay out, in the sets to come as well",
        "take-over": "the sets of this stack were another host's",
        "allow-many": "more than half of the sets are old and may go",
        "limit-rate": "bytes a second to each target, such as 20MiB (default: backup.limit_rate)",
        "json": "each event of the run as a line of JSON, the last one is its end",
    },
)
def backup(
    c: Context,
    host: str = "",
    only: str = "",
    accept_shrink: bool = False,
    accept_unreadable: bool = False,
    take_over: bool = False,
    allow_many: bool = False,
    limit_rate: str = "",
    json: bool = False,
) -> None:
    """Make a set of the databases, buckets, folders of services and the configuration now, on every target, and follow it to its end."""
    from roles.backup.commands import backup, rate_of
    from worker.contract import Request

    allowed = Request(do="backup", accept_shrink=accept_shrink, take_over=take_over, allow_many=allow_many)
    asked = replace(
        allowed, only=[component for component in only.split(",") if component], limit_rate=rate_of(limit_rate)
    )
    asked.accept_unreadable = accept_unreadable
    backup(one_host(c, host), asked, command_line(), json)


@command(
    name="attach",
    help={"run": "its id (default: the one under way, else the last)", "json": "each event as a line of JSON"},
)
def backup_attach(c: Context, host: str = "", run: str = "", json: bool = False) -> None:
    """Show the journal of a backup or restore from its beginning, and follow it."""
    from roles.backup.commands import attach

    attach(one_host(c, host), run, json)


@command(name="list", help={"from": "one target (default: all)"})
def backup_list(c: Context, host: str = "", from_: str = "", json: bool = False) -> None:
    """Show the sets of every target: age, size, checked when."""
    from roles.backup.sets import listing

    listing(one_host(c, host), from_, json)


def _part(bucket: str, prefix: str) -> Objects | None:
    """The bucket, or part of one, to look into; None for the set as a whole."""
    from roles.backup.objects import Objects, words_of

    return Objects(words_of(bucket), prefix) if bucket or prefix else None


@command(
    name="show",
    help={
        "set-id": "its id, or latest",
        "from": "one target (default: all)",
        "bucket": "the versions that the set has of this bucket",
        "prefix": "of the bucket only the keys that begin so",
    },
)
def backup_show(
    c: Context, set_id: str, host: str = "", from_: str = "", bucket: str = "", prefix: str = "", json: bool = False
) -> None:
    """Show what is in a set."""
    from roles.backup.sets import show

    show(one_host(c, host), set_id, from_, json, _part(bucket, prefix))


@command(
    name="diff",
    help={
        "set-id": "its id, or latest",
        "from": "one target (default: all)",
        "bucket": "this bucket, and nothing else",
        "prefix": "of the bucket only the keys that begin so",
    },
)
def backup_diff(
    c: Context, set_id: str, host: str = "", from_: str = "", bucket: str = "", prefix: str = "", json: bool = False
) -> None:
    """Compare a set with what is there now: counts of rows, versions in buckets, files of the configuration."""
    from roles.backup.sets import diff

    diff(one_host(c, host), set_id, from_, json, _part(bucket, prefix))


@command(
    name="verify",
    help={
        "set-id": "its id, or latest",
        "from": "one target (default: all)",
        "drill": "restore it into a throwaway server and compare every count",
    },
)
def backup_verify(c: Context, set_id: str, host: str = "", from_: str = "", drill: bool = False) -> None:
    """Read every byte of a set and compare; with --drill, restore it where nobody is hurt."""
    from roles.backup.commands import verify

    verify(one_host(c, host), set_id, from_, drill, command_line())


@command(name="fetch", help={"set-id": "its id, or latest", "folder": "a folder of this machine", "from": "one target"})
def backup_fetch(c: Context, set_id: str, folder: str, host: str = "", from_: str = "") -> None:
    """Copy a set to this machine, encrypted as it is."""
    from roles.backup.commands import fetch

    fetch(one_host(c, host), set_id, folder, from_)


@command(name="pin", help={"set-id": "its id", "why": "for those who come after you"})
def backup_pin(c: Context, set_id: str, host: str = "", why: str = "") -> None:
    """Keep a set from being removed when it is old."""
    from roles.backup.commands import pin

    pin(one_host(c, host), set_id, why)


@command(name="unpin", help={"set-id": "its id"})
def backup_unpin(c: Context, set_id: str, host: str = "") -> None:
    """Let a pinned set be removed when it is old."""
    from roles.backup.commands import unpin

    unpin(one_host(c, host), set_id)


@command(name="settle")
def backup_settle(c: Context, host: str = "") -> None:
    """Put right what a backup or restore that was cut off has left; makes no backup."""
    from roles.backup.commands import settle

    settle(one_host(c, host), command_line())


@command(name="stop")
def backup_stop(c: Context, host: str = "", yes: bool = False) -> None:
    """Stop the backup or restore that is under way."""
    from roles.backup.commands import stop

    stop(one_host(c, host), yes)


@command(name="recovery-sheet")
def backup_recovery_sheet(c: Context, host: str = "") -> None:
    """Print what to do when the host is dead, to be kept where the keys are."""
    from roles.backup.sheet import recovery_sheet

    recovery_sheet(one_host(c, host))


@command(
    positional=["file"],
    iterable=["database"],
    help={
        "file": "a set's id, latest, the key of an object, what backup.fetch brought, or a local file of pg_dump -Fc",
        "database": "only these databases, with commas; may be repeated; one with a comma in double quotes",
        "as": "the name that the database or the bucket gets",
        "from": "one target (default: the first that has it whole)",
        "of-stack": "a set of another stack",
        "no-tablespaces": "all tables where the server keeps its others: a tablespace of the set is not there",
        "accept-differences": "take what the last try found to be other than in the set; shows it, asks, writes it down",
        "accept-empty": "a dump may lack the rows of tables that have some",
        "service": "the folders of a service, and nothing else",
        "folder": "one folder of the service, by its path in the container",
        "bucket": "the objects of these buckets, with commas, and nothing else",
        "prefix": "of the bucket only the keys that begin so",
        "key": "of the bucket only this key",
        "exact": "keys of the buckets that the set does not have get a delete marker",
        "at": "the buckets as they were at this moment, in UTC, as far as the set has their versions",
        "new-ids": "versions in their order, with ids and dates of the server's own, above what is there",
        "hold-lifecycle": "rules that expire objects stay off until restore.cleanup",
        "with": "iam, bucket-config: users, policies, keys and settings of buckets, where they are absent",
    },
)
def restore(
    c: Context,
    file: str,
    host: str = "",
    database: list[str] | None = None,
    as_: str = "",
    from_: str = "",
    of_stack: str = "",
    no_tablespaces: bool = False,
    accept_differences: bool = False,
    accept_empty: bool = False,
    service: str = "",
    folder: str = "",
    bucket: str = "",
    prefix: str = "",
    key: str = "",
    exact: bool = False,
    at: str = "",
    hold_lifecycle: bool = False,
    new_ids: bool = False,
    with_: str = "",
    yes: bool = False,
) -> None:
    """Bring back databases and buckets, or some of them, or the folders of a service: loaded beside or beneath what is there, compared, then put in force; what was there is kept."""
    from roles.backup.objects import Objects, words_of
    from roles.backup.restore import restore
    from roles.deploying import deploy

    chosen = one_host(c, host)
    allowed = {"tablespaces": not no_tablespaces, "accept": accept_differences, "accept_empty": accept_empty}
    of = (service, folder) if service or folder else None
    asked = Objects(words_of(bucket), prefix, key, exact, at, hold_lifecycle, new_ids, tuple(words_of(with_)))
    objects = asked if asked != Objects([]) else None
    typed = command_line()
    restore(chosen, file, database or (), as_, from_, of_stack, yes, typed, of=of, objects=objects, **allowed)
    # What a set brought back may not be what the inventory says by now; that is shown, and is no failure of the restore.
    with suppress(Exit):
        deploy(c, chosen.name, "", None, check=True, diff=True, full=False, yes=False, json=False)


@command(name="undo")
def restore_undo(c: Context, host: str = "", yes: bool = False) -> None:
    """Swap back what the last restore replaced."""
    from roles.backup.restore import undo

    undo(one_host(c, host), yes, command_line())


@command(name="cleanup")
def restore_cleanup(c: Context, host: str = "", yes: bool = False) -> None:
    """Drop the databases and files that restores have kept; asks first."""
    from roles.backup.restore import cleanup

    cleanup(one_host(c, host), yes, command_line())


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

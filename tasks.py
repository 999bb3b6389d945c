"""The commands: a table of contents. What each does stands in runbook/, roles/ and lab/."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from converge.ui.cli import ROOT, command, last_words, words_of
from converge.ui.own import own_commands
from roles import MODULES
from roles.backup.tasks import BACKUP, RESTORE, backup, restore
from roles.edge.tasks import CERTS
from roles.minio.tasks import ACCOUNTS, BUCKETS, MINIO
from runbook.tasks import COMMANDS, DRIVES, ERASE, HOSTS, LOGS, logs

if TYPE_CHECKING:
    from invoke.context import Context


@command(at_once=True)
def deploy(
    c: Context,
    host: str = "",
    role: str = "",
    check: bool = False,
    diff: bool = True,
    full: bool = False,
    yes: bool = False,
    set: list[str] | None = None,
    json: bool = False,
) -> None:
    """Bring hosts to what the inventory says: plan, ask, change, read back."""
    _deployed(c, host, role, set, check=check, diff=diff, full=full, yes=yes, json=json)


@command(at_once=True)
def check(
    c: Context,
    host: str = "",
    role: str = "",
    diff: bool = True,
    full: bool = False,
    set: list[str] | None = None,
    json: bool = False,
) -> None:
    """Show how far hosts are from the inventory; changes nothing. Exit code 2 when something differs."""
    _deployed(c, host, role, set, check=True, diff=diff, full=full, yes=False, json=json)


def _collection(name: str, *tasks: Any, default: Any = None) -> Collection:
    """`inv NAME` deploys one role, or is a command of its own; runbook commands stand beside it as `inv NAME.COMMAND`."""
    collection = Collection(name, *tasks)
    if default:
        collection.add_task(default, name="now", default=True)
    elif name in MODULES:

        def deploy(
            c: Context,
            host: str = "",
            check: bool = False,
            diff: bool = True,
            full: bool = False,
            yes: bool = False,
            set: list[str] | None = None,
            json: bool = False,
        ) -> None:
            _deployed(c, host, name, set, check=check, diff=diff, full=full, yes=yes, json=json)

        deploy.__doc__ = _first_line(name)
        collection.add_task(command(at_once=True)(deploy), name="deploy", default=True)
    return collection


def _first_line(role: str) -> str:
    """What a role says of itself; not by loading it, for most commands need none of them."""
    with (ROOT / MODULES[role].replace(".", "/")).with_suffix(".py").open(encoding="utf-8") as source:
        return source.readline().strip('"\n')


def _deployed(*args: Any, **options: Any) -> None:
    from roles.deploying import deploy

    deploy(*args, **options)


sys.excepthook = last_words
namespace = Collection(deploy, check, *COMMANDS)
namespace.add_collection(HOSTS)
namespace.add_collection(Collection.from_module(importlib.import_module("lab.tasks"), "lab"))
namespace.add_collection(_collection("logs", *LOGS, default=logs))
namespace.add_collection(_collection("certs", *CERTS))
namespace.add_collection(_collection("backup", *BACKUP, default=backup))
namespace.add_collection(_collection("restore", *RESTORE, default=restore))
BESIDE = {"drives": DRIVES, "minio": MINIO, "buckets": (*BUCKETS, *ERASE)}
"""The commands of a role, beside the one that deploys it."""
for _name in (one for one in MODULES if one != "backup"):
    namespace.add_collection(_collection(_name, *BESIDE.get(_name, ())))
namespace.add_collection(_collection("accounts", *ACCOUNTS))
for _own in own_commands(ROOT / "own_tasks.py"):
    namespace.add_collection(_own)
words_of(namespace)

"""The commands: a table of contents. What each does stands in runbook/, roles/ and lab/."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from invoke.collection import Collection

from converge.ui.cli import ROOT, command, last_words, words_of
from roles import MODULES
from roles.backup.tasks import BACKUP, RESTORE, backup, restore
from runbook.tasks import COMMANDS, DRIVES, HOSTS


@command(at_once=True)
def deploy(c, host="", role="", check=False, diff=True, full=False, yes=False, set=None, json=False):  # type: ignore[no-untyped-def]
    """Bring hosts to what the inventory says: plan, ask, change, read back."""
    _deployed(c, host, role, set, check=check, diff=diff, full=full, yes=yes, json=json)


@command(at_once=True)
def check(c, host="", role="", diff=True, full=False, set=None, json=False):  # type: ignore[no-untyped-def]
    """Show how far hosts are from the inventory; changes nothing. Exit code 2 when something differs."""
    _deployed(c, host, role, set, check=True, diff=diff, full=full, yes=False, json=json)


def _collection(name: str, *tasks: Any, default: Any = None) -> Collection:
    """`inv NAME` deploys one role, or is a command of its own; runbook commands stand beside it as `inv NAME.COMMAND`."""
    collection = Collection(name, *tasks)
    if default:
        collection.add_task(default, name="now", default=True)
    elif name in MODULES:

        def deploy(c, host="", check=False, diff=True, full=False, yes=False, set=None, json=False):  # type: ignore[no-untyped-def]
            _deployed(c, host, name, set, check=check, diff=diff, full=full, yes=yes, json=json)

        deploy.__doc__ = _first_line(name)
        collection.add_task(command(deploy, at_once=True), name="deploy", default=True)
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
namespace.add_collection(_collection("backup", *BACKUP, default=backup))
namespace.add_collection(_collection("restore", *RESTORE, default=restore))
for _name in (one for one in MODULES if one != "backup"):
    namespace.add_collection(_collection(_name, *(DRIVES if _name == "drives" else ())))
words_of(namespace)

"""The commands: a table of contents. Each reads as the sentence it is; the work is done in converge/ and roles/."""

from __future__ import annotations

import importlib
import shlex
import sys
from typing import Any

from invoke import Collection

from converge.cli import command, hosts, only

ROLES = ("base", "drives", "docker", "images", "minio", "nginx", "stack", "buckets")


def _roles(host: Any, names: tuple[str, ...]) -> list[Any]:
    wanted = [name for name in host.settings.roles if not names or name in names]
    return [getattr(importlib.import_module(f"roles.{name}"), name) for name in wanted]


def _deploy(c: Any, host: str, role: str, set: list[str], **options: Any) -> None:
    from converge.deploy import Options, deploy

    names = tuple(only(role, ROLES))
    chosen = hosts(c, host, set)
    said = "inv " + " ".join(shlex.quote(word) for word in sys.argv[1:])
    deploy(chosen, {one.name: _roles(one, names) for one in chosen}, Options(command=said, **options))


@command
def deploy(c, host="", role="", check=False, diff=True, full=False, yes=False, set=(), json=False):  # type: ignore[no-untyped-def]
    """Bring hosts to what the inventory says: plan, ask, change, read back."""
    _deploy(c, host, role, set, check=check, diff=diff, full=full, yes=yes, json=json)


@command
def check(c, host="", role="", diff=True, full=False, set=(), json=False):  # type: ignore[no-untyped-def]
    """Show how far hosts are from the inventory; changes nothing. Exit code 2 when something differs."""
    _deploy(c, host, role, set, check=True, diff=diff, full=full, yes=False, json=json)


def _role_collection(name: str) -> Collection:
    """`inv NAME` deploys one role; what else a role offers stands beside it as `inv NAME.COMMAND`."""
    module = importlib.import_module(f"roles.{name}")

    def body(c, host="", check=False, diff=True, full=False, yes=False, set=(), json=False):  # type: ignore[no-untyped-def]
        _deploy(c, host, name, set, check=check, diff=diff, full=full, yes=yes, json=json)

    body.__name__ = body.__qualname__ = name
    body.__doc__ = module.__doc__
    return Collection(name, default=command(body)) if False else _with_default(name, command(body))


def _with_default(name: str, task: Any) -> Collection:
    collection = Collection(name)
    collection.add_task(task, name="deploy", default=True)
    return collection


namespace = Collection(deploy, check)
for _name in ROLES:
    namespace.add_collection(_role_collection(_name))

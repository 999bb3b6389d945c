"""Commands of the operator's own: `inv own.NAME` is a task of own_tasks.py, with our flags, hosts and errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.exceptions import Failure

from converge.errors import Trouble, Troubles

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.inventory.validation import Settings
    from converge.ssh.connection import Connection


def own_commands(file: Path) -> list[Collection]:
    """The tasks of this file. If it cannot be loaded, that is reported, and other commands still work."""
    spec = spec_from_file_location("own", file)
    if not file.exists() or not spec or not spec.loader:
        return []
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        from converge.ui.cli import tell

        print(tell(_not_loaded(file, error)), file=sys.stderr)
        return []
    return [Collection.from_module(module, "own")]


def _not_loaded(file: Path, error: Exception) -> Trouble:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    place = f"{file.name}:{line}" if line else file.name
    why = f"{type(error).__name__}: {error}"
    return Trouble("it cannot be loaded", place, why, "all other commands work", f"mend {place}")


def for_each(hosts: Iterable[Host[Settings]], do: Callable[[Host[Settings]], Any]) -> None:
    """Do something with each host. A host that fails does not block the others; it is reported at the end."""
    troubles: list[Trouble] = []
    for host in hosts:
        try:
            do(host)
        except Trouble as trouble:
            troubles.append(trouble)
        except Failure as failure:
            troubles.append(failed(failure))
    if troubles:
        raise Troubles(troubles)


def failed(failure: Failure) -> Trouble:
    """What to say of a command that Invoke or Fabric ran, and that did not end with 0."""
    result, ended = failure.result, str(failure.reason or f"it ended with status {failure.result.exited}")
    last = (result.stderr or result.stdout).strip().splitlines()[-5:]
    trouble = Trouble(f"the command failed: {result.command}", why="\n".join([ended, *last]))
    connection: Connection | None = getattr(result, "connection", None)
    if connection is None:
        return trouble
    trouble.where, trouble.hint = connection.name, connection.line_command
    return connection.lost() or trouble

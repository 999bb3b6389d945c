"""The hosts that a command was given, with validated settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.ui.cli import ROOT

if TYPE_CHECKING:
    from invoke.context import Context

    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


def hosts(
    context: Context, names: str, sets: Sequence[str] | None = None, secrets: bool = True
) -> list[Host[Settings]]:
    """The hosts of `--host`, or of the default in invoke.yaml; nothing is connected to."""
    from converge.inventory.hosts import load
    from roles.settings.model import (
        Settings,  # Pydantic takes a tenth of a second, which a list of commands need not wait
    )

    return load(ROOT, names or str(context.config.get("host") or ""), Settings, sets or (), secrets)


def one_host(context: Context, names: str, secrets: bool = True) -> Host[Settings]:
    """The host of `--host`, which must be a single one."""
    chosen = hosts(context, names, secrets=secrets)
    if len(chosen) > 1:
        raise Trouble(
            "one host, please",
            why=f"that names {', '.join(each.name for each in chosen)}",
            hint=f"--host {chosen[0].name}",
        )
    return chosen[0]

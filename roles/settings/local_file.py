"""Files on the operator's machine that settings lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.inventory.local_text import Unreadable, place, text_of

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

LIMIT = 1 << 20
"""Bytes. Certificates and signing keys are far below it."""


def local_text(host: Host[Settings], name: str, path: str) -> str:
    """The text of a file on the operator's machine that the setting `name` leads to."""
    try:
        return text_of(place(host.root, path), LIMIT)
    except Unreadable as reason:
        raise Trouble(
            f"{name} cannot be read",
            where=host.name,
            why=f"{path}: {reason}",
            untouched="nothing was changed",
            hint=f"ls -l {path}",
        ) from None

"""The inventory as a host sees it: every setting, its value, and where it came from."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from converge.inventory.hosts import explain

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

NARROWEST, WIDEST = 60, 100
"""Columns that a line has at least and at most; between them, as many as the terminal."""


def show(host: Host[Settings], as_json: bool) -> None:
    """Print every setting of a host; secrets show their reference, never their value."""
    rows = explain(host)
    if as_json:
        print(
            json.dumps(
                {
                    "host": host.name,
                    "groups": host.groups,
                    "settings": [dict(zip(("key", "value", "origin"), row, strict=True)) for row in rows],
                }
            )
        )
        return
    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 0)).columns))
    groups = f"{host.name}  (groups: {', '.join(host.groups)}; its files are beneath inventory/)"
    print("\n".join([*_wrapped(groups, width, "  "), *table(rows, width)]))


def table(rows: list[tuple[str, str, str]], width: int) -> Iterator[str]:
    """The settings in three columns; a value that is too long for its column follows below, and nothing is cut off."""
    places = [origin.removeprefix("inventory/") for _, _, origin in rows]
    keys = min(max((len(key) for key, _, _ in rows), default=0), width // 3)
    values = width - keys - min(max(map(len, places), default=0), width // 3) - 6
    for (key, value, _), place in zip(rows, places, strict=True):
        fits = len(key) <= keys and len(value) <= values
        yield from _wrapped(f"  {key:{keys}}  {value if fits else '':{values}}  {place}".rstrip(), width, "      ")
        if not fits:
            yield from _wrapped(f"      {value}", width, "      ")


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    """Broken at blanks and, where a word is longer than a line, anywhere."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]

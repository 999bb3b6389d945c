"""Heavy libraries, imported only where they are needed, and by one thread at a time."""

from __future__ import annotations

import importlib
from threading import Lock

_IMPORTING = Lock()


def whole(*names: str) -> None:
    """Import modules to their end. Threads that import parts of one library at once find each other's half made."""
    with _IMPORTING:
        for name in names:
            importlib.import_module(name)

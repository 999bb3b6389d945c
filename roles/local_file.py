"""Files on the operator's machine that settings lead to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converge.errors import Trouble


def local_text(host: Any, name: str, path: str) -> str:
    """The text of a file on the operator's machine that the setting `name` leads to."""
    try:
        return str((host.root / Path(path).expanduser()).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Trouble(
            f"{name} cannot be read",
            where=host.name,
            why=f"{path}: {getattr(error, 'strerror', None) or 'it is not text'}",
            untouched="nothing was changed",
            hint=f"ls -l {path}",
        ) from None

"""Files with one secret each, which a deploy writes beside the worker's configuration."""

from __future__ import annotations

from pathlib import Path

from worker.contract import REFUSED
from worker.errors import Failed


def secret_in(path: str | Path) -> str:
    """The secret in a file; Failed when the file cannot be read."""
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        why = f"{path}: {(error.strerror or str(error)).lower()}"
        raise Failed(
            REFUSED, "a secret of the backups is not on this host", why, "inv deploy, which writes it anew"
        ) from None

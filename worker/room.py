"""Room on disk: by default staged files and databases lie on one filesystem, where each alone may fit and both do not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.errors import Failed
from worker.size import human


@dataclass(frozen=True)
class Need:
    """So many bytes in a directory, for something."""

    place: Path
    bytes: int
    what: str


def must_be_there(needs: Iterable[Need], refusal: Failed) -> None:
    """Adds up what each filesystem is to take; the refusal, with its reasons, when one of them has less free."""
    filesystems: dict[int, list[Need]] = {}
    for one in needs:
        filesystems.setdefault(os.stat(one.place).st_dev, []).append(one)
    for found in filesystems.values():
        free = shutil.disk_usage(found[0].place).free
        if free < sum(one.bytes for one in found):
            told = "\n".join(f"{one.what} need {human(one.bytes)} in {one.place}" for one in found if one.bytes)
            refusal.why = f"{told}\n{human(free)} are free there"
            raise refusal

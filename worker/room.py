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
    for need in needs:
        filesystems.setdefault(os.stat(need.place).st_dev, []).append(need)
    for together in filesystems.values():
        free = shutil.disk_usage(together[0].place).free
        if free < sum(need.bytes for need in together):
            reasons = "\n".join(
                f"{need.what} need {human(need.bytes)} in {need.place}" for need in together if need.bytes
            )
            refusal.why = f"{reasons}\n{human(free)} are free there"
            raise refusal

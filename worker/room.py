"""Room on disk: by default staged files and databases share a filesystem, where each may fit alone but not both."""

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
    """The bytes that something needs in a directory."""

    place: Path
    bytes: int
    what: str


def must_be_there(needs: Iterable[Need], refusal: Failed) -> None:
    """Adds up the needs of each filesystem; raises the refusal, with its reasons, if one has less room."""
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

"""The block devices of a host: one `lsblk`, which looks at each of them, for all who ask."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def blocks(names: Sequence[str]) -> str:
    return "lsblk -Pno NAME,MAJ:MIN,TYPE,SIZE,RO,SERIAL,FSTYPE,LABEL,UUID,PTTYPE,PARTLABEL,PARTUUID,MOUNTPOINT"


def table(said: str) -> list[dict[str, str]]:
    """A row for each device; column names are those of `lsblk`, some versions of which write `MAJ_MIN`."""
    rows = (dict(pair.split("=", 1) for pair in shlex.split(line)) for line in said.splitlines() if line)
    return [{key.replace("_", ":"): value for key, value in row.items()} for row in rows]

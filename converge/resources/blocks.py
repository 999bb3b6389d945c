"""The block devices of a host: one `lsblk`, which looks at each of them, for all kinds that ask."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PAIR = re.compile(r'([A-Z:_]+)="((?:\\.|[^"\\])*)"')
_ESCAPED = re.compile(r'\\(["\\])')


def blocks(names: Sequence[str]) -> str:
    return "lsblk -Pno NAME,MAJ:MIN,TYPE,SIZE,RO,SERIAL,FSTYPE,LABEL,UUID,PTTYPE,PARTLABEL,PARTUUID,MOUNTPOINT"


def table(output: str) -> list[dict[str, str]]:
    """A row for each device; column names are those of `lsblk`, some versions of which write `MAJ_MIN`."""
    # Not by shlex, which takes 0.3 ms for each device.
    return [
        {key.replace("_", ":"): _ESCAPED.sub(r"\1", value) for key, value in _PAIR.findall(line)}
        for line in output.splitlines()
        if line
    ]

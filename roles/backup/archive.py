"""The header of a dump in PostgreSQL's archive format: its database, its server, and the tool that made it."""

from __future__ import annotations

import io
import re
from typing import BinaryIO

from converge.record import dataclass

MAGIC = b"PGDMP"
LONGEST_WORD = 1 << 12
"""The most bytes of a name or a version in a header."""
CUSTOM = 1
"""The format number of a dump in one file; the list of a directory dump has another."""
SINCE_ALGORITHM = (1, 15)
"""From this version of the format on, compression is one byte instead of a number."""


@dataclass(frozen=True)
class Head:
    """The header of a dump. The server's major version is 0 if it is missing."""

    custom: bool
    database: str
    server: str
    tool: str

    @property
    def major(self) -> int:
        match = re.match(r"(\d+)", self.server)
        return int(match[1]) if match else 0


def head(data: bytes) -> Head | None:
    """The header of an archive; None if it is cut off or no header."""
    file = io.BytesIO(data)
    try:
        if file.read(5) != MAGIC:
            return None
        major, minor, _, integer, _, format = _taken(file, 6)
        file.seek(1 if (major, minor) >= SINCE_ALGORITHM else 1 + integer, io.SEEK_CUR)
        for _ in range(7):  # when it was made: second, minute, hour, day, month, year, summer time
            _number(file, integer)
        database, server, tool = (_word(file, integer) for _ in range(3))
    except (EOFError, ValueError):
        return None
    return Head(format == CUSTOM, database, server, tool)


def _taken(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _number(file: BinaryIO, size: int) -> int:
    """A sign, then the bytes of it, the lowest first."""
    sign, *digits = _taken(file, 1 + size)
    value = int.from_bytes(bytes(digits), "little")
    return -value if sign else value


def _word(file: BinaryIO, size: int) -> str:
    length = _number(file, size)
    if not 0 <= length <= LONGEST_WORD:
        raise ValueError
    return _taken(file, length).decode(errors="replace")

"""A fault of settings: where it stands, what is wrong and, as an optional third item, where else it stands."""

from __future__ import annotations

from collections.abc import Iterator

Path = tuple[str | int, ...]
Fault = tuple[Path, str]
Faults = Iterator[Fault | tuple[Path, str, Path]]

"""How a fault of settings is told: where it stands, what is wrong, and with a third word where it stands as well."""

from __future__ import annotations

from collections.abc import Iterator

Path = tuple[str | int, ...]
Fault = tuple[Path, str]
Faults = Iterator[Fault | tuple[Path, str, Path]]

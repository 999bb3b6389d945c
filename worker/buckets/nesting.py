"""Keys that would lie beneath an object (`a/b` beneath `a`): MinIO takes both, and lists nothing beneath the one above."""

from __future__ import annotations

from dataclasses import dataclass, field

FEW = 3


@dataclass
class Nesting:
    """Finds pairs of a key that a restore brings and a key that is there, one beneath the other. Keys come in the order of a listing."""

    number: int = 0
    named: list[str] = field(default_factory=list)
    _above: list[tuple[str, bool]] = field(default_factory=list)

    def add(self, key: str, brought: bool) -> None:
        self._above = [row for row in self._above if key.startswith(row[0])]
        if any(other != brought and key.startswith(f"{above}/") for above, other in self._above):
            self.number += 1
            if len(self.named) < FEW:
                self.named.append(key)
        self._above.append((key, brought))

    def ends_before(self, key: str) -> bool:
        """Whether no key that a restore brings can be above this one, nor above later ones."""
        return not any(brought and key.startswith(above) for above, brought in self._above)


def above(start: str) -> list[str]:
    """The keys of which each would be above all keys that begin so."""
    return [start[:at] for at, letter in enumerate(start) if letter == "/" and at]

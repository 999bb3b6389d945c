"""The counts of a bucket: its versions, those that had to be read, and those that could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.size import human

FEW = 5


@dataclass
class Counts:
    """Counted while a bucket is saved; only the first unreadable versions are kept by name."""

    versions: int = 0
    markers: int = 0
    bytes: int = 0
    read: int = 0
    read_bytes: int = 0
    vanished: int = 0
    unreadable: int = 0
    accepted: int = 0
    """Unreadable versions that somebody has accepted."""
    named: list[str] = field(default_factory=list)

    def not_read(self, key: str, why: str, accepted: bool = False) -> None:
        if accepted:
            self.accepted += 1
            return
        self.unreadable += 1
        if len(self.named) < FEW:
            self.named.append(f"{key} ({why})")

    @property
    def summary(self) -> str:
        """A line for the journal."""
        gone = f"; {self.vanished} were deleted meanwhile" if self.vanished else ""
        gone += f"; {self.accepted} cannot be read, which was accepted" if self.accepted else ""
        return (
            f"{self.versions} version{'s' * (self.versions != 1)} of {human(self.bytes)},"
            f" {self.markers} delete marker{'s' * (self.markers != 1)};"
            f" {self.read} were new, {human(self.read_bytes)}{gone}"
        )

    @property
    def lacking(self) -> str:
        """What the set lacks, with reasons; empty if it is complete."""
        if not self.unreadable:
            return ""
        more = " and more" if self.unreadable > FEW else ""
        return (
            f"{self.unreadable} of its objects cannot be read, all others are in the set: {', '.join(self.named)}{more}"
        )

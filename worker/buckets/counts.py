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
    hidden: int = 0
    """Keys that no listing shows, among the unreadable ones."""
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
        gone += f"; {self.accepted} left out, which was accepted" if self.accepted else ""
        return (
            f"{self.versions} version{'s' * (self.versions != 1)} of {human(self.bytes)},"
            f" {self.markers} delete marker{'s' * (self.markers != 1)};"
            f" {self.read} were new, {human(self.read_bytes)}{gone}"
        )

    @property
    def counted(self) -> str:
        """How much the set lacks, without the names of objects."""
        return (
            f"{self.unreadable} of its objects {'is' if self.unreadable == 1 else 'are'} not in the set, all others are"
        )

    @property
    def lacking(self) -> str:
        """What the set lacks, with reasons; empty if it is complete."""
        more = " and more" if self.unreadable > FEW else ""
        return f"{self.counted}: {', '.join(self.named)}{more}" if self.unreadable else ""

"""What went wrong in the worker, said once; its code is the exit code of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

OK = 0
USAGE = 2
LOCKED = 10
REFUSED = 11  # before anything was written
FAILED = 20  # nothing was published
COPY_FAILED = 21  # published, but not on every target
RETENTION_FAILED = 22  # published, but old sets could not be removed
INCOMPLETE = 23  # published, but without some databases
VERIFY_FAILED = 30
RESTORE_REFUSED = 40
RESTORE_FAILED = 41  # what is live was not touched
SWAP_FAILED = 42  # what is live was touched, and what to do is printed
INTERRUPTED = 130


@dataclass(eq=False)
class Failed(Exception):
    """One clear error: the exit code, what, why, and what to type next."""

    code: int
    what: str
    why: str = ""
    hint: str = ""

    def __str__(self) -> str:
        rest = [self.why, f"try: {self.hint}" if self.hint else ""]
        return "\n".join([self.what, *(f"     {line}" for part in rest if part for line in part.splitlines())])

    def words(self, name: str = "") -> str:
        """What and why in one line, for a place that has said already of which target it is."""
        return (f"{self.what}: {self.why}" if self.why else self.what).removeprefix(f"{name}: ")

    def coded(self, code: int) -> Self:
        """The same error with the exit code of whom it stopped: a damaged part refuses a restore, and fails a check."""
        self.code = code
        return self

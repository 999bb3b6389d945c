"""The error of the worker; its code is the exit code of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


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

    def one_line(self, name: str = "") -> str:
        """What and why in one line, without the name of the target, which the caller prints."""
        return (f"{self.what}: {self.why}" if self.why else self.what).removeprefix(f"{name}: ")

    def coded(self, code: int) -> Self:
        """The same error with the exit code of the caller: a damaged part refuses a restore, and fails a check."""
        self.code = code
        return self

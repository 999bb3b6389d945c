"""Kernel settings that are in force now; the file that keeps them over a reboot is a File."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.shell import quote_all, sh


@dataclass(frozen=True)
class Sysctl(Resource):
    """A kernel setting in force; several numbers are separated by single blanks."""

    kind: ClassVar[str] = "sysctl"
    statuses: ClassVar[tuple[int, ...]] = (0, 1, 2)
    key: str
    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", " ".join(self.value.split()))

    @property
    def name(self) -> str:
        return self.key

    @property
    def path(self) -> str:
        return "/proc/sys/" + self.key.replace(".", "/")

    def desired(self) -> State:
        return {"value": self.value}

    @classmethod
    def probe(cls, wanted: Sequence[Sysctl]) -> str:
        # Not the shell's own `read`: it reads byte by byte, and these files give one byte to such a reader.
        return f"grep -H -m 1 '' -- {quote_all(sysctl.path for sysctl in wanted)}"

    @classmethod
    def read(cls, wanted: Sequence[Sysctl], answer: str) -> list[Reading]:
        values = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
        return [
            {"value": " ".join(values[sysctl.path].split())}
            if sysctl.path in values
            else {"value": "", "missing": "yes"}
            for sysctl in wanted
        ]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and "missing" in before:
            alike = sh("sysctl -N -a --pattern {}", self.key.rpartition(".")[0] or self.key)
            return Refusal(
                "this kernel has no such setting",
                f"take it out of base.sysctl in the inventory, or load its module; on the host these are alike: {alike}",
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(sh("sysctl -qw {}", f"{self.key}={self.value}"))]

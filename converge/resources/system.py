"""The operating system. A host with one that is not supported is refused, and the refusal names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, State, Step
from converge.record import dataclass


@dataclass(frozen=True)
class System(Resource):
    """One of the supported systems, as `ID VERSION_ID` of /etc/os-release.

    `of` is what needs it, `why` what is said of another system, `instead` what to do about it on one that is known.
    """

    kind: ClassVar[str] = "system"
    supported: tuple[str, ...]
    of: str = "os-release"
    why: str = ""
    instead: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return self.of

    def desired(self) -> State:
        return {"supported": "yes"}

    @classmethod
    def probe(cls, wanted: Sequence[System]) -> str:
        return '[ ! -r /etc/os-release ] || . /etc/os-release; printf "%s\\n" "$ID $VERSION_ID"'

    @classmethod
    def read(cls, wanted: Sequence[System], answer: str) -> list[Reading]:
        system = answer.strip()
        return [{"system": system, "supported": "yes" if system in resource.supported else "no"} for resource in wanted]

    def refusal(self, before: State | None) -> Refusal | None:
        system = (before or {}).get("system") or "a system that does not say in /etc/os-release what it is"
        why = self.why or f"is not supported; supported are {', '.join(self.supported)}"
        return Refusal(
            f"{system} {why}",
            self.instead.get(
                system, "install one of these on the machine, or name another machine in its host file (ansible_host)"
            ),
        )

    def fix(self, before: State | None) -> list[Step]:
        return []

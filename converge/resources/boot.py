"""Lines of fstab for paths that are not ours, and that would keep the host from booting: named, never edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, State, Step
from converge.record import dataclass
from converge.resources.blocks import blocks
from converge.resources.blocks import table as disks_of
from converge.resources.docker import CommonQuestions
from converge.resources.fstab import FstabLine, device, is_above
from converge.resources.mount_faults import edit
from converge.resources.mounts import Mounts, mounts, read


@dataclass(frozen=True)
class Boot(Resource):
    """No line of fstab makes the boot wait for a drive that is not there; lines that concern `ours` are reported by their mounts."""

    kind: ClassVar[str] = "boot"
    holds_back: ClassVar[bool] = False
    ours: tuple[str, ...]

    @property
    def name(self) -> str:
        return "/etc/fstab"

    def desired(self) -> State:
        return {"waits for": ""}

    @classmethod
    def common_questions(cls, wanted: Sequence[Boot]) -> CommonQuestions:
        return {blocks: (), mounts: ()}

    @classmethod
    def read(cls, wanted: Sequence[Boot], answer: str, *shared: str) -> list[Reading]:
        disks, table = disks_of(shared[0]), read(shared[1])
        return [boot._state(table, disks) for boot in wanted]

    def _state(self, table: Mounts, disks: Sequence[Mapping[str, str]]) -> Reading:
        mounted = {mount.path for mount in table.mounts}
        for line in table.lines:
            if line.required and line.path not in mounted and not self._concerns(line) and _is_gone(line, table, disks):
                return {"waits for": line.description, "way out": edit(line)}
        return self.desired()

    def _concerns(self, line: FstabLine) -> bool:
        return any(line.path == path or is_above(line.path, path) or is_above(path, line.path) for path in self.ours)

    def refusal(self, before: State | None) -> Refusal | None:
        if not before:
            return None
        why = f"{before['waits for']} names a drive that is not there: the next boot ends in maintenance, without SSH"
        return Refusal(why, before.get("way out", ""))

    def fix(self, before: State | None) -> list[Step]:
        return []


def _is_gone(line: FstabLine, table: Mounts, disks: Sequence[Mapping[str, str]]) -> bool:
    name = device(line.source, disks)
    if name is None:
        return line.source.startswith("/dev/") and line.source not in table.devices
    return name == "" and line.source not in table.devices

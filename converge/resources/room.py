"""Folders that a deploy writes to: there is room, and nothing is read-only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, State, Step
from converge.record import dataclass
from converge.shell import quote_all

LEAST = 4096
"""KiB. Docker starts nothing in a container without a file in /tmp, and says so once for each try."""


@dataclass(frozen=True)
class Room(Resource):
    """Folders that can be written to now. Otherwise a deploy would stop in the middle."""

    kind: ClassVar[str] = "room"
    paths: tuple[str, ...]

    @property
    def name(self) -> str:
        return "host"

    def desired(self) -> State:
        return dict.fromkeys(self.paths, "")

    @classmethod
    def probe(cls, wanted: Sequence[Room]) -> str:
        """A line for each folder that the kernel lets nobody write to, and `df` of all; root may write to any other."""
        paths = quote_all(path for room in wanted for path in room.paths)
        return f"""for path in {paths}; do [ ! -d "$path" ] || [ -w "$path" ] || echo "read-only $path"; done
for path in {paths}; do [ ! -d "$path" ] || set -- "$@" "$path"; done
timeout 5 df -k --output=avail,iavail,itotal,file -- "$@" || :"""

    @classmethod
    def read(cls, wanted: Sequence[Room], answer: str) -> list[Reading]:
        faults: dict[str, str] = {}
        for line in answer.splitlines():
            free, *more = line.split()
            if free == "read-only":
                faults[more[0]] = "read-only"
            elif free.isdigit() and int(free) < LEAST:
                faults.setdefault(more[-1], f"full: {free} KiB are left")
            elif free.isdigit() and more[0] == "0" and more[1] not in ("0", "-"):
                faults.setdefault(more[-1], "full: no inode is left for a new file")
        return [{path: faults.get(path, "") for path in room.paths} for room in wanted]

    def refusal(self, before: State | None) -> Refusal | None:
        if not before:
            return None
        bad = {path: why for path, why in before.items() if why}
        shut = [path for path, why in bad.items() if why == "read-only"]
        full = [path for path, why in bad.items() if why != "read-only"]
        where = quote_all(shut[:1])
        mended = f'mount -o remount,rw "$(findmnt -no TARGET -T {where})"'
        shown = [f"findmnt -T {where}; dmesg | tail -n 20; then, when its disk is well: {mended}"] if shut else []
        shown += (
            [f"df -h {quote_all(full)}; df -i {quote_all(full)}; du -xh {quote_all(full)} | sort -h | tail"]
            if full
            else []
        )
        return Refusal(
            "nothing was begun: " + ", ".join(f"{path} is {why}" for path, why in bad.items()),
            f"on the host: {'; '.join(shown)}; then: inv check",
        )

    def fix(self, before: State | None) -> list[Step]:
        return []

"""systemd units and timers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from converge.resource import Reading, Resource, Shell, State, Step
from converge.resources.docker import Shares
from converge.shell import sh, words


def show(names: Sequence[str]) -> str:
    """One `systemctl show` for all who ask about units. Each block is named as it was asked for: an alias has another Id."""
    properties = "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,ActiveEnterTimestamp"
    return f"printf '%s ' {words(names)}; echo; systemctl show --timestamp=unix -p {properties} -- {words(names)}"


def units(said: str) -> dict[str, dict[str, str]]:
    """The properties of each unit, by the name that was asked for."""
    names, _, blocks = said.partition("\n")
    read = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks.strip().split("\n\n")]
    return dict(zip(names.split(), read, strict=True))


def forgiven(unit: str) -> str:
    """systemd refuses a start after three in a minute (Docker's unit says so), also when it is asked for by hand."""
    return sh("systemctl reset-failed -- {} 2>/dev/null || :\n", unit)


@dataclass(frozen=True)
class Unit(Resource):
    """A unit that is enabled and running, with systemd having read its file as it is now."""

    kind: ClassVar[str] = "unit"
    unit: str
    enabled: bool = True
    active: bool = True
    on: tuple[str, ...] = ()
    """What it stands on beside its own file."""

    @property
    def name(self) -> str:
        return self.unit

    def desired(self) -> State:
        state = {"enabled": "enabled" if self.enabled else "disabled", "reload": "no"}
        return state | {"active": "active"} if self.active else state | {"active": "inactive"}

    def stands_on(self) -> tuple[str, ...]:
        names = {self.unit, re.sub("@[^.]*", "@", self.unit)}
        return (*self.on, *(f"path:/etc/systemd/system/{name}" for name in sorted(names)))

    @classmethod
    def shares(cls, wanted: Sequence[Unit]) -> Shares:
        return {show: [one.unit for one in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Unit], answer: str, *shared: str) -> list[Reading]:
        have = units(shared[0])
        return [_state(have[one.unit]) for one in wanted]

    def diff(self, before: State | None) -> list[str]:
        lines = super().diff(before)
        return [line.replace("reload: yes -> no", "systemd has not read its file again") for line in lines]

    def fix(self, before: State | None) -> list[Step]:
        lines = ["systemctl daemon-reload"]
        lines.append(sh("systemctl enable -q -- {}" if self.enabled else "systemctl disable -q -- {}", self.unit))
        lines.append(
            f"{forgiven(self.unit)}{sh('systemctl start -- {}' if self.active else 'systemctl stop -- {}', self.unit)}"
        )
        return [Shell("\n".join(lines))]

    def disrupts(self, before: State | None) -> bool:
        return not self.active and before is not None


@dataclass(frozen=True)
class NoUnit(Unit):
    """A unit of ours that is no longer wanted: disabled and stopped."""

    def desired(self) -> None:  # type: ignore[override]
        return None

    @classmethod
    def read(cls, wanted: Sequence[Unit], answer: str, *shared: str) -> list[Reading]:
        readings = super().read(wanted, answer, *shared)
        return [
            one if isinstance(one, dict) and (one["enabled"] == "enabled" or one["active"] == "active") else None
            for one in readings
        ]

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(sh("systemctl disable -q --now -- {}", self.unit))]

    def disrupts(self, before: State | None) -> bool:
        return True


def _state(block: dict[str, str]) -> Reading:
    if block.get("LoadState") == "not-found":
        return None
    return {
        "enabled": block.get("UnitFileState", ""),
        "active": block.get("ActiveState", ""),
        "reload": block.get("NeedDaemonReload", "no"),
    }

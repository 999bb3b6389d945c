"""systemd units and timers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.docker import CommonQuestions
from converge.resources.previous import loaded, put_back
from converge.shell import quote, quote_all, sh

WITHOUT_SERVICES = (
    "rescue.target",
    "emergency.target",
    "halt.target",
    "poweroff.target",
    "reboot.target",
    "kexec.target",
    "sysinit.target",
    "basic.target",
)


def show(names: Sequence[str]) -> str:
    """One `systemctl show` for all who ask about units. Each block is named as it was asked for: an alias has another Id."""
    properties = "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,ExecMainStartTimestamp,DropInPaths"
    return (
        f"printf '%s ' {quote_all(names)}; echo; systemctl show --timestamp=unix -p {properties} -- {quote_all(names)}"
    )


def units(output: str) -> dict[str, dict[str, str]]:
    """The properties of each unit, by the name that was asked for."""
    names, _, blocks = output.partition("\n")
    read = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks.strip().split("\n\n")]
    return dict(zip(names.split(), read, strict=True))


def forgiven(unit: str) -> str:
    """systemd refuses a start after three in a minute (Docker's unit says so), also when it is asked for by hand."""
    return sh("systemctl reset-failed -- {} 2>/dev/null || :\n", unit)


def comes_back(unit: str, act: str, files: Sequence[str], then: str = ":") -> str:
    """Shell that starts a unit by `act`. When that fails the previous files are put back, and it is started as it was (`then`)."""
    messages = {
        "none": f"{unit} does not come back, and no previous files are kept that could be put back. It says:",
        "back": f"{unit} did not come back: the previous files are put back, and it runs with them. It had said:",
        "dead": f"{unit} did not come back, and not with the previous files either, which are put back. It had said:",
    }
    return f"""
{put_back(files)}
since=$(systemctl show --timestamp=unix -p ActiveEnterTimestamp -- {quote(unit)} | sed -n 's/^ActiveEnterTimestamp=@//p')
act() {{ {act}; }}
act || {{
  last_lines=$(journalctl -u {quote(unit)} -n 6 -o cat 2>/dev/null || :)
  if ! put_back "${{since:-0}}"; then echo {quote(messages["none"])}
  elif systemctl daemon-reload && act; then {then}; echo {quote(messages["back"])}
  else echo {quote(messages["dead"])}; fi
  printf '%s\\n' "$last_lines"
  exit 1
}}
{loaded(files)}"""


@dataclass(frozen=True)
class Unit(Resource):
    """A unit that is enabled and running, with systemd having read its file as it is now."""

    kind: ClassVar[str] = "unit"
    way_out: ClassVar[str] = "on the host: systemctl status {name}; journalctl -u {name} -n 30"
    unit: str
    enabled: bool = True
    active: bool = True
    on: tuple[str, ...] = ()
    """What it stands on beside its own file."""

    @property
    def name(self) -> str:
        return self.unit

    def desired(self) -> State:
        state = {"enabled": "enabled" if self.enabled else "disabled", "reload": "no", "drop-ins": ""}
        return state | {"active": "active"} if self.active else state | {"active": "inactive"}

    def stands_on(self) -> tuple[str, ...]:
        return (*self.on, *(f"path:{path}" for path in self.files))

    @property
    def files(self) -> list[str]:
        """Where its own file is, should it be ours: by its name, or by that of its template."""
        names = {self.unit, re.sub("@[^.]*", "@", self.unit)}
        return [f"/etc/systemd/system/{name}" for name in sorted(names)]

    @classmethod
    def common_questions(cls, wanted: Sequence[Unit]) -> CommonQuestions:
        return {show: [unit.unit for unit in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Unit], answer: str, *shared: str) -> list[Reading]:
        properties = units(shared[0])
        return [
            None if unit.is_new(properties[unit.unit]) else _state(properties[unit.unit], unit.ours) for unit in wanted
        ]

    def is_new(self, block: Mapping[str, str]) -> bool:
        """systemd knows every instance of a template as soon as there is the template: it is there once it is enabled or runs."""
        states = (block.get("UnitFileState"), block.get("ActiveState"), block.get("DropInPaths", ""))
        return "@" in self.unit and states == ("disabled", "inactive", "")

    @property
    def ours(self) -> bool:
        """Whether its file is Stowage's: then a drop-in beside it changes what we promise."""
        return self.unit.startswith("stowage")

    def refusal(self, before: State | None) -> Refusal | None:
        state = before or {}
        if state.get("masked") == "yes":
            how = "unmask --runtime" if state["enabled"] == "masked-runtime" else "unmask"
            return Refusal(
                "somebody has masked it, so that nothing starts it",
                sh(f"on the host, once you know why: systemctl {how} -- {{}}", self.unit) + "; then: inv deploy",
            )
        if state.get("drop-ins"):
            paths = state["drop-ins"].split(" ")
            return Refusal(
                f"{state['drop-ins']} changes what the unit does",
                f"on the host: cat {quote_all(paths)}; when nobody needs it: rm {quote_all(paths)}; then: inv deploy",
            )
        return None

    def undone_by(self, other: Resource, made: bool) -> bool:
        """systemd goes by the file that it has read, which may be the one that somebody had put there."""
        return other.kind == "file" and other.name in self.files

    def diff(self, before: State | None) -> list[str]:
        lines = [
            line for line in super().diff(before) if not line.startswith("drop-ins:")
        ]  # they are refused, with paths
        return [line.replace("reload: yes -> no", "systemd has not read its file again") for line in lines]

    def left_alone(self, before: State) -> list[str]:
        return [f"drop-in {path}" for path in before.get("beside", "").split()]

    def fix(self, before: State | None) -> list[Step]:
        enable = sh("systemctl enable -q -- {}" if self.enabled else "systemctl disable -q -- {}", self.unit)
        start = sh("systemctl start -- {}" if self.active else "systemctl stop -- {}", self.unit)
        act = f"systemctl daemon-reload && {enable} && {{ {forgiven(self.unit)}{start}; }}"
        return [Shell(comes_back(self.unit, act, self.files) if self.active else act)]

    def disrupts(self, before: State | None) -> bool:
        return not self.active and before is not None


@dataclass(frozen=True)
class StaticUnit(Unit):
    """A unit of ours that others start: systemd has read its file as it is now, and nothing beside it changes it."""

    def desired(self) -> State:
        return {"reload": "no", "drop-ins": "", "masked": "no"}

    def is_new(self, block: Mapping[str, str]) -> bool:
        return False

    def fix(self, before: State | None) -> list[Step]:
        return [Shell("systemctl daemon-reload")]


@dataclass(frozen=True)
class BootTarget(Resource):
    """The host boots into a target with services, not into one that somebody had set for a repair. Only reported: it may be intended."""

    kind: ClassVar[str] = "boots"
    holds_back: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return "default.target"

    def desired(self) -> State:
        return {"into": "services"}

    @classmethod
    def common_questions(cls, wanted: Sequence[BootTarget]) -> CommonQuestions:
        return {show: [boot_target.name for boot_target in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[BootTarget], answer: str, *shared: str) -> list[Reading]:
        target = units(shared[0])["default.target"].get("Id", "")
        return [{"into": target if target in WITHOUT_SERVICES else "services"}] * len(wanted)

    def refusal(self, before: State | None) -> Refusal | None:
        if not before:
            return None
        why = f"the next boot ends in {before['into']}: without SSH, Docker and storage"
        return Refusal(why, "on the host, once the repair is over: systemctl set-default multi-user.target")

    def fix(self, before: State | None) -> list[Step]:
        return []


@dataclass(frozen=True)
class NoUnit(Unit, removes="unit"):
    """A unit of ours that is no longer wanted: disabled and stopped."""

    @classmethod
    def for_removal(cls, name: str) -> NoUnit:
        return cls(name)

    def desired(self) -> None:  # type: ignore[override]
        return None

    @classmethod
    def read(cls, wanted: Sequence[Unit], answer: str, *shared: str) -> list[Reading]:
        readings = super().read(wanted, answer, *shared)
        return [
            reading
            if isinstance(reading, dict) and (reading["enabled"] == "enabled" or reading["active"] == "active")
            else None
            for reading in readings
        ]

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(sh("systemctl disable -q --now -- {}", self.unit))]

    def disrupts(self, before: State | None) -> bool:
        return True


def _state(block: dict[str, str], ours: bool) -> Reading:
    if block.get("LoadState") == "not-found":
        return None
    return {
        "enabled": block.get("UnitFileState", ""),
        "masked": "yes" if block.get("UnitFileState", "").startswith("masked") else "no",
        "active": block.get("ActiveState", ""),
        "reload": block.get("NeedDaemonReload", "no"),
        # Drop-ins for all units of a system do not count for this one.
        "drop-ins": " ".join(word for word in block.get("DropInPaths", "").split() if ours and "/stowage" in word),
        "beside": block.get("DropInPaths", ""),
    }

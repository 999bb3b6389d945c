"""Programs that run with the configuration which their files hold now.

What counts is read from the host, never remembered: the time at which the inode of a file last changed, which nobody
can set back, against the start of the program or our last reload of it. So a restart that a cut took away is found by
the next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from converge.resource import Reading, Resource, Shell, State, Step
from converge.resources.docker import Shares, containers, inspect
from converge.resources.unit import forgiven, show, units
from converge.shell import quote, sh, words

STAMPS = "/run/stowage-fresh"
"""Empties itself at a reboot, as it should: every program has then started anew."""

_WANTED = {"runs with": "its files as they are"}


def _facts(names: Sequence[str], files: Sequence[Sequence[str]]) -> str:
    """Per program one line with the last changes of its files, and one with our last reload."""
    told = zip(names, files, strict=True)
    lines = [
        f"stat -c %Z -- {words(many)} | tr '\\n' ' '; echo; cat {STAMPS}/{quote(one)} 2>/dev/null || echo"
        for one, many in told
    ]
    return "\n".join(lines)


def _read(started: int, times: str, stamp: str) -> Reading:
    """From start of the program, last change of its files, last reload by us (seconds; empty where there is none)."""
    changed, reloaded = max(map(int, times.split()), default=0), int(stamp or 0)
    if not started:
        return None
    return _WANTED if changed <= max(started, reloaded) else {"runs with": "older files"}


@dataclass(frozen=True)
class FreshUnit(Resource):
    """A systemd service that has been restarted (or reloaded) since its files changed."""

    kind: ClassVar[str] = "fresh"
    unit: str
    files: tuple[str, ...]
    act: str = "restart"

    @property
    def name(self) -> str:
        return self.unit

    def desired(self) -> State:
        return _WANTED

    @classmethod
    def probe(cls, wanted: Sequence[FreshUnit]) -> str:
        return _facts([one.unit for one in wanted], [one.files for one in wanted])

    @classmethod
    def shares(cls, wanted: Sequence[FreshUnit]) -> Shares:
        return {show: [one.unit for one in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[FreshUnit], answer: str, *shared: str) -> list[Reading]:
        have, lines = units(shared[0]), answer.split("\n")
        started = [have.get(one.unit, {}).get("ActiveEnterTimestamp", "").lstrip("@") for one in wanted]
        return [_read(int(start or 0), *lines[2 * at : 2 * at + 2]) for at, start in enumerate(started)]

    def undone_by(self, other: Resource) -> bool:
        return other.name in self.files

    def note(self, before: State | None) -> str:
        return f"{self.act}s {self.unit}" if before else ""

    def disrupts(self, before: State | None) -> bool:
        return before is not None and self.act == "restart"

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(f"{forgiven(self.unit)}{sh('systemctl {} -- {}', self.act, self.unit)}\n{_stamp(self.unit)}")]


@dataclass(frozen=True)
class FreshContainer(Resource):
    """A container that has been told to reload since its files changed.

    `check` runs in the container before; when it or the reload fails, the previous files are put back.
    """

    kind: ClassVar[str] = "loaded"
    container: str
    files: tuple[str, ...]
    reload: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.container

    def desired(self) -> State:
        return _WANTED

    @classmethod
    def probe(cls, wanted: Sequence[FreshContainer]) -> str:
        return _facts([one.container for one in wanted], [one.files for one in wanted])

    @classmethod
    def shares(cls, wanted: Sequence[FreshContainer]) -> Shares:
        return {inspect: [one.container for one in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[FreshContainer], answer: str, *shared: str) -> list[Reading]:
        have, lines = containers(shared[0]), answer.split("\n")
        started = [have[one.container].started if one.container in have else "" for one in wanted]
        return [_read(_seconds(start), *lines[2 * at : 2 * at + 2]) for at, start in enumerate(started)]

    def undone_by(self, other: Resource) -> bool:
        return other.name in self.files

    def note(self, before: State | None) -> str:
        return f"runs {' '.join(self.reload)} in {self.container}" if before else ""

    def fix(self, before: State | None) -> list[Step]:
        if before is None:
            return [Shell(sh("docker container inspect -- {} >/dev/null", self.container))]
        back = "\n".join(
            sh(
                "  [ ! -f {} ] || cp -a -- {} {}",
                f"/var/lib/stowage/previous{path}",
                f"/var/lib/stowage/previous{path}",
                path,
            )
            for path in self.files
        )
        command = f"docker exec {quote(self.container)} {words(self.reload)}"
        return [
            Shell(
                f"if ! {command}; then\n  echo 'the reload failed: the previous files are put back'\n{back}\n  exit 1\nfi\n{_stamp(self.container)}"
            )
        ]


def _seconds(moment: str) -> int:
    """Docker's time, which has nanoseconds, in whole seconds; 0 where there is none or a container never started."""
    from datetime import UTC, datetime

    if not moment or moment.startswith("0001"):
        return 0
    return int(datetime.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


def _stamp(name: str) -> str:
    return f"mkdir -p {STAMPS}; date +%s >{STAMPS}/{quote(name)}"

"""System users and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from converge.resource import Reading, Refusal, Resource, Shell, State, Step, absent_or
from converge.shell import sh, words


@dataclass(frozen=True)
class Group(Resource):
    """A system group with this number."""

    kind: ClassVar[str] = "group"
    statuses: ClassVar[tuple[int, ...]] = (0, 2)
    group: str
    gid: int

    @property
    def name(self) -> str:
        return self.group

    def desired(self) -> State:
        return {"gid": str(self.gid)}

    def gives(self) -> tuple[str, ...]:
        return (f"gid:{self.gid}",)

    @classmethod
    def probe(cls, wanted: Sequence[Group]) -> str:
        return f"getent group {words(one.group for one in wanted)}"

    @classmethod
    def read(cls, wanted: Sequence[Group], answer: str) -> list[Reading]:
        states = {
            line.split(":")[0]: {"gid": line.split(":")[2]} for line in answer.splitlines() if line.count(":") > 2
        }
        return absent_or(states, [one.group for one in wanted])

    def refusal(self, before: State | None) -> Refusal | None:
        if before:
            return Refusal(
                f"{self.group} has the number {before['gid']}, and files may carry it",
                sh("getent group {}", self.group),
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(sh("groupadd --system -g {} -- {}", self.gid, self.group))]


@dataclass(frozen=True)
class User(Resource):
    """A system user that nobody logs in as, with this number, in the group of the same name."""

    kind: ClassVar[str] = "user"
    statuses: ClassVar[tuple[int, ...]] = (0, 2)
    user: str
    uid: int

    @property
    def name(self) -> str:
        return self.user

    def desired(self) -> State:
        return {"uid": str(self.uid), "gid": str(self.uid), "shell": "/usr/sbin/nologin"}

    def gives(self) -> tuple[str, ...]:
        return (f"uid:{self.uid}",)

    def stands_on(self) -> tuple[str, ...]:
        return (f"group:{self.user}",)

    @classmethod
    def probe(cls, wanted: Sequence[User]) -> str:
        return f"getent passwd {words(one.user for one in wanted)}"

    @classmethod
    def read(cls, wanted: Sequence[User], answer: str) -> list[Reading]:
        states = {}
        for line in answer.splitlines():
            parts = line.split(":")
            if len(parts) == 7:
                states[parts[0]] = {"uid": parts[2], "gid": parts[3], "shell": parts[6]}
        return absent_or(states, [one.user for one in wanted])

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["uid"] != str(self.uid):
            return Refusal(
                f"{self.user} has the number {before['uid']}, and files may carry it", sh("id {}", self.user)
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        if before:
            return [Shell(sh("usermod -g {} -s /usr/sbin/nologin -- {}", self.uid, self.user))]
        words_ = (self.uid, self.uid, self.user)
        return [Shell(sh("useradd --system -u {} -g {} -M -d /nonexistent -s /usr/sbin/nologin -- {}", *words_))]

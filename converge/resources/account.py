"""System users and groups. Their numbers are never changed, for files may carry them; what gives them rights is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step, Unknown
from converge.record import dataclass
from converge.resources.access import differences
from converge.resources.docker import CommonQuestions
from converge.shell import quote, quote_all, sh

_NOWHERE, _NO_SHELL = "/nonexistent", "/usr/sbin/nologin"


def accounts(names: Sequence[str]) -> str:
    """One `grep` for all that the host's own files say of accounts, each asked for as `NAME:NUMBER`."""
    patterns = []
    for name, _, number in (pair.partition(":") for pair in names):
        expressions = (f"^{name}:", f"^[^:]*:[^:]*:({number}|[^:]*:{number}):", f"^([^:]*:){{3}}([^:]*,)?{name}(,|$)")
        patterns += [f"-e {quote(expression)}" for expression in expressions]
    return f"grep -HsE {' '.join(patterns)} /etc/passwd /etc/group /etc/shadow || [ $? = 1 ]"


def _rows(answer: str) -> dict[str, list[list[str]]]:
    """The fields of each line, by the file that it stands in."""
    rows: dict[str, list[list[str]]] = {"passwd": [], "group": [], "shadow": []}
    for line in answer.splitlines():
        file, _, text = line.partition(":")
        rows.setdefault(file.rpartition("/")[2], []).append(text.split(":"))
    return {
        "passwd": [row for row in rows["passwd"] if len(row) == 7],
        "group": [row for row in rows["group"] if len(row) == 4],
        "shadow": [row for row in rows["shadow"] if len(row) > 1],
    }


@dataclass(frozen=True)
class Group(Resource):
    """A system group with this number, whose only member is the user of that name."""

    kind: ClassVar[str] = "group"
    statuses: ClassVar[tuple[int, ...]] = (0, 2)
    group: str
    gid: int

    @property
    def name(self) -> str:
        return self.group

    def desired(self) -> State:
        return {"gid": str(self.gid), "members": "", "same number": ""}

    def gives(self) -> tuple[str, ...]:
        return (f"gid:{self.gid}",)

    @classmethod
    def probe(cls, wanted: Sequence[Group]) -> str:
        return f"getent group {quote_all(group.group for group in wanted)}"

    @classmethod
    def common_questions(cls, wanted: Sequence[Group]) -> CommonQuestions:
        return {accounts: [f"{group.group}:{group.gid}" for group in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Group], answer: str, *shared: str) -> list[Reading]:
        own_rows = {row[0]: row for row in (line.split(":") for line in answer.splitlines()) if len(row) == 4}
        rows = _rows(shared[0])
        return [group._state(own_rows.get(group.group), rows) for group in wanted]

    def _state(self, row: list[str] | None, rows: dict[str, list[list[str]]]) -> Reading:
        number = str(self.gid)
        groups = [f"group {fields[0]}" for fields in rows["group"] if fields[2] == number and fields[0] != self.group]
        users = [f"user {fields[0]}" for fields in rows["passwd"] if fields[3] == number and fields[0] != self.group]
        if row is None:
            return _taken("group", number, groups) if groups else None
        members = ",".join(sorted(word for word in row[3].split(",") if word not in ("", self.group)))
        return {"gid": row[2], "members": members, "same number": ", ".join(groups + users)}

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["gid"] != str(self.gid):
            return _other_number("group", self.group, before["gid"], self.gid)
        if before and before["same number"]:
            others = before["same number"]
            return Refusal(
                f"{others} has the number {self.gid} as well, and with it what belongs to {self.group}",
                f"on the host: usermod -g or groupmod -g with another number for {others}; then: inv deploy",
            )
        return None

    def diff(self, before: State | None) -> list[str]:
        return differences(self.desired(), before) if before else []

    def fix(self, before: State | None) -> list[Step]:
        if before:
            return [Shell(sh("gpasswd -M '' {} >/dev/null", self.group))]
        return [Shell(sh("groupadd --system -g {} -- {}", self.gid, self.group))]


@dataclass(frozen=True)
class User(Resource):
    """A system user that nobody logs in as, with this number, in the group of the same name and in no other."""

    kind: ClassVar[str] = "user"
    statuses: ClassVar[tuple[int, ...]] = (0, 2)
    user: str
    uid: int

    @property
    def name(self) -> str:
        return self.user

    def desired(self) -> State:
        none = {"groups": "", "same number": ""}
        return {"uid": str(self.uid), "gid": str(self.uid), "shell": _NO_SHELL} | {
            "home": _NOWHERE,
            "password": "locked",
            **none,
        }

    def gives(self) -> tuple[str, ...]:
        return (f"uid:{self.uid}",)

    def stands_on(self) -> tuple[str, ...]:
        return (f"group:{self.user}",)

    @classmethod
    def probe(cls, wanted: Sequence[User]) -> str:
        return f"getent passwd {quote_all(user.user for user in wanted)}"

    @classmethod
    def common_questions(cls, wanted: Sequence[User]) -> CommonQuestions:
        return {accounts: [f"{user.user}:{user.uid}" for user in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[User], answer: str, *shared: str) -> list[Reading]:
        own_rows = {row[0]: row for row in (line.split(":") for line in answer.splitlines()) if len(row) == 7}
        rows = _rows(shared[0])
        return [user._state(own_rows.get(user.user), rows) for user in wanted]

    def _state(self, row: list[str] | None, rows: dict[str, list[list[str]]]) -> Reading:
        number = str(self.uid)
        others = [fields[0] for fields in rows["passwd"] if fields[2] == number and fields[0] != self.user]
        if row is None:
            return _taken("user", number, others) if others else None
        groups = [fields[0] for fields in rows["group"] if self.user in fields[3].split(",") and fields[0] != self.user]
        hashes = [fields[1] for fields in rows["shadow"] if fields[0] == self.user]
        locked = row[1] in ("x", "*", "!") and all(hash_.startswith(("!", "*")) for hash_ in hashes)
        return {
            "uid": row[2],
            "gid": row[3],
            "shell": row[6],
            "home": row[5],
            "password": "locked" if locked else "set or empty",
            "groups": ",".join(sorted(groups)),
            "same number": ", ".join(others),
        }

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["uid"] != str(self.uid):
            return _other_number("user", self.user, before["uid"], self.uid)
        if before and before["same number"]:
            others = before["same number"]
            return Refusal(
                f"{others} has the number {self.uid} as well, and with it all that belongs to {self.user}",
                f"on the host: usermod -u with another number for {others}, or userdel; then: inv deploy",
            )
        return None

    def diff(self, before: State | None) -> list[str]:
        return differences(self.desired(), before) if before else []

    def fix(self, before: State | None) -> list[Step]:
        if before:
            # A password that stands in /etc/passwd itself goes where it can be locked.
            return [
                Shell(
                    "pwconv\n"
                    + sh("usermod -g {} -G '' -s {} -d {} -L -- {}", self.uid, _NO_SHELL, _NOWHERE, self.user)
                )
            ]
        words_ = (self.uid, self.uid, _NOWHERE, _NO_SHELL, self.user)
        return [Shell(sh("useradd --system -u {} -g {} -M -d {} -s {} -- {}", *words_))]


def _taken(kind: str, number: str, others: Sequence[str]) -> Unknown:
    return Unknown(
        f"the number {number} belongs to {', '.join(others)}, and files may carry it",
        f"in the inventory, data_user: a free number as uid; on the host these are taken: getent {_database(kind)}",
        lasting=True,
    )


def _other_number(kind: str, name: str, actual: str, wanted: int) -> Refusal:
    command = sh("usermod -u {} {}" if kind == "user" else "groupmod -g {} {}", wanted, name)
    return Refusal(
        f"{name} has the number {actual}, and files may carry it",
        f"if its files carry {wanted}, on the host: {command}; if they carry {actual}, in the inventory: data_user: {{uid: {actual}}};"
        " then: inv deploy",
    )


def _database(kind: str) -> str:
    return "passwd" if kind == "user" else "group"

"""Users of a PostgreSQL server: what one may is exactly what the settings say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from converge.engine.resource import Reading, Resource, State, Step
from converge.inventory.secret import Secret
from converge.resources.docker import CommonQuestions
from roles.postgres.question import CLUSTER
from roles.postgres.server import CONTAINER, Server, Told, heard
from roles.postgres.sql import ident, is_password_of, literal, setting, settings_line, verifier

ATTRIBUTES = ("login", "superuser", "createdb", "createrole", "replication", "bypassrls")


@dataclass(frozen=True)
class User(Resource):
    """A user that can log in, with this password and exactly these attributes, memberships, limits and settings."""

    kind: ClassVar[str] = "pg-user"
    when_gone: ClassVar[str] = "gone from the host, with its rights within databases"
    server: Server
    user: str
    password: Secret = field(repr=False)
    attributes: tuple[str, ...] = ()
    member_of: tuple[str, ...] = ()
    limit: int | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return self.user

    def desired(self) -> State:
        return {
            "password": _fingerprint(self.password),
            "attributes": " ".join(one for one in ATTRIBUTES if one in ("login", *self.attributes)),
            "member of": ", ".join(sorted(self.member_of)) or "none",
            "expires": "never",
            "inherits": "yes",
            "connection limit": "none" if self.limit is None else str(self.limit),
            "settings": settings_line(f"{name}={value}" for name, value in self.settings),
        }

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}", *(f"{self.kind}:{name}" for name in self.member_of))

    @classmethod
    def common_questions(cls, wanted: Sequence[User]) -> CommonQuestions:
        return wanted[0].server.common_questions(*(f"user {one.user}" for one in wanted))

    @classmethod
    def read(cls, wanted: Sequence[User], answer: str, *shared: str) -> list[Reading]:
        told = heard(shared, CLUSTER)
        return [one._state(told.users.get(one.user)) if isinstance(told, Told) else told for one in wanted]

    def _state(self, told: dict[str, Any] | None) -> Reading:
        if told is None:
            return None
        same = is_password_of(told["stored"], self.password)
        return {
            "password": _fingerprint(self.password) if same else "another" if told["stored"] else "none",
            "attributes": told["attributes"],
            "member of": ", ".join(_membership(one) for one in told["member of"] if not self._made(one)) or "none",
            "expires": "some day" if told["expires"] else "never",
            "inherits": "yes" if told["inherit"] else "no",
            "connection limit": "none" if told["limit"] == -1 else str(told["limit"]),
            "settings": settings_line(
                one["is"] if one["in"] is None else f"{one['is']} in {one['in']}" for one in told["settings"]
            ),
            **{f"{_GRANT}{at}": f"{one['by']} {one['of']}" for at, one in enumerate(told["member of"])},
            **{f"{_IN}{at}": one["in"] for at, one in enumerate(told["settings"]) if one["in"] is not None},
        }

    def _made(self, one: Mapping[str, Any]) -> bool:
        """Whether it only is the maker of a role of its own: PostgreSQL 16 lets it grant that, and no more."""
        return "createrole" in self.attributes and one["admin"] and not one["inherit"] and not one["set"]

    def diff(self, before: State | None) -> list[str]:
        return ["password: changed, hidden" if line.startswith("password:") else line for line in super().diff(before)]

    def fix(self, before: State | None) -> list[Step]:
        user, after = ident(self.user), self.desired()
        attributes = " ".join(
            f"{'' if one in after['attributes'].split() else 'NO'}{one.upper()}" for one in ATTRIBUTES
        )
        # A new verifier makes every running program log in anew at its next connection, so it stays where it is right.
        same = before and before["password"] == after["password"]
        password = "" if same else f" PASSWORD {literal(verifier(self.password))}"
        limit = -1 if self.limit is None else self.limit
        return [
            self.server.does(
                "BEGIN",
                *([] if before else [f"CREATE ROLE {user}"]),
                f"ALTER ROLE {user} WITH {attributes} INHERIT CONNECTION LIMIT {limit}{password} VALID UNTIL 'infinity'",
                *self._granted(before),
                *self._set(before),
                "COMMIT",
            )
        ]

    def _granted(self, before: State | None) -> list[str]:
        """Exactly the memberships: one with an option that nobody asked for is taken back, and given without."""
        user = ident(self.user)
        have = set() if before is None or before["member of"] == "none" else set(before["member of"].split(", "))
        wrong = {one.partition(" (")[0] for one in have - {*self.member_of}}
        grants = [value.partition(" ")[::2] for key, value in (before or {}).items() if key.startswith(_GRANT)]
        # One that somebody else granted is taken back in his name only, with what was granted further by it.
        return [
            *(f"REVOKE {ident(of)} FROM {user} GRANTED BY {ident(by)} CASCADE" for by, of in grants if of in wrong),
            *(f"GRANT {ident(one)} TO {user}" for one in sorted({*self.member_of} - (have - wrong))),
        ]

    def _set(self, before: State | None) -> list[str]:
        user = ident(self.user)
        if before is None or before["settings"] == self.desired()["settings"]:
            within = []
        else:
            within = sorted({value for key, value in before.items() if key.startswith(_IN)})
        reset = [f"ALTER ROLE {user} RESET ALL"] if before and before["settings"] != "none" else []
        return [
            *reset,
            *(f"ALTER ROLE {user} IN DATABASE {ident(one)} RESET ALL" for one in within),
            *(f"ALTER ROLE {user} SET {setting(name, value)}" for name, value in self.settings),
        ]


_GRANT, _IN = "granted ", "set in "
"""Keys of a reading that no one compares: who granted what, and in which databases it has settings."""


def _membership(one: Mapping[str, Any]) -> str:
    odd = [f"{'' if one[key] else 'no '}{key}" for key, usual in _USUAL.items() if one[key] != usual]
    return f"{one['of']} ({' '.join(odd)})" if odd else str(one["of"])


_USUAL = {"admin": False, "inherit": True, "set": True}


def _fingerprint(secret: Secret) -> str:
    """Tells two passwords apart without holding either."""
    return "secret " + hashlib.sha256(b"stowage postgres" + secret.reveal().encode()).hexdigest()[:16]

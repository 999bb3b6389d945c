"""Users of a PostgreSQL server: each may do exactly what the settings say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar

from converge.engine.resource import Reading, Resource, State, Step
from converge.inventory.secret import Secret
from converge.record import dataclass
from converge.resources.docker import CommonQuestions
from roles.postgres.question import CLUSTER
from roles.postgres.server import CONTAINER, Server, ServerFacts, facts_of
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
            "attributes": " ".join(attribute for attribute in ATTRIBUTES if attribute in ("login", *self.attributes)),
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
        return wanted[0].server.common_questions(*(f"user {user.user}" for user in wanted))

    @classmethod
    def read(cls, wanted: Sequence[User], answer: str, *shared: str) -> list[Reading]:
        facts = facts_of(shared, CLUSTER)
        return [user._state(facts.users.get(user.user)) if isinstance(facts, ServerFacts) else facts for user in wanted]

    def _state(self, row: dict[str, Any] | None) -> Reading:
        if row is None:
            return None
        same = is_password_of(row["stored"], self.password)
        return {
            "password": _fingerprint(self.password) if same else "another" if row["stored"] else "none",
            "attributes": row["attributes"],
            "member of": ", ".join(
                _membership(membership) for membership in row["member of"] if not self._made(membership)
            )
            or "none",
            "expires": "some day" if row["expires"] else "never",
            "inherits": "yes" if row["inherit"] else "no",
            "connection limit": "none" if row["limit"] == -1 else str(row["limit"]),
            "settings": settings_line(
                override["is"] if override["in"] is None else f"{override['is']} in {override['in']}"
                for override in row["settings"]
            ),
            **{
                f"{_GRANT}{at}": f"{membership['by']} {membership['of']}"
                for at, membership in enumerate(row["member of"])
            },
            **{
                f"{_IN}{at}": override["in"]
                for at, override in enumerate(row["settings"])
                if override["in"] is not None
            },
        }

    def _made(self, membership: Mapping[str, Any]) -> bool:
        """Whether it only is the maker of a role of its own: PostgreSQL 16 lets it grant that, and no more."""
        return (
            "createrole" in self.attributes
            and membership["admin"]
            and not membership["inherit"]
            and not membership["set"]
        )

    def diff(self, before: State | None) -> list[str]:
        return ["password: changed, hidden" if line.startswith("password:") else line for line in super().diff(before)]

    def fix(self, before: State | None) -> list[Step]:
        user, after = ident(self.user), self.desired()
        attributes = " ".join(
            f"{'' if attribute in after['attributes'].split() else 'NO'}{attribute.upper()}" for attribute in ATTRIBUTES
        )
        # A right verifier stays as it is: a new one would make every running program authenticate anew.
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
        """Statements for exactly these memberships: one with an unwanted option is revoked, and granted without it."""
        user = ident(self.user)
        present = set() if before is None or before["member of"] == "none" else set(before["member of"].split(", "))
        wrong = {membership.partition(" (")[0] for membership in present - {*self.member_of}}
        grants = [value.partition(" ")[::2] for key, value in (before or {}).items() if key.startswith(_GRANT)]
        # A membership that somebody else granted is revoked in that grantor's name, with all that was granted on by it.
        return [
            *(f"REVOKE {ident(of)} FROM {user} GRANTED BY {ident(by)} CASCADE" for by, of in grants if of in wrong),
            *(f"GRANT {ident(group)} TO {user}" for group in sorted({*self.member_of} - (present - wrong))),
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
            *(f"ALTER ROLE {user} IN DATABASE {ident(database)} RESET ALL" for database in within),
            *(f"ALTER ROLE {user} SET {setting(name, value)}" for name, value in self.settings),
        ]


_GRANT, _IN = "granted ", "set in "
"""Keys of a reading that are not compared: who granted what, and in which databases the user has settings."""


def _membership(membership: Mapping[str, Any]) -> str:
    odd = [f"{'' if membership[key] else 'no '}{key}" for key, usual in _USUAL.items() if membership[key] != usual]
    return f"{membership['of']} ({' '.join(odd)})" if odd else str(membership["of"])


_USUAL = {"admin": False, "inherit": True, "set": True}


def _fingerprint(secret: Secret) -> str:
    """A fingerprint that tells two passwords apart and contains neither."""
    return "secret " + hashlib.sha256(b"stowage postgres" + secret.reveal().encode()).hexdigest()[:16]

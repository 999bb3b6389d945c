"""Memberships and rights are granted by their original grantors; a refused setting loses only itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg

from worker import properties, roles, settling


class Server:
    """A server with PostgreSQL's rules of grants: the superuser may grant all, others what they may pass on."""

    info = SimpleNamespace(user="postgres", server_version=170000)

    def __init__(self) -> None:
        self.may: set[str] = set()
        self.role, self.done = "", list[str]()

    def execute(self, statement: Any, *_: Any) -> Any:
        text = statement if isinstance(statement, str) else statement.as_string(None)
        if "SET LOCAL ROLE" in text:
            self.role = text.rpartition(" ")[2].strip('"').replace("NONE", "")
        elif text.startswith("GRANT"):
            by = text.partition(" GRANTED BY ")[2].strip('"') or self.role
            if by and by not in self.may:
                raise psycopg.errors.InsufficientPrivilege(f"permission denied for {by}")
            if "ADMIN true" in text or "WITH GRANT OPTION" in text:
                self.may.add(text.partition(" TO ")[2].split()[0].strip('"'))
            self.done.append(text)
        elif "set_config" in text and _[0][0] == "gone.away":
            raise psycopg.errors.UndefinedObject('unrecognized configuration parameter "gone.away"')
        elif "FROM CURRENT" in text:
            self.done.append(text)
        return SimpleNamespace(fetchall=lambda: [])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        before = self.role
        try:
            yield
        except BaseException:
            self.role = before
            raise


def membership(member: str, by: str | None, admin: str = "true") -> dict[str, Any]:
    return {"grant": f"GRANT boss TO {member} WITH ADMIN {admin}, INHERIT true, SET true", "by": by}


def test_a_membership_is_granted_by_its_grantor_once_that_one_may() -> None:
    server: Any = Server()
    some = [membership("apprentice", "clerk", "false"), membership("clerk", "zoe"), membership("zoe", None)]
    assert roles._granted(server, some) == []
    assert [statement.rpartition(" SET true")[2] for statement in server.done] == [
        "",
        ' GRANTED BY "zoe"',
        ' GRANTED BY "clerk"',
    ]


def test_a_grantor_who_may_not_grant_here_is_named_and_the_membership_comes_back() -> None:
    server: Any = Server()
    (line,) = roles._granted(server, [membership("clerk", "chief")])
    assert line.endswith("now by postgres, as chief may not grant it here")
    assert server.done == [membership("clerk", "chief")["grant"]]


def right(to: str | None, by: str, grantable: bool = False) -> dict[str, Any]:
    return {"to": to, "right": "CONNECT", "grantable": grantable, "by": by}


def test_rights_in_a_database_are_granted_by_whom_they_had_been() -> None:
    server: Any = Server()
    server.may.add("owner")
    like = {"owner": "owner", "rights": [right("b", "a"), right("a", "owner", grantable=True), right(None, "owner")]}
    name = psycopg.sql.Identifier("app")
    assert properties._rights(server, name, like) == []
    assert [statement.partition(" TO ")[2] for statement in server.done] == ['"a" WITH GRANT OPTION', "PUBLIC", '"b"']
    (line,) = properties._rights(server, name, {"owner": "owner", "rights": [right("c", "stranger")]})
    assert line == 'CONNECT on "app" to c: stranger may not grant it'


def test_a_setting_that_this_server_does_not_take_costs_only_itself() -> None:
    server: Any = Server()
    begin = psycopg.sql.SQL("ALTER ROLE {}").format(psycopg.sql.Identifier("app"))
    (line,) = properties.keep(server, ["gone.away=1", "work_mem=7MB"], begin)
    assert "gone.away is not taken here: unrecognized configuration parameter" in line
    assert server.done == ['ALTER ROLE "app" SET "work_mem" FROM CURRENT']


class Grantor:
    """A server on which `lost` granted something to `reader`, and `owner` owns a table."""

    def __init__(self) -> None:
        self.roles = ["lost", "owner", "reader", "team"]

    def execute(self, statement: Any) -> None:
        name = statement.as_string(None).split('"')[1]
        if name == "owner" or (name == "lost" and "reader" in self.roles):
            raise psycopg.errors.DependentObjectsStillExist(f"role {name} cannot be dropped")
        self.roles.remove(name)


def test_roles_of_a_failed_restore_go_whatever_they_had_granted_each_other() -> None:
    server: Any = Grantor()
    settling._drop_roles(server, [*server.roles])
    assert server.roles == ["owner"]

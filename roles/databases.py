"""Users, databases and extensions of the PostgreSQL server, reconciled by SQL."""

from __future__ import annotations

from typing import Any

from converge.resource import Resource, in_order
from converge.role import Wanted, role
from roles.database_gone import Gone
from roles.database_kinds import ATTRIBUTES, Database, Extension, User
from roles.postgres import server_of


def _gone(host: Any, kind: str, name: str) -> Resource | None:
    # An extension holds columns of tables: it stays, and DROP EXTENSION says what hangs on it.
    # And a host that no longer has this role keeps all of it, with the data.
    has_role = host.settings.postgres and "databases" in host.settings.roles
    return Gone(server_of(host), kind, name) if has_role and kind in (User.kind, Database.kind) else None


@role(needs=("postgres",), gone=_gone)
def databases(host: Any) -> Wanted:
    server, settings = server_of(host), host.settings
    root = User(server, server.superuser, settings.postgres.superuser_password, ATTRIBUTES)
    yield root
    for one in settings.database_users:
        yield User(server, one.name, one.password, tuple(one.attributes), tuple(one.member_of))
    for base in settings.databases:
        yield in_order(
            Database(server, base.name, base.owner or server.superuser, base.encoding, base.locale, base.open),
            *(Extension(server, base.name, name) for name in base.extensions),
        )

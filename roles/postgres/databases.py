"""Users, databases and extensions of the PostgreSQL server, reconciled by SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from converge.engine.resource import Resource, in_order
from converge.engine.role import Wanted, role
from roles.postgres.database_kinds import Database, Extension
from roles.postgres.gone import Gone
from roles.postgres.guards import Collations, Inside, Powers
from roles.postgres.role import server_of, settings_of
from roles.postgres.server import Server
from roles.postgres.user_kind import ATTRIBUTES, User

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.postgres import settings as model
    from roles.settings.model import Settings


def _gone(host: Host[Settings], kind: str, name: str) -> Resource | None:
    # An extension holds columns of tables: it stays, and DROP EXTENSION says what hangs on it.
    # And a host that no longer has this role keeps all of it, with the data.
    has_role = host.settings.postgres and "databases" in host.settings.roles
    return Gone(server_of(host), kind, name) if has_role and kind in (User.kind, Database.kind) else None


@role(needs=("postgres",), gone=_gone)
def databases(host: Host[Settings]) -> Wanted:
    server, postgres, settings = server_of(host), settings_of(host), host.settings
    root = User(server, server.superuser, postgres.superuser_password, ATTRIBUTES)
    yield root
    for database_user in settings.database_users:
        yield User(
            server,
            database_user.name,
            database_user.password,
            tuple(database_user.attributes),
            tuple(database_user.member_of),
            database_user.connection_limit,
            tuple(database_user.settings.items()),
        )
    for base in settings.databases:
        yield in_order(_database(server, base), *_within(server, base, postgres.major))
    ours = (server.superuser, *(database_user.name for database_user in settings.database_users))
    yield Powers(server, ours, tuple(postgres.known_roles))
    yield Collations(server)


def _database(server: Server, base: model.Database) -> Database:
    return Database(
        server,
        base.name,
        base.owner or server.superuser,
        base.encoding,
        base.locale,
        base.open,
        base.connection_limit,
        tuple(base.settings.items()),
        tuple(base.extensions),
    )


def _within(server: Server, base: model.Database, major: int) -> Iterator[Resource]:
    yield from (Extension(server, base.name, name) for name in base.extensions)
    # Before PostgreSQL 15 every user could, and programs may count on it.
    create = base.public_create or (False if major >= 15 else None)
    yield Inside(server, base.name, create, tuple(base.extensions))

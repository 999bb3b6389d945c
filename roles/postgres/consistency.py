"""Whether the settings of databases agree with one another: owners and groups that exist, names that are free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from converge.inventory.secret import Secret
from roles.settings.faults import Faults, Path
from roles.settings.fields import UNREAD

if TYPE_CHECKING:
    from roles.settings.model import Settings


# Set by the role itself, or chosen when the data is made.
OURS = {
    "listen_addresses": "postgres.listen says where the host listens",
    "port": "postgres.port says it",
    "hba_file": "the role writes it",
    "config_file": "the data directory has it, and postgres.settings are stronger",
    "data_directory": "postgres.data says it",
    "unix_socket_directories": "the role needs it where it is",
}
TAKEN = ("postgres", "template0", "template1")


def inconsistencies(settings: Settings) -> Faults:
    """Every place where the settings of databases contradict each other, with the reason."""
    for check in (_server, _names, _owners, _members, _extensions, _spelling):
        yield from check(settings)


def _server(settings: Settings) -> Faults:
    if settings.postgres is None:
        if settings.databases or settings.database_users or "databases" in settings.roles:
            yield ("postgres",), "there are databases or their users, and no server for them"
        return
    for name in settings.postgres.settings:
        if name in OURS:
            yield ("postgres", "settings", name), OURS[name]
    if settings.postgres.superuser.startswith("pg_"):
        yield ("postgres", "superuser"), "names that begin with pg_ are PostgreSQL's own"
    row = settings.images.get(settings.postgres.image)
    tag = re.search(r":(\d+)[^/]*$", row.reference.partition("@")[0]) if row else None
    if row and tag and int(tag[1]) != settings.postgres.major:
        yield ("postgres", "major"), f"the image {row.reference} is of {tag[1]} by its tag"


def _names(settings: Settings) -> Faults:
    for at, database in enumerate(settings.databases):
        if database.name in TAKEN:
            yield ("databases", at, "name"), f"{database.name} is PostgreSQL's own"
    for at, user in enumerate(settings.database_users):
        if settings.postgres and user.name == settings.postgres.superuser:
            yield ("database_users", at, "name"), "postgres.superuser is named so"
        if user.name.startswith("pg_"):
            yield ("database_users", at, "name"), "names that begin with pg_ are PostgreSQL's own"


def _owners(settings: Settings) -> Faults:
    users = [user.name for user in settings.database_users]
    known = [*users, settings.postgres.superuser if settings.postgres else None, None]
    for at, database in enumerate(settings.databases):
        if database.owner not in known:
            yield (
                ("databases", at, "owner"),
                f"database_users has no {database.owner}; it has {', '.join(users) or 'nothing'}",
            )


def _members(settings: Settings) -> Faults:
    users = [user.name for user in settings.database_users]
    for at, user in enumerate(settings.database_users):
        for number, group in enumerate(user.member_of):
            if group not in users[:at] and not group.startswith("pg_"):
                yield ("database_users", at, "member_of", number), f"no {group} stands before it in database_users"


def _extensions(settings: Settings) -> Faults:
    for at, database in enumerate(settings.databases):
        for number, name in enumerate(database.extensions):
            if name in database.extensions[:number]:
                yield ("databases", at, "extensions", number), f"{name} stands twice"


def passwords(settings: Settings) -> Iterator[tuple[Path, str, Secret]]:
    """Each password that was read, with its path and the name of its user."""
    with_names: list[tuple[Path, str, Secret]] = []
    if settings.postgres:
        with_names.append(
            (("postgres", "superuser_password"), settings.postgres.superuser, settings.postgres.superuser_password)
        )
    with_names += [
        (("database_users", at, "password"), user.name, user.password)
        for at, user in enumerate(settings.database_users)
    ]
    return (entry for entry in with_names if entry[2] is not UNREAD)


def _spelling(settings: Settings) -> Faults:
    for path, _, password in passwords(settings):
        text = password.reveal()
        # Beyond ASCII a password is brought into one spelling first (SASLprep), which not every program does alike.
        if not (text.isascii() and text.isprintable()):
            yield path, "letters, digits and signs of ASCII only: programs spell others in different ways"
        elif len(text) < 8:
            yield path, "no fewer than 8 characters"

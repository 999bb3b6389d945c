"""Quotes names for SQL, for commands on the host, and for the comma lists of `inv`."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterable

PLAIN = re.compile(r"[\w .-]+")
"""Names that psql does not read as more than a name."""
TOOL = "docker exec postgres psql -U {user} -d {database}"


def ident(name: str) -> str:
    """A name in SQL, taken literally: case, blanks and quotes are part of it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL, whatever it holds and however the server reads backslashes."""
    doubled = text.replace("'", "''").replace("\\", "\\\\")
    return f"E'{doubled}'" if "\\" in text else f"'{doubled}'"


def connection(name: str) -> str:
    """The connection string of libpq for a database with any name."""
    return "dbname='{}'".format(name.replace("\\", "\\\\").replace("'", "\\'"))


def on_host(user: str, *statements: str, database: str = "postgres") -> str:
    """A command for a person on the host, to be pasted as it is."""
    place = database if PLAIN.fullmatch(database) else connection(database)
    command = TOOL.format(user=shlex.quote(user), database=shlex.quote(place))
    return " ".join([command, *(f"-c {shlex.quote(statement)}" for statement in statements)])


def listed(names: Iterable[str]) -> str:
    """The shell word for `--database` with these names."""
    return shlex.quote(",".join(_escaped(name) for name in names))


def _escaped(name: str) -> str:
    if name.startswith('"') or set(name) & set(",\r\n"):
        return '"' + name.replace('"', '""') + '"'
    return name


def names_in(text: str) -> list[str]:
    """The names of a comma list; a name with a comma is in double quotes, as in CSV. ValueError for an open quote."""
    try:
        return [name for row in csv.reader([text], strict=True) for name in row if name]
    except csv.Error as error:
        raise ValueError(str(error)) from None

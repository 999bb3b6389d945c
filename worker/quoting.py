"""Names on the way to whoever types them again: in SQL, in a command on the host, and in the comma lists of `inv`."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterable

PLAIN = re.compile(r"[\w .-]+")
"""What psql does not take for more than a name."""
TOOL = "docker exec postgres psql -U {user} -d {database}"


def ident(name: str) -> str:
    """A name in SQL, taken literally: case, blanks and quotes are part of it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL, whatever it holds and however the server reads backslashes."""
    doubled = text.replace("'", "''").replace("\\", "\\\\")
    return f"E'{doubled}'" if "\\" in text else f"'{doubled}'"


def connection(name: str) -> str:
    """A database as libpq takes it, whatever its name holds."""
    return "dbname='{}'".format(name.replace("\\", "\\\\").replace("'", "\\'"))


def on_host(user: str, *statements: str, database: str = "postgres") -> str:
    """A command for a person on the host, to be pasted as it is."""
    place = database if PLAIN.fullmatch(database) else connection(database)
    command = TOOL.format(user=shlex.quote(user), database=shlex.quote(place))
    return " ".join([command, *(f"-c {shlex.quote(statement)}" for statement in statements)])


def listed(names: Iterable[str]) -> str:
    """A word of the shell that `--database` takes for these names."""
    return shlex.quote(",".join(_one(name) for name in names))


def _one(name: str) -> str:
    if name.startswith('"') or set(name) & set(",\r\n"):
        return '"' + name.replace('"', '""') + '"'
    return name


def names_in(text: str) -> list[str]:
    """The names of a comma list; one that holds a comma stands in double quotes, as in CSV. ValueError where a quote has no end."""
    try:
        return [name for row in csv.reader([text], strict=True) for name in row if name]
    except csv.Error as error:
        raise ValueError(str(error)) from None

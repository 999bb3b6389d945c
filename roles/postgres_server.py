"""The PostgreSQL server of a host, as the host's own shell reaches it: one question for all kinds, and statements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from converge.resource import Shell, Unknown
from converge.resources.docker import containers, inspect
from converge.shell import quote, sh
from roles.sql import ident, literal, literals

CONTAINER = "postgres"
CLUSTER = "the cluster"
NOT_UP = "PostgreSQL does not answer"
HINT = "inv logs --service postgres"
# Neither the server's log nor an error shows a statement: it may hold what a password is checked with.
_QUIET = "-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic -c client_min_messages=warning"


@dataclass(frozen=True)
class Server:
    """A server: its superuser, which needs no password within the container, and where its data lies on the host."""

    superuser: str
    data: str

    def shares(self, *about: str) -> Mapping[Callable[[Sequence[str]], str], Sequence[str]]:
        """The questions of a kind: is the container there, and what does the server say."""
        return {inspect: [CONTAINER], ask: [f"superuser {self.superuser}", f"data {self.data}", *about]}

    def psql(self, database: str = "postgres") -> str:
        """The command that takes SQL on its standard input, and stops at the first error."""
        options = f"-e PGCONNECT_TIMEOUT=5 -e PGOPTIONS={quote(_QUIET)}"
        return f"docker exec -i {options} {CONTAINER} psql -qAtX -v ON_ERROR_STOP=1 -v VERBOSITY=terse" + sh(
            " -U {} -d {}", self.superuser, database
        )

    def does(self, *statements: str, database: str = "postgres") -> Shell:
        """Statements, of which none is seen in the arguments of any process."""
        text = "".join(f"{one};\n" for one in statements)
        return Shell(f"printf %s {quote(text)} | {self.psql(database)} >/dev/null")


def ask(names: Sequence[str]) -> str:
    """One psql for users, databases and extensions: the version of the data on the first line, then JSON."""
    about: dict[str, list[str]] = {}
    for name in names:
        what, _, which = name.partition(" ")
        about.setdefault(what, []).append(which)
    (superuser,), (data,) = about["superuser"], about["data"]
    sql = "\n".join(_questions(about.get("user", []), about.get("database", []), about.get("within", [])))
    server = Server(superuser, data)
    return f"""{{ cat -- {quote(data + "/PG_VERSION")} || echo; }} 2>/dev/null
! command -v docker >/dev/null || printf %s {quote(sql)} | timeout 30 {server.psql()} 2>&1
exit 0"""


def _questions(users: list[str], databases: list[str], within: list[str]) -> Iterator[str]:
    yield f"""
SET statement_timeout = '15s';
SELECT json_build_object('user', rolname, 'stored', coalesce(rolpassword, ''), 'member of', (
  SELECT coalesce(json_agg(g.rolname ORDER BY g.rolname), '[]') FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid
), 'uses', (SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid = r.oid),
'expires', rolvaliduntil IS NOT NULL AND rolvaliduntil <> 'infinity', 'attributes', concat_ws(' ',
  CASE WHEN rolcanlogin THEN 'login' END, CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolcreatedb THEN 'createdb' END,
  CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolreplication THEN 'replication' END, CASE WHEN rolbypassrls THEN 'bypassrls' END))
FROM pg_authid r WHERE rolname = ANY ({literals(users)});
SELECT json_build_object('database', datname, 'owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
  'locale', datcollate, 'open', has_database_privilege('public', oid, 'CONNECT, TEMPORARY'))
FROM pg_database WHERE datname = ANY ({literals(databases)});
SELECT json_build_object('read', {literal(CLUSTER)});"""
    for name in dict.fromkeys(within):
        yield f"""SELECT EXISTS (SELECT FROM pg_database WHERE datname = {literal(name)}) AS found \\gset
\\if :found
\\connect {ident(name)}
SELECT json_build_object('extension', extname, 'in', current_database(), 'version', extversion, 'offered', coalesce(default_version, ''))
FROM pg_extension LEFT JOIN pg_available_extensions ON name = extname;
\\endif
SELECT json_build_object('read', {literal("within " + name)});"""


@dataclass
class Told:
    """What a server says of itself."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    databases: dict[str, dict[str, Any]] = field(default_factory=dict)
    extensions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)


def heard(shared: Sequence[str], part: str) -> Told | Unknown | None:
    """The answers to `inspect` and to `ask` as far as they are about a part; None where there is neither a container nor data."""
    inspected, said = shared
    version, *lines = said.splitlines() or [""]
    container = containers(inspected).get(CONTAINER)
    if container is None:
        return Unknown("there is data, and no container that serves it") if version.strip() else None
    if container.status != "running":
        return Unknown(f"{NOT_UP}: its container is {container.status}", HINT)
    told, parts, other = Told(), set(), ""
    for line in lines:
        if not line.startswith("{"):
            other = line.strip() or other
            continue
        one = json.loads(line)
        if "read" in one:
            parts.add(one["read"])
        elif "user" in one:
            told.users[one["user"]] = one
        elif "database" in one:
            told.databases[one["database"]] = one
        else:
            told.extensions[one["in"], one["extension"]] = one
    if part in parts:
        return told
    return Unknown(f"{NOT_UP}{': ' + other if other else ''}", HINT)

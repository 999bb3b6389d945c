"""The PostgreSQL server of a host, as the host's own shell reaches it: one question for all kinds, and statements."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from converge.engine.resource import Shell, Unknown
from converge.record import dataclass
from converge.resources.docker import containers, inspect
from converge.shell import quote, sh
from roles.postgres.question import questions
from worker.quoting import on_host

CONTAINER = "postgres"
WITHIN = "within "
PATIENCE = 7
"""Seconds for all of the answer: a server that hangs must not keep a check."""
NOT_UP = "PostgreSQL does not answer"
HINT = "inv logs --service postgres"
_WAY_OUT = {
    "paused": "inv deploy; or, on the host: docker unpause postgres",
    "exited": "inv deploy",
    "created": "inv deploy",
}
_AS_SUPERUSER = """on the host: docker exec postgres sh -c 'psql -U "$POSTGRES_USER" -d template1 -c "%s"'"""
_ERRORS = {
    'database "postgres" is not currently accepting': _AS_SUPERUSER % "ALTER DATABASE postgres ALLOW_CONNECTIONS true",
    'database "postgres" does not exist': _AS_SUPERUSER % "CREATE DATABASE postgres",
    "too many clients": "on the host: docker restart -t 90 postgres ends all sessions; postgres.settings.max_connections allows more",
}
"""What psql says when it does not get in, and the way out where the server's log does not show one."""
# Neither the server's log nor an error shows a statement: it may hold the verifier of a password. Settings that somebody gave
# the superuser or the database by hand do not reach our sessions.
_QUIET = (
    "-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic -c client_min_messages=error"
    " -c role=none -c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0"
)
# Debian's psql is a Perl script that looks for the real one, 0.05 s of a core for each start.
_PSQL = """sh -c 'PATH=/usr/lib/postgresql/$PG_MAJOR/bin:$PATH exec psql "$@"' psql"""
# A function in somebody's schema must not be called in place of PostgreSQL's.
_ASKS = f"{_QUIET} -c statement_timeout=5s -c search_path=pg_catalog"


@dataclass(frozen=True)
class Server:
    """A server: its superuser, which needs no password within the container, and where its data lies on the host."""

    superuser: str
    data: str

    def common_questions(self, *about: str) -> Mapping[Callable[[Sequence[str]], str], Sequence[str]]:
        """The questions of a kind: is the container there, and what does the server say."""
        return {inspect: [CONTAINER], ask: [f"superuser {self.superuser}", f"data {self.data}", *about]}

    def psql(self, database: str = "postgres", options: str = _QUIET) -> str:
        """The command that takes SQL on its standard input, and stops at the first error."""
        environment = f"-e PGCONNECT_TIMEOUT=4 -e PGOPTIONS={quote(options)}"
        return f"docker exec -i {environment} {CONTAINER} {_PSQL} -qAtX -v ON_ERROR_STOP=1 -v VERBOSITY=terse" + sh(
            " -U {} -d {}", self.superuser, database
        )

    def by_hand(self, *statements: str, database: str = "postgres") -> str:
        """A command for a person on the host."""
        return on_host(self.superuser, *statements, database=database)

    def does(self, *statements: str, database: str = "postgres") -> Shell:
        """Statements, of which none is seen in the arguments of any process."""
        text = "".join(f"{statement};\n" for statement in statements)
        return Shell(f"printf %s {quote(text)} | {self.psql(database)} >/dev/null")


def ask(names: Sequence[str]) -> str:
    """One psql that reads everything about a server: the version of the data on the first line, then JSON."""
    about: dict[str, list[str]] = {}
    for name in names:
        what, _, subject = name.partition(" ")
        about.setdefault(what, []).append(subject)
    (superuser,), (data,) = about["superuser"], about["data"]
    sql = "\n".join(questions(about.get("user", []), about.get("within", [])))
    psql = Server(superuser, data).psql(options=_ASKS)
    return f"""{{ cat -- {quote(data + "/PG_VERSION")} || echo; }} 2>/dev/null
! command -v docker >/dev/null || printf %s {quote(sql)} | timeout -k 1 {PATIENCE} {psql} 2>&1 ||
  [ $? -lt 124 ] || echo 'no answer within {PATIENCE} s'
exit 0"""


@dataclass
class ServerFacts:
    """Everything read about a server."""

    server: dict[str, Any] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    powers: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    databases: dict[str, dict[str, Any]] = field(default_factory=dict)
    sorted: dict[str, dict[str, Any]] = field(default_factory=dict)
    extensions: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    inside: dict[str, dict[str, Any]] = field(default_factory=dict)
    shut: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def take(self, row: dict[str, Any]) -> None:
        """Add a line of the answer; its first key says what it is about."""
        key, value = next(iter(row.items()))
        if key == "extension":
            self.extensions[row["in"], value] = row
        elif key == "server":
            self.server = value
        elif key == "read":
            self.read.add(value)
        elif key == "shut":
            self.shut.append(value)
        elif key == "parameter":
            self.parameters.append(row)
        else:
            named = {"user": self.users, "power": self.powers, "database": self.databases, "sorted": self.sorted}
            (named | {"inside": self.inside})[key][value] = row


def facts_of(shared: Sequence[str], part: str) -> ServerFacts | Unknown | None:
    """What the answers to `inspect` and `ask` hold about a part; None where there is neither a container nor data."""
    inspected, output = shared
    version, *lines = output.splitlines() or [""]
    container = containers(inspected).get(CONTAINER)
    if container is None:
        return Unknown("there is data, and no container that serves it") if version.strip() else None
    if container.status != "running":
        return Unknown(f"{NOT_UP}: its container is {container.status}", _WAY_OUT.get(container.status, HINT))
    facts, other = ServerFacts(), ""
    for line in lines:
        if line.startswith("{"):
            facts.take(json.loads(line))
        else:
            other = line.strip() or other
    if part in facts.read:
        return facts
    if part.removeprefix(WITHIN) in facts.shut:
        return Unknown(f"{part.removeprefix(WITHIN)} takes no connections")
    hint = next((hint for phrase, hint in _ERRORS.items() if phrase in other), HINT)
    return Unknown(f"{NOT_UP}{': ' + other if other else ''}", hint)

"""What `inv status` says of PostgreSQL: whether it answers, how full it is of connections, how large its databases are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from converge.shell import quote
from roles.postgres import server_of
from roles.postgres_server import CONTAINER

NEARLY_FULL = 0.85
_QUESTION = """SELECT json_build_object('version', current_setting('server_version'), 'most', current_setting('max_connections')::int,
'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
'databases', (SELECT json_object_agg(datname, pg_database_size(oid) ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'));"""


@dataclass
class DatabaseServer:
    """A server as it is; without a version it does not answer."""

    state: str = "absent"
    version: str = ""
    connections: int = 0
    most: int = 0
    databases: dict[str, int] = field(default_factory=dict)


def has_one(host: Any) -> bool:
    return bool(host.settings.postgres) and "postgres" in host.settings.roles


def facts(host: Any) -> str:
    """Shell that asks the server of a host; nothing for a host that has none."""
    if not has_one(host):
        return ":"
    return f"! command -v docker >/dev/null || printf %s {quote(_QUESTION)} | timeout 6 {server_of(host).psql()} 2>/dev/null"


def read(host: Any, state: str, answer: Sequence[str]) -> DatabaseServer | None:
    """The server, from the state of its container and its own answer."""
    if not has_one(host):
        return None
    told = json.loads(answer[0]) if answer and answer[0].startswith("{") else {}
    told["databases"] = told.get("databases") or {}
    return DatabaseServer(state, **told)


def lines(server: DatabaseServer, human: Any) -> Iterator[str]:
    """Its part of the screen."""
    if server.version:
        used = f"{server.connections} of {server.most} connections"
        yield f"  postgres   {server.state}, {server.version.split(' ')[0]}, {used}"
    else:
        yield f"  postgres   {server.state}, does not answer"
    yield from (f"  database   {name:20} {human(size)}" for name, size in server.databases.items())


def advice(server: DatabaseServer, host: str) -> Iterator[str]:
    """What to do about it."""
    if not server.version:
        why = f"is {server.state}" if not server.state.startswith("running") else "does not answer"
        yield f"{CONTAINER} {why}: inv logs --service {CONTAINER} --host {host}, then inv deploy --host {host}"
    elif server.connections > NEARLY_FULL * server.most:
        used = f"{server.connections} of {server.most} connections are in use"
        yield f"{CONTAINER}: {used}: end programs that hold them, or raise postgres.settings.max_connections: docs/runbook.md"

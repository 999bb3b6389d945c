"""What `inv status` says of PostgreSQL: whether it answers, how full it is of connections, how large its databases are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from converge.record import dataclass
from converge.shell import quote, sh
from roles.postgres.role import server_of
from roles.postgres.server import CONTAINER
from roles.postgres.sql import literal

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

NEARLY_FULL = 0.85
MUCH_WAL = 1 << 30
"""Bytes that a slot may keep before `inv status` warns: it keeps them until the disk is full."""
_QUESTION = """SELECT json_build_object('version', current_setting('server_version'), 'superuser', current_user, 'most', current_setting('max_connections')::int,
'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
'databases', (SELECT json_object_agg(datname, pg_database_size(oid) ORDER BY datname) FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'),
'slots', (SELECT json_object_agg(slot_name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint) FROM pg_replication_slots
  WHERE NOT active AND restart_lsn IS NOT NULL));
SELECT current_setting('server_version_num')::int >= 150000 AS knows \\gset
\\if :knows
SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database
WHERE datallowconn AND datcollversion IS NOT NULL AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid);
\\endif"""


@dataclass
class DatabaseServer:
    """A server as it is; without a version it does not answer."""

    state: str = "absent"
    version: str = ""
    superuser: str = ""
    connections: int = 0
    most: int = 0
    databases: dict[str, int] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    """Replication slots that nobody reads, with the bytes of WAL that they keep."""
    sorted_otherwise: list[str] = field(default_factory=list)
    """Databases whose text was sorted by other rules than the image has."""


def has_one(host: Host[Settings]) -> bool:
    return bool(host.settings.postgres) and "postgres" in host.settings.roles


def facts(host: Host[Settings]) -> str:
    """Shell that asks the server of a host; nothing for a host that has none."""
    if not has_one(host):
        return ":"
    return f"! command -v docker >/dev/null || printf %s {quote(_QUESTION)} | timeout 6 {server_of(host).psql()} 2>/dev/null"


def read(host: Host[Settings], state: str, answer: Sequence[str]) -> DatabaseServer | None:
    """The server, from the state of its container and its own answer."""
    if not has_one(host):
        return None
    values = json.loads(answer[0]) if answer and answer[0].startswith("{") else {}
    values |= {key: values.get(key) or {} for key in ("databases", "slots")}
    rules: list[str] = next((json.loads(line) for line in answer[1:] if line.startswith("[")), [])
    return DatabaseServer(state, **values, sorted_otherwise=rules)


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
    logs = f"inv logs --service {CONTAINER} --host {host}"
    if not server.version and server.state.startswith("running"):
        yield f"{CONTAINER} does not answer: {logs}, then inv restart {CONTAINER} --host {host}"
    elif not server.version:
        yield f"{CONTAINER} is {server.state}: {logs}, then inv deploy --host {host}"
    elif server.connections > NEARLY_FULL * server.most:
        used = f"{server.connections} of {server.most} connections are in use"
        yield f"{CONTAINER}: {used}: end programs that hold them, or raise postgres.settings.max_connections: docs/runbook.md"
    for name, kept in server.slots.items():
        if kept > MUCH_WAL:
            drop = f"SELECT pg_drop_replication_slot({literal(name)})"
            command = sh("docker exec postgres psql -U {} -d postgres -c {}", server.superuser, drop)
            yield f"{CONTAINER}: nobody reads the slot {name}, which keeps {kept >> 30} GiB of WAL: on the host: {command}"
    if server.sorted_otherwise:
        names = ", ".join(server.sorted_otherwise)
        yield f"{CONTAINER}: indexes of {names} may miss rows, their text was sorted by other rules: inv check --host {host} has the commands"

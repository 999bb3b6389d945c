"""What a PostgreSQL server runs with: what the inventory gives, and PostgreSQL's own defaults for all else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.compose import GRACE
from converge.resources.docker import CommonQuestions
from converge.shell import quote, sh
from roles.postgres.question import CLUSTER, PENDING
from roles.postgres.server import CONTAINER, Server, ServerFacts, facts_of
from roles.postgres.sql import ident, settings_line

# Settings that initdb writes. One without a value is chosen to fit the machine, so any value is right.
WRITTEN = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    "dynamic_shared_memory_type": "posix",
    "listen_addresses": "*",
    **dict.fromkeys(("datestyle", "timezone", "log_timezone", "default_text_search_config")),
    **dict.fromkeys(("lc_messages", "lc_monetary", "lc_numeric", "lc_time")),
}
_AUTO, _MAIN = "postgresql.auto.conf", "postgresql.conf"
# What initdb makes. Programs look for `postgres`, new databases are made of the templates.
_OWN = {"postgres": (True, False), "template1": (True, True), "template0": (False, True)}
_LINES, _RESTART, _BASES, _ROLES = "lines", "restart", "bases", "roles"
"""Keys of a reading that are not compared: a fix reads them."""


@dataclass(frozen=True)
class Configuration(Resource):
    """A server without settings by hand: no ALTER SYSTEM, no edited file, no right to set, its own databases as they were made."""

    kind: ClassVar[str] = "pg-settings"
    server: Server
    inside: str
    """Where the container sees the data."""

    @property
    def name(self) -> str:
        return CONTAINER

    def desired(self) -> State:
        keys = ("by hand", "waits for a restart", "of all roles", "may be set by", "its own databases")
        return dict.fromkeys(keys, "none") | {"its own databases": "as they were made"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}",)

    @classmethod
    def common_questions(cls, wanted: Sequence[Configuration]) -> CommonQuestions:
        return wanted[0].server.common_questions()

    @classmethod
    def read(cls, wanted: Sequence[Configuration], answer: str, *shared: str) -> list[Reading]:
        facts = facts_of(shared, CLUSTER)
        # A server that is not there yet is made as it should be.
        return [
            configuration._state(facts) if isinstance(facts, ServerFacts) else facts or configuration.desired()
            for configuration in wanted
        ]

    def _state(self, facts: ServerFacts) -> State:
        server, rows = facts.server, list(_by_hand(facts.server))
        own = {name: list(_differs(facts.databases.get(name), *_OWN[name], self.server.superuser)) for name in _OWN}
        return {
            "by hand": settings_line(dict.fromkeys(_as_setting(row) for row in rows)),
            "waits for a restart": ", ".join(server["pending"]) or "none",
            "of all roles": settings_line(server["of all roles"]),
            "may be set by": "; ".join(
                f"{parameter['parameter']}: {parameter['role']}" for parameter in facts.parameters
            )
            or "none",
            "its own databases": "; ".join(f"{name} {', '.join(odd)}" for name, odd in own.items() if odd)
            or "as they were made",
            _LINES: "\n".join(
                f"{row['line']} {row['file']}"
                for row in rows
                if row.get("line") and not row["file"].endswith(f"/{_AUTO}")
            ),
            _RESTART: "yes" if server["pending"] or any(row.get("restart") for row in rows) else "no",
            _BASES: " ".join(name for name, odd in own.items() if odd and name in facts.databases),
            _ROLES: "\n".join(f"{parameter['role']} {parameter['parameter']}" for parameter in facts.parameters),
            **{f"{key} {_BESIDE}": str(server[key]) for key in ("checksums", "ssl")},
            **{f"{key} {_BESIDE}": ", ".join(server[key]) for key in ("slots", "tablespaces") if server[key]},
            **({f"prepared {_BESIDE}": str(server["prepared"])} if server["prepared"] else {}),
            **({f"foreign {_BESIDE}": names} if (names := ", ".join(sorted({*facts.databases} - {*_OWN}))) else {}),
        }

    def left_alone(self, before: State) -> list[str]:
        return [
            sentence.format(before[f"{key} {_BESIDE}"])
            for key, sentence in _ALONE.items()
            if f"{key} {_BESIDE}" in before
        ]

    def refusal(self, before: State | None) -> Refusal | None:
        lost = [path for path in self._lines(before) if not self._on_host(path[1])]
        if not lost:
            return None
        number, path = lost[0]
        return Refusal(
            f"line {number} of {path} sets it, which is not in the data", "take that line out, or take another image"
        )

    def _lines(self, before: State | None) -> list[tuple[str, str]]:
        return [
            (number, path)
            for number, _, path in (line.partition(" ") for line in (before or {}).get(_LINES, "").splitlines())
        ]

    def _on_host(self, path: str) -> str:
        """The path on the host of a file of the data; empty for a file that is elsewhere."""
        inside_path = PurePosixPath(path)
        is_within = inside_path.is_relative_to(self.inside) and ".." not in inside_path.parts
        return f"{self.server.data}/{inside_path.relative_to(self.inside)}" if is_within else ""

    def disrupts(self, before: State | None) -> bool:
        return (before or {}).get(_RESTART) == "yes"

    def note(self, before: State | None) -> str:
        return "restarts postgres" if self.disrupts(before) else ""

    def fix(self, before: State | None) -> list[Step]:
        before = before or {**self.desired(), _LINES: "", _BASES: "", _ROLES: ""}
        does = self.server.does(
            "ALTER SYSTEM RESET ALL",
            "ALTER ROLE ALL RESET ALL",
            *_repaired(before, self.server),
            "SELECT pg_reload_conf()",
        )
        takes = "\n".join(
            sh("sed -i {} {}", f"{number}s/^/#taken out: /", self._on_host(path))
            for number, path in dict.fromkeys(self._lines(before))
        )
        # A new session must not be asked before the server has heard of it.
        pending = f"echo {quote(f'SELECT count(*) FROM pg_settings WHERE {PENDING};')} | {self.server.psql()}"
        up = f"docker exec {CONTAINER} pg_isready -q -h 127.0.0.1 -t 3 -U {quote(self.server.superuser)}"
        return [
            Shell(f"""
{takes}
{does.script}
sleep 1
if [ "$({pending})" != 0 ]; then
  docker restart -t {GRACE} {CONTAINER} >/dev/null; n=0
  until {up} 2>/dev/null; do n=$((n + 1)); [ $n -lt 300 ] || {{ docker logs --tail 6 {CONTAINER} 2>&1; exit 1; }}; sleep 1; done
fi""")
        ]


_BESIDE = "beside"
_ALONE = {
    "checksums": "checksums of the data are {}: chosen when it is made",
    "ssl": "ssl is {}: the network is private, and passwords are never sent",
    "slots": "replication slots, which keep WAL: {}",
    "prepared": "{} prepared transactions, which keep locks",
    "tablespaces": "tablespaces: {}",
    "foreign": "databases: {}",
}


def _by_hand(server: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Settings in files of the data, or changed in them since the last reload, that initdb did not write."""
    force = {row["name"].lower(): row for row in server["in force"]}
    for row in server["files"]:
        name = row["name"].lower()
        is_written = row["file"].endswith(f"/{_MAIN}") and name in WRITTEN and WRITTEN[name] in (None, row["value"])
        if not is_written:
            yield row | {"restart": force.get(name, {}).get("restart", False)}
    written = {(row["name"].lower(), row["file"]) for row in server["files"]}
    for row in server["in force"]:
        if (row["name"].lower(), row["file"]) not in written and row["name"].lower() not in WRITTEN:
            yield row


def _as_setting(row: dict[str, Any]) -> str:
    where = PurePosixPath(row["file"]).name
    if not row["name"]:
        return f"line {row['line']} of {where}: {row['error']}"
    return f"{row['name']}={row['value']} ({where})"


def _differs(row: dict[str, Any] | None, allows: bool, template: bool, superuser: str) -> Iterator[str]:
    if row is None:
        yield "is not there"
        return
    if row["allows"] != allows:
        yield "takes connections" if row["allows"] else "takes no connections"
    if row["template"] != template:
        yield "is a template" if row["template"] else "is no template"
    if row["limit"] != -1:
        yield f"has the connection limit {row['limit']}"
    if row["settings"]:
        yield f"has {settings_line(row['settings'])}"
    if row["owner"] != superuser:
        yield f"belongs to {row['owner']}"
    if "CREATE" in row["public"]:
        yield "lets every user create"


def _repaired(before: State, server: Server) -> Iterator[str]:
    for name in before[_BASES].split():
        allows, template = _OWN[name]
        yield f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allows} CONNECTION LIMIT -1 IS_TEMPLATE {template}"
        yield f"ALTER DATABASE {name} RESET ALL"
        yield f"ALTER DATABASE {name} OWNER TO {ident(server.superuser)}"
        yield f"REVOKE CREATE ON DATABASE {name} FROM PUBLIC"
    if "template1 is not there" in before["its own databases"]:
        yield "CREATE DATABASE template1 TEMPLATE template0 IS_TEMPLATE true"
    for role, _, parameter in (line.partition(" ") for line in before[_ROLES].splitlines()):
        who = "PUBLIC" if role == "PUBLIC" else ident(role)
        yield f"REVOKE ALL ON PARAMETER {'.'.join(map(ident, parameter.split('.')))} FROM {who} CASCADE"

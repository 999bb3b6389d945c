"""Search the store of logs: lines of all containers, of MinIO's audit and of the host itself, by a query in the store's own language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from converge.errors import UNTOUCHED, Trouble
from converge.record import dataclass
from converge.ssh.link import connect
from runbook import within

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHOWN = (
    *("_time", "_msg", "_stream", "_stream_id", "source", "stream", "container", "level", "output"),
    *("PRIORITY", "_HOSTNAME", "_TRANSPORT", "version", "trigger", "deploymentid", "api.status", "api.rx", "api.tx"),
    *("api.txHeaders", "api.timeToFirstByte", "api.timeToFirstByteInNS", "api.timeToResponseInNS"),
)
"""Fields of a line that are not shown as fields: they have a place of their own on the screen, or are of no use to a reader."""
FIRST = ("api.statusCode", "api.bucket", "api.object", "who", "remotehost", "security_event", "operation_type")
"""Fields of an audit line that are shown first."""


@dataclass(frozen=True)
class Store:
    """How a store of logs is asked, and how its answer is read."""

    container: str
    url: str
    nanoseconds: bool
    manual: str

    def parameters(self, query: str, seconds: int, limit: int) -> within.Parameters:
        return {"query": query, "start": within.Ago(seconds, self.nanoseconds), "limit": str(limit)}


VICTORIA = Store(
    "victorialogs", ":9428/select/logsql/query", False, "https://docs.victoriametrics.com/victorialogs/logsql/"
)
LOKI = Store("loki", ":3100/loki/api/v1/query_range", True, "https://grafana.com/docs/loki/latest/query/")


def stores(host: Host[Settings]) -> Iterator[Store]:
    """The stores that a host has; hardly anybody has both."""
    for store in (VICTORIA, LOKI):
        if store.container in host.settings.services and host.settings.services[store.container].enabled:
            yield store


def store_of(host: Host[Settings]) -> Store:
    """The store that a host has."""
    if store := next(stores(host), None):
        return store
    names = f"{VICTORIA.container} nor {LOKI.container}"
    raise Trouble(
        "there is no store of logs",
        host.name,
        f"services has neither {names}; what Docker still has is shown by inv logs",
        UNTOUCHED,
        f"inv logs --host {host.name}",
    )


def seconds(since: str) -> int:
    """A duration such as 42m, 1h or 7d."""
    duration = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", since)
    if not duration:
        raise Trouble(f"--since {since!r} is no duration", "", "such as 42m, 1h or 7d", UNTOUCHED, "--since 1h")
    return int(duration[1]) * UNITS[duration[2]]


def search(host: Host[Settings], query: str, since: str, limit: int, as_json: bool) -> None:
    """Print the newest lines that a query finds, the oldest of them first."""
    store, span = store_of(host), seconds(since)
    link = connect(host.target)
    try:
        answer = within.answer(host, link, store.container, store.url, store.parameters(query, span, limit))
        records = sorted(
            of_loki(answer) if store is LOKI else of_victoria(answer), key=lambda record: str(record.get("_time"))
        )
    except Trouble as trouble:
        trouble.hint = f"the language of queries: {store.manual}" if trouble.why else trouble.hint
        raise
    finally:
        link.close()
    for record in records[-limit:]:
        print(json.dumps(record) if as_json else line(record))
    if not records and not as_json:
        print(f"{host.name}: nothing was found in the last {since}")


def of_victoria(answer: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in answer if text.startswith("{")]


def of_loki(answer: Iterable[str]) -> list[dict[str, Any]]:
    """The records of an answer of Loki: labels and the line and, where the line is JSON, as audit lines are, its fields."""
    return list(_of_streams(json.loads("\n".join(answer))["data"]["result"]))


def _of_streams(streams: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for stream in streams:
        for at, text in stream["values"]:
            when = datetime.fromtimestamp(int(at) / 1e9, UTC).isoformat().replace("+00:00", "Z")
            yield {**stream["stream"], "_time": when, "_msg": text}


def line(record: Mapping[str, Any]) -> str:
    """One line for a person: time, source, level, text; then the fields of FIRST and the others."""
    where = record.get("container") or record.get("source") or "?"
    stream = record.get("stream", "")
    place = f"{where}/{stream}" if stream not in ("", "console") else where
    rest = [*(name for name in FIRST if record.get(name)), *(name for name in record if name not in (*FIRST, *SHOWN))]
    fields = " ".join(f"{name.removeprefix('api.')}={record[name]}" for name in rest[:12] if record.get(name))
    head = f"{str(record.get('_time', ''))[:19]}  {place:18} {record.get('level', ''):7} {record.get('_msg', '')}"
    text = f"{head}  {fields}" if fields else head
    return "".join(letter if letter.isprintable() else " " for letter in text)

"""The store of logs asked: lines of all containers, of MinIO's audit and of the host itself, by a query of the store's own language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from converge.errors import UNTOUCHED, Trouble
from converge.ssh.link import connect
from runbook import within

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHOWN = ("_time", "_msg", "_stream", "_stream_id", "source", "stream", "container", "level", "output")
"""What of a line has a place of its own on the screen, or says nothing to a reader."""
FIRST = ("api.statusCode", "api.bucket", "api.object", "who", "remotehost", "security_event", "operation_type")
"""Of an audit line: what one looks for."""


@dataclass(frozen=True)
class Store:
    """How a store of logs is asked, and how its answer is read."""

    container: str
    url: str
    nanoseconds: bool
    manual: str

    def words(self, query: str, seconds: int, limit: int) -> dict[str, str]:
        start = f"$(($(date +%s) - {seconds}))" + ("000000000" if self.nanoseconds else "")
        return {"query": query, "start": start, "limit": str(limit)}


VICTORIA = Store(
    "victorialogs", ":9428/select/logsql/query", False, "https://docs.victoriametrics.com/victorialogs/logsql/"
)
LOKI = Store("loki", ":3100/loki/api/v1/query_range", True, "https://grafana.com/docs/loki/latest/query/")


def store_of(host: Host[Settings]) -> Store:
    """The store that a host has."""
    for one in (VICTORIA, LOKI):
        if one.container in host.settings.services and host.settings.services[one.container].enabled:
            return one
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
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", since)
    if not found:
        raise Trouble(f"--since {since!r} is no duration", "", "such as 42m, 1h or 7d", UNTOUCHED, "--since 1h")
    return int(found[1]) * UNITS[found[2]]


def search(host: Host[Settings], query: str, since: str, limit: int, as_json: bool) -> None:
    """Print the newest lines that a query finds, the oldest of them first."""
    store, span = store_of(host), seconds(since)
    link = connect(host.target)
    try:
        told = within.lines(host, link, store.container, store.url, store.words(query, span, limit))
        found = sorted(of_loki(told) if store is LOKI else of_victoria(told), key=lambda one: str(one.get("_time")))
    except Trouble as trouble:
        trouble.hint = f"the language of queries: {store.manual}" if trouble.why else trouble.hint
        raise
    finally:
        link.close()
    for one in found[-limit:]:
        print(json.dumps(one) if as_json else line(one))
    if not found and not as_json:
        print(f"{host.name}: nothing was found in the last {since}")


def of_victoria(told: Iterable[str]) -> list[dict[str, Any]]:
    return [json.loads(one) for one in told if one.startswith("{")]


def of_loki(told: Iterable[str]) -> list[dict[str, Any]]:
    """Its labels and the line; where that is JSON, as an audit line is, its fields as well."""
    return list(_of_streams(json.loads("\n".join(told))["data"]["result"]))


def _of_streams(streams: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for stream in streams:
        for at, text in stream["values"]:
            when = datetime.fromtimestamp(int(at) / 1e9, UTC).isoformat().replace("+00:00", "Z")
            yield {**stream["stream"], "_time": when, "_msg": text}


def line(told: Mapping[str, Any]) -> str:
    """One line for people: when, from where, how bad, what; then the fields that one looks for, and those that are left."""
    where = told.get("container") or told.get("source") or "?"
    stream = told.get("stream", "")
    place = f"{where}/{stream}" if stream not in ("", "console") else where
    rest = [*(name for name in FIRST if told.get(name)), *(one for one in told if one not in (*FIRST, *SHOWN))]
    fields = " ".join(f"{name.removeprefix('api.')}={told[name]}" for name in rest[:12] if told.get(name))
    head = f"{str(told.get('_time', ''))[:19]}  {place:18} {told.get('level', ''):7} {told.get('_msg', '')}"
    text = f"{head}  {fields}" if fields else head
    return "".join(letter if letter.isprintable() else " " for letter in text)

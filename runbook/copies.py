"""What holds copies of objects beside their bucket: backups, ways back of restores, tiers, replicas, log lines, drives that are away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent

from converge.errors import Trouble
from roles.minio.admin import admin, unzipped
from roles.minio.bucket_state import bucket_state
from runbook.log_search import LOKI, Store, of_loki, of_victoria, stores
from worker.contract import Request

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link
    from roles.minio.to_erase import Asked
    from roles.settings.model import Settings

KEPT_AT_MOST, LOKI_ANSWERS = 3650 * 86400, 30 * 86400
"""Seconds back that a store of logs is asked for; Loki refuses more than 30 days."""
MOST = 5000
"""Lines that Loki gives at most."""
ALWAYS_KEPT = 3
"""Sets that retention leaves, however old they are (worker/retention.py)."""
# The words stand on standard input: arguments of a program are seen by everybody on the host.
_LINES = """
command -v docker >/dev/null && docker version >/dev/null 2>&1 || exit 0
words=$(cat)
docker ps -a --format '{{.Names}}' | while read -r name; do
  number=$(docker logs -- "$name" 2>&1 </dev/null | grep -cF -f /dev/fd/3 3<<WORDS
$words
WORDS
)
  printf '%s %s\\n' "$name" "$number"
done
"""


@dataclass(frozen=True)
class Held:
    """A set of `inv backup` that holds some of them, and the day from which retention may remove it."""

    id: str
    versions: int
    until: str
    pinned: bool
    targets: list[str]


@dataclass
class Copies:
    sets: list[Held] = field(default_factory=list)
    restores: list[str] = field(default_factory=list)
    tiers: dict[str, int] = field(default_factory=dict)
    replicas: str = ""
    notifications: str = ""
    log_lines: dict[str, int] = field(default_factory=dict)
    drives_away: int = 0
    not_asked: list[str] = field(default_factory=list)
    """What could not be asked, with the reason: there may be copies."""


def copies(host: Host[Settings], link: Link, client: Any, asked: Asked, tiers: dict[str, int]) -> Copies:
    """Asks all of them. What cannot be asked is told, and keeps nobody from erasing."""
    found, bucket, prefix = Copies(tiers=tiers), asked.bucket, asked.prefix
    state = bucket_state(bucket, unzipped(admin(client, "GET", "export-bucket-metadata")))
    found.replicas = "" if state["replication"] == "none" else state["replication"]
    found.notifications = "" if state["notifications"] == "none" else state["notifications"]
    servers = json.loads(admin(client, "GET", "info")).get("servers") or []
    drives = [drive for server in servers for drive in server.get("drives") or []]
    found.drives_away = sum(one.get("state") != "ok" for one in drives)
    found.log_lines = _log_lines(link, bucket, prefix)
    if store := next(stores(host), None):
        _stored_lines(host, link, store, found, asked)
    if host.settings.backup:
        _backups(host, found, bucket, prefix)
    return found


def _log_lines(link: Link, bucket: str, prefix: str) -> dict[str, int]:
    words = {f"{bucket}/{prefix}", f"{bucket}/{percent(prefix)}", f"{bucket}%2F{percent(prefix, safe='')}"}
    _, out, _ = link.send(_LINES, iter(["\n".join(sorted(words)).encode()]))
    rows = (line.rpartition(" ") for line in out.decode(errors="replace").splitlines())
    return {name: int(number) for name, _, number in rows if number.isdigit() and int(number)}


def _stored_lines(host: Host[Settings], link: Link, store: Store, found: Copies, asked: Asked) -> None:
    """Lines of MinIO's audit about these objects, and others that hold their path."""
    from runbook import within

    query, span = query_for(store, asked), KEPT_AT_MOST if store is not LOKI else LOKI_ANSWERS
    try:
        answer = list(within.lines(host, link, store.container, store.url, store.words(query, span, MOST)))
        records = of_loki(answer) if store is LOKI else of_victoria(answer)
    except Trouble as trouble:
        found.not_asked.append(f"{store.container}: {trouble.what}")
        return
    number = len(records) if store is LOKI else sum(int(record.get("lines", 0)) for record in records)
    if number:
        found.log_lines[store.container] = number


def query_for(store: Store, asked: Asked) -> str:
    """The query that finds the lines, in the store's language."""
    name = json.dumps(asked.prefix, ensure_ascii=False)
    if store is LOKI:
        return f'{{source=~".+"}} |= {name}'
    path = json.dumps(re.escape(f"{asked.bucket}/{asked.prefix}"), ensure_ascii=False)
    of_audit = f"api.bucket:={json.dumps(asked.bucket)} api.object:={name}*"
    return f"({of_audit}) or _msg:~{path} | stats count() lines"


def _backups(host: Host[Settings], found: Copies, bucket: str, prefix: str) -> None:
    from roles.backup import runs
    from roles.backup.configuration import settings_of

    try:
        told = runs.ask(host, Request(ask="list"))
        left = runs.ask(host, Request(ask="leftovers"))["leftovers"]
    except Trouble as trouble:
        found.not_asked.append(f"backups: {trouble.what}")
        return
    found.not_asked += [f"the backup target {name}: {why}" for name, why in told["dead"].items()]
    found.restores = sorted({str(one.get("run", one)) for one in left if bucket in json.dumps(one)})
    keeps = timedelta(days=settings_of(host).keep_days)
    for one in told["sets"]:
        request = Request(ask="show", set=one["id"], buckets=[bucket], prefix=prefix)
        try:
            shown = runs.ask(host, request)
        except Trouble as trouble:
            if bucket not in trouble.what:  # else the set has no such bucket
                found.not_asked.append(f"the set {one['id']}: {trouble.what}")
            continue
        if versions := len(shown["objects"]) + shown["more"]:
            until = f"{datetime.fromisoformat(one['created']) + keeps:%Y-%m-%d}"
            found.sets.append(Held(one["id"], versions, until, one["pinned"], sorted(one["targets"])))


def lines(found: Copies, host: str) -> Iterator[str]:
    """The screen; nothing where there are none."""
    if found.sets:
        yield f"backups: {len(found.sets)} set{'s' * (len(found.sets) > 1)}; the newest {ALWAYS_KEPT} stay until there are newer ones"
        for one in found.sets:
            end = f"pinned: inv backup.unpin {one.id} --host {host}" if one.pinned else f"kept until {one.until}"
            yield f"  {one.id}  {one.versions} versions, on {', '.join(one.targets)}, {end}"
    for run in found.restores:
        yield f"the way back of the restore {run}: inv restore.cleanup --host {host}"
    for tier, number in found.tiers.items():
        yield f"the tier {tier}: {number} versions lie there; MinIO deletes them there, but not what that store keeps as old versions"
    if found.replicas:
        yield f"replicas: {found.replicas}; erase there as well"
    if found.notifications:
        yield f"notifications: {found.notifications} was sent the names"
    for name, number in found.log_lines.items():
        yield f"the log of {name}: {number} lines; they go when it forgets them"
    if found.drives_away:
        yield f"drives that are away: {found.drives_away}; what lies on them is deleted when they are back and healed"
    yield from (f"not asked, so perhaps: {one}" for one in found.not_asked)

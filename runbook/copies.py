"""Copies of objects outside of their bucket: in backups, what restores kept, tiers, replicas, log lines, drives that are away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent

from converge.errors import Trouble
from converge.record import dataclass
from roles.minio.admin import admin, unzipped
from roles.minio.bucket_state import bucket_state
from runbook.log_search import LOKI, Store, of_loki, of_victoria, stores
from worker.contract import Request
from worker.retention import KEEP_AT_LEAST

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link
    from roles.minio.to_erase import Asked
    from roles.settings.model import Settings

KEPT_AT_MOST, LOKI_ANSWERS = 3650 * 86400, 30 * 86400
"""Seconds back that a store of logs is asked for; Loki refuses more than 30 days."""
AT_A_TIME = 4
"""Questions to the backup worker; sshd takes ten channels of a line."""
MOST = 5000
"""Lines that Loki gives at most."""
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
    """Places that could not be asked, with the reason: they may hold copies."""


def copies(host: Host[Settings], link: Link, client: Any, asked: Asked, tiers: dict[str, int]) -> Copies:
    """Ask every place that may hold copies. One that cannot be asked is reported, and does not block the erasure."""
    all_copies, bucket, prefix = Copies(tiers=tiers), asked.bucket, asked.prefix
    state = bucket_state(bucket, unzipped(admin(client, "GET", "export-bucket-metadata")))
    all_copies.replicas = "" if state["replication"] == "none" else state["replication"]
    all_copies.notifications = "" if state["notifications"] == "none" else state["notifications"]
    servers = json.loads(admin(client, "GET", "info")).get("servers") or []
    drives = [drive for server in servers for drive in server.get("drives") or []]
    all_copies.drives_away = sum(drive.get("state") != "ok" for drive in drives)
    all_copies.log_lines = _log_lines(link, bucket, prefix)
    if store := next(stores(host), None):
        _stored_lines(host, link, store, all_copies, asked)
    if host.settings.backup:
        _backups(host, all_copies, bucket, prefix)
    return all_copies


def _log_lines(link: Link, bucket: str, prefix: str) -> dict[str, int]:
    texts = {f"{bucket}/{prefix}", f"{bucket}/{percent(prefix)}", f"{bucket}%2F{percent(prefix, safe='')}"}
    _, out, _ = link.send(_LINES, iter(["\n".join(sorted(texts)).encode()]))
    rows = (line.rpartition(" ") for line in out.decode(errors="replace").splitlines())
    return {name: int(number) for name, _, number in rows if number.isdigit() and int(number)}


def _stored_lines(host: Host[Settings], link: Link, store: Store, all_copies: Copies, asked: Asked) -> None:
    """Count lines of MinIO's audit about these objects, and other lines that hold their path."""
    from runbook import within

    query, span = query_for(store, asked), KEPT_AT_MOST if store is not LOKI else LOKI_ANSWERS
    try:
        answer = within.answer(host, link, store.container, store.url, store.parameters(query, span, MOST))
        records = of_loki(answer) if store is LOKI else of_victoria(answer)
    except Trouble as trouble:
        all_copies.not_asked.append(f"{store.container}: {trouble.what}")
        return
    number = len(records) if store is LOKI else sum(int(record.get("lines", 0)) for record in records)
    if number:
        all_copies.log_lines[store.container] = number


def query_for(store: Store, asked: Asked) -> str:
    """The query that finds the lines, in the store's language."""
    name = json.dumps(asked.prefix, ensure_ascii=False)
    if store is LOKI:
        return f'{{source=~".+"}} |= {name}'
    path = json.dumps(re.escape(f"{asked.bucket}/{asked.prefix}"), ensure_ascii=False)
    of_audit = f"api.bucket:={json.dumps(asked.bucket)} api.object:={name}*"
    return f"({of_audit}) or _msg:~{path} | stats count() lines"


def _backups(host: Host[Settings], all_copies: Copies, bucket: str, prefix: str) -> None:
    """The worker is asked several things at a time: each answer takes it a second or more."""
    from roles.backup import runs
    from roles.backup.configuration import settings_of

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        asked = [pool.submit(runs.ask, host, Request(ask=what)) for what in ("list", "leftovers")]
        under_way = pool.submit(runs.under_way, host)
        try:
            listed, leftovers, run = asked[0].result(), asked[1].result()["leftovers"], under_way.result()
        except Trouble as trouble:
            all_copies.not_asked.append(f"backups: {trouble.what}")
            return
        # A worker that was deployed by an older Stowage does not tell which buckets a set has: then each set is asked.
        sets = [backup_set for backup_set in listed["sets"] if bucket in backup_set.get("buckets", [bucket])]
        wanted = [Request(ask="show", set=backup_set["id"], buckets=[bucket], prefix=prefix) for backup_set in sets]
        shown = [pool.submit(runs.ask, host, request) for request in wanted]
    if run:
        all_copies.not_asked.append(f"the run {run}, which is under way: inv backup.attach, then the same again")
    all_copies.not_asked += [f"the backup target {name}: {why}" for name, why in listed["dead"].items()]
    all_copies.restores = [leftover["run"] for leftover in leftovers if leftover.get("bucket") == bucket]
    keeps = timedelta(days=settings_of(host).keep_days)
    for backup_set, answer in zip(sets, shown, strict=True):
        try:
            versions = len(answer.result()["objects"]) + answer.result()["more"]
        except Trouble as trouble:
            all_copies.not_asked.append(f"the set {backup_set['id']}: {trouble.what}")
            continue
        if versions:
            until = f"{datetime.fromisoformat(backup_set['created']) + keeps:%Y-%m-%d}"
            all_copies.sets.append(
                Held(backup_set["id"], versions, until, backup_set["pinned"], sorted(backup_set["targets"]))
            )


def lines(all_copies: Copies, host: str) -> Iterator[str]:
    """The lines for the screen; none where there are no copies."""
    if all_copies.sets:
        yield f"backups: {len(all_copies.sets)} set{'s' * (len(all_copies.sets) > 1)}; the newest {KEEP_AT_LEAST} stay until there are newer ones"
        for held in all_copies.sets:
            end = f"pinned: inv backup.unpin {held.id} --host {host}" if held.pinned else f"kept until {held.until}"
            yield f"  {held.id}  {held.versions} versions, on {', '.join(held.targets)}, {end}"
    for run in all_copies.restores:
        yield f"the way back of the restore {run}: inv restore.cleanup --host {host}"
    for tier, number in all_copies.tiers.items():
        yield f"the tier {tier}: {number} versions lie there; MinIO deletes them there, but not what that store keeps as old versions"
    if all_copies.replicas:
        yield f"replicas: {all_copies.replicas}; erase there as well"
    if all_copies.notifications:
        yield f"notifications: {all_copies.notifications} was sent the names"
    for name, number in all_copies.log_lines.items():
        yield f"the log of {name}: {number} lines; they go when it forgets them"
    if all_copies.drives_away:
        yield f"drives that are away: {all_copies.drives_away}; what lies on them is deleted when they are back and healed"
    yield from (f"not asked, so perhaps: {reason}" for reason in all_copies.not_asked)

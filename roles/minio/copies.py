"""What holds copies of objects beside their bucket: backups, ways back of restores, tiers, replicas, log lines, drives that are away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent

from converge.errors import Trouble
from roles.minio.admin import admin, unzipped
from roles.minio.bucket_state import bucket_state
from worker.contract import Request

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link
    from roles.settings.model import Settings

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


def copies(host: Host[Settings], link: Link, client: Any, bucket: str, prefix: str, tiers: dict[str, int]) -> Copies:
    """Asks all of them. What cannot be asked is told, and keeps nobody from erasing."""
    found = Copies(tiers=tiers)
    state = bucket_state(bucket, unzipped(admin(client, "GET", "export-bucket-metadata")))
    found.replicas = "" if state["replication"] == "none" else state["replication"]
    found.notifications = "" if state["notifications"] == "none" else state["notifications"]
    servers = json.loads(admin(client, "GET", "info")).get("servers") or []
    drives = [drive for server in servers for drive in server.get("drives") or []]
    found.drives_away = sum(one.get("state") != "ok" for one in drives)
    found.log_lines = _log_lines(link, bucket, prefix)
    if host.settings.backup:
        _backups(host, found, bucket, prefix)
    return found


def _log_lines(link: Link, bucket: str, prefix: str) -> dict[str, int]:
    words = {f"{bucket}/{prefix}", f"{bucket}/{percent(prefix)}", f"{bucket}%2F{percent(prefix, safe='')}"}
    _, out, _ = link.send(_LINES, iter(["\n".join(sorted(words)).encode()]))
    rows = (line.rpartition(" ") for line in out.decode(errors="replace").splitlines())
    return {name: int(number) for name, _, number in rows if number.isdigit() and int(number)}


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
        yield f"the log of {name}: {number} lines; they go as it is rotated"
    if found.drives_away:
        yield f"drives that are away: {found.drives_away}; what lies on them is deleted when they are back and healed"
    yield from (f"not asked, so perhaps: {one}" for one in found.not_asked)

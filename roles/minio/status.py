"""What `inv status` says of MinIO: its drives, healing and quorum as the cluster itself sees them, and its buckets."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from converge.record import dataclass
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link
    from roles.settings.model import Settings
    from runbook.status import Status

CLUSTER_PATIENCE = 4.0
"""Seconds after which a cluster without an answer is shown as silent."""


@dataclass
class Bucket:
    """The scanner's counts of a bucket; None before its first visit."""

    name: str
    objects: int | None = None
    size: int | None = None
    counted: float | None = None
    """How many seconds ago."""


def start_reading(host: Host[Settings], link: Link | None, answers: dict[str, Any]) -> None:
    """Ask the cluster about itself while the host is read; each answer is put into `answers` when it comes."""
    from roles.minio.admin import admin
    from roles.minio.api import message_of
    from roles.minio.names import bucket_names
    from roles.minio.role import api_of

    if not host.settings.minio or link is None:
        return
    questions = {
        "info": lambda client: json.loads(admin(client, "GET", "info")),
        "usage": lambda client: json.loads(admin(client, "GET", "datausageinfo")),
        "names": bucket_names,
    }

    def ask(name: str) -> None:
        try:
            answers[name] = api_of(host).any(link, questions[name])
        except Exception as error:
            answers.setdefault("why", getattr(error, "what", "") or message_of(error))

    answers["threads"] = [threading.Thread(target=ask, args=(name,), daemon=True) for name in questions]
    answers["until"] = time.monotonic() + CLUSTER_PATIENCE
    for thread in answers["threads"]:
        thread.start()


def read_cluster(status: Status, host: Host[Settings], answers: dict[str, Any]) -> None:
    """Drives, healing and quorum as the cluster itself sees them, and the sizes of the buckets."""
    from roles.minio.role import settings_of

    for thread in answers.get("threads", []):
        thread.join(max(0.0, answers["until"] - time.monotonic()))
    info, usage, names = answers.get("info"), answers.get("usage") or {}, answers.get("names") or []
    if info is None:
        up = sum(node.state.startswith("running") for node in status.nodes)
        why = answers.get("why") or f"no answer within {CLUSTER_PATIENCE:.0f} s"
        # Containers that could not be read are unknown, not absent.
        shown = f"; by its containers: {quorum(up, len(status.nodes), None)}" if status.nodes else ""
        status.quorum = f"the cluster does not tell ({why}){shown}"
        return
    online = 0
    nodes = settings_of(host).nodes
    by_address = {node.address: node for node in nodes}
    by_name = {node.name: node for node in nodes}
    for server in info.get("servers") or []:
        place = server.get("endpoint", "").rpartition(":")[0]
        node = by_name.get(place) or by_address.get(place)
        for seen in server.get("drives") or []:
            online += seen.get("state") == "ok"
            drive = next((candidate for candidate in status.drives if node and candidate.label == node.drive), None)
            if drive and seen.get("state") != "ok" and not drive.problem:
                drive.problem = f"the cluster says {seen.get('state')}"
            if drive and seen.get("healing"):
                done = (seen.get("heal_info") or {}).get("bytes_done", 0)
                drive.healing = f"healing, {human(done)} done"
    status.quorum = quorum(online, len(nodes), info.get("backend", {}).get("standardSCParity"))
    sizes = usage.get("bucketsUsageInfo") or {}
    from roles.minio.kms import BUCKET

    ago = age(usage.get("lastUpdate", ""))
    counted = {name: sizes.get(name, {}) for name in names if name != BUCKET}
    status.buckets = [
        Bucket(name, counts.get("objectsCount"), counts.get("size"), ago) for name, counts in counted.items()
    ]


def age(moment: str) -> float | None:
    """How many seconds ago the scanner ended its round; None before the first end."""
    if not moment:
        return None
    # Python reads at most six digits of a second.
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment[:19] + "+00:00")).total_seconds())


def quorum(online: int, drives: int, parity: int | None) -> str:
    """What a cluster of one set can still lose, in words. Reading needs the data drives, writing one more when data equals parity."""
    parity = drives // 2 if parity is None else parity
    read = drives - parity
    write = read + 1 if read == parity else read
    if online < read:
        return f"{online} of {drives} drives: LOST, reading needs {read}"
    if drives == 1:
        return "1 of 1 drives: no redundancy, all is lost with this drive"
    if online < write:
        return f"{online} of {drives} drives: READ ONLY, writing needs {write}"
    return f"{online} of {drives} drives: reads survive {online - read} more, writes {online - write} more"

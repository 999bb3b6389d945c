"""A node that has just started does not see all drives yet: until it does, it may leave objects out of a list, or say that they are not there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from worker.buckets.client import Client

SETTLES = 20
"""Seconds that a node is given; it looks every 15 for drives that were away when it started."""


def wait(minio: Client, say: Callable[[str], None] = lambda text: None) -> None:
    """Comes back once no node of the cluster is so young. One that is away is not waited for."""
    info = json.loads(minio.ask("GET", "/minio/admin/v3/info").body)
    ages = [server.get("uptime", 0) for server in info.get("servers", ()) if server.get("state") == "online"]
    remaining = SETTLES - min(ages, default=SETTLES)
    if remaining > 0:
        say(f"a node of MinIO has just started: waiting {remaining} s until it sees all drives")
        time.sleep(remaining)

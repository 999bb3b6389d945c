"""A node that has just started does not see all drives: until then it may omit objects, or deny that they exist."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from worker.buckets.client import DOWN, NO_QUORUM, QUORUM, Client, Silent
from worker.contract import FAILED

SETTLES = 20
"""Seconds that a node gets; every 15 it looks for drives that were missing at its start."""


def wait(minio: Client, say: Callable[[str], None] = lambda text: None) -> None:
    """Waits until no node of the cluster is that young. Nodes that are down are ignored.

    Fails at once where too few drives are there: of each other request MinIO takes half a minute to say so.
    """
    try:
        minio.ask("GET", QUORUM)
    except Silent as error:
        why = NO_QUORUM if "503" in error.why else error.why
        raise Silent(FAILED, "MinIO does not answer", why, DOWN) from None
    info = json.loads(minio.ask("GET", "/minio/admin/v3/info").body)
    ages = [server.get("uptime", 0) for server in info.get("servers", ()) if server.get("state") == "online"]
    remaining = SETTLES - min(ages, default=SETTLES)
    if remaining > 0:
        say(f"a node of MinIO has just started: waiting {remaining} s until it sees all drives")
        time.sleep(remaining)

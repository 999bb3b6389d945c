"""Whether the MinIO of a bucket has enough drives to write; other servers do not report that."""

from __future__ import annotations

from collections.abc import Iterable
from queue import SimpleQueue
from threading import Thread
from typing import Any

import urllib3

QUESTION, QUORUM = "/minio/health/cluster", "X-Minio-Write-Quorum"
PATIENCE = 10.0


def lacking(endpoints: Iterable[str], ca_file: str | None, pool: Any = None) -> str:
    """Why a cluster cannot write; empty if it can, is not MinIO, or does not answer.

    All nodes are asked at once, and the first answer counts: a node may accept a connection and stay silent.
    """
    pool = pool or urllib3.PoolManager(ca_certs=ca_file)
    answers = SimpleQueue[str | None]()
    asked = [
        Thread(target=lambda endpoint=endpoint: answers.put(_asked(pool, endpoint)), daemon=True)
        for endpoint in endpoints
    ]
    for thread in asked:
        thread.start()
    return next((answer for _ in asked if (answer := answers.get()) is not None), "")


def _asked(pool: Any, endpoint: str) -> str | None:
    """The answer of one node; None without one."""
    try:
        answer = pool.request("GET", endpoint + QUESTION, timeout=PATIENCE, retries=False)
    except urllib3.exceptions.HTTPError:
        return None
    if answer.status == 503 and QUORUM in answer.headers:
        return f"writing needs {answer.headers[QUORUM]} drives of each set, and fewer answer"
    return ""

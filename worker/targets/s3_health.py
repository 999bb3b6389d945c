"""Whether the MinIO of a bucket has enough drives to be read and written; other servers do not report that."""

from __future__ import annotations

from collections.abc import Iterable
from queue import SimpleQueue
from threading import Thread
from typing import Any

import urllib3

READING, WRITING = "reading", "writing"
QUESTIONS = {
    WRITING: ("/minio/health/cluster", "X-Minio-Write-Quorum"),
    READING: ("/minio/health/cluster/read", "X-Minio-Read-Quorum"),
}
PATIENCE = 10.0


def lacking(endpoints: Iterable[str], ca_file: str | None, pool: Any = None, what: str = WRITING) -> str:
    """Why a cluster cannot write, or be read; empty if it can, is not MinIO, or does not answer.

    All nodes are asked at once, and the first answer counts: a node may accept a connection and stay silent.
    """
    pool = pool or urllib3.PoolManager(ca_certs=ca_file)
    answers = SimpleQueue[str | None]()
    asked = [
        Thread(target=lambda endpoint=endpoint: answers.put(_asked(pool, endpoint, what)), daemon=True)
        for endpoint in endpoints
    ]
    for thread in asked:
        thread.start()
    return next((answer for _ in asked if (answer := answers.get()) is not None), "")


def _asked(pool: Any, endpoint: str, what: str) -> str | None:
    """The answer of one node; None without one."""
    question, quorum = QUESTIONS[what]
    try:
        answer = pool.request("GET", endpoint + question, timeout=PATIENCE, retries=False)
    except urllib3.exceptions.HTTPError:
        return None
    if answer.status == 503 and quorum in answer.headers:
        return f"{what} needs {answer.headers[quorum]} drives of each set, and fewer answer"
    return ""

"""Whether the MinIO behind a bucket has enough drives to write; other servers do not tell."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import urllib3

QUESTION, QUORUM = "/minio/health/cluster", "X-Minio-Write-Quorum"
PATIENCE = 10.0


def lacking(endpoints: Iterable[str], ca_file: str | None, pool: Any = None) -> str:
    """What a cluster that cannot write says of itself; nothing where it can, or is no MinIO, or is silent."""
    pool = pool or urllib3.PoolManager(ca_certs=ca_file)
    for endpoint in endpoints:
        with suppress(urllib3.exceptions.HTTPError):
            answer = pool.request("GET", endpoint + QUESTION, timeout=PATIENCE, retries=False)
            if QUORUM not in answer.headers:
                return ""
            if answer.status == 503:
                return f"writing needs {answer.headers[QUORUM]} drives of each set, and fewer answer"
            return ""
    return ""

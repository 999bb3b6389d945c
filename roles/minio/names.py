"""The names of a cluster's buckets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from converge.errors import Trouble

READABLE = "/minio/health/cluster/read"
"""Answers 200 while enough drives are online to read (MinIO, docs/metrics/healthcheck)."""


def bucket_names(client: Any, wanted: Iterable[str] | None = None) -> list[str]:
    """All buckets, sorted; with too few drives MinIO lists none, and says nothing of it: then it raises Trouble.

    With `wanted` that is asked only when one of those is missing.
    """
    names = sorted(bucket.name for bucket in client.list_buckets())
    if wanted is not None and set(wanted) <= set(names):
        return names
    if not readable(client):
        raise Trouble(
            "MinIO does not tell",
            client._base_url.host,
            "too few drives are online to read, and without them it lists no buckets",
            "nothing is said about any bucket",
            "inv status shows which drives and nodes are away",
        )
    return names


def readable(client: Any) -> bool:
    """Whether enough drives are online to read."""
    # Plain HTTP for minio-py, also with TLS: the connection itself speaks it.
    answer = client._http.request("GET", f"http://{client._base_url.host}{READABLE}")
    return bool(answer.status == 200)

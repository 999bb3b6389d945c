"""The configuration of a bucket from a set: what the bucket has not is put on, when somebody asks for it."""

from __future__ import annotations

from collections.abc import Mapping

from worker.buckets import quiet, settings
from worker.buckets.client import Client
from worker.errors import Failed

ORDER = ("encryption", "tagging", "policy", settings.QUOTA, "object-lock", "notification", "replication", "lifecycle")
"""What acts on objects comes last. Versioning and locks are of a bucket from its beginning."""


def absent(saved: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The parts that the set has and the bucket has not; one that is other there is somebody's will, and stays."""
    return {part: saved[part] for part in ORDER if _says(part, saved) and not _says(part, now)}


def _says(part: str, configuration: Mapping[str, str]) -> bool:
    """MinIO tells of some parts even where there is nothing in them."""
    way = quiet.WAYS.get(part)
    return bool(configuration.get(part)) and (way is None or way.acts(configuration[part]))


def put(minio: Client, bucket: str, parts: Mapping[str, str]) -> list[str]:
    """Each by itself; gives those that MinIO does not take, and why."""
    wrong = []
    for part, text in parts.items():
        try:
            quiet.set_part(minio, bucket, part, text)
        except Failed as error:
            wrong.append(f"its {part} could not be put back: {error.why}")
    return wrong


def take_away(minio: Client, bucket: str, parts: Mapping[str, str]) -> None:
    """Those that are still as they were put."""
    now = settings.read(minio, bucket)
    for part, text in parts.items():
        if now.get(part) == text:
            way = quiet.WAYS.get(part)
            quiet.set_part(minio, bucket, part, way.meanwhile(text) if way else "")

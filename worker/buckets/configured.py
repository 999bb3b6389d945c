"""Restores the configuration of a bucket from a set, on request: only parts that the bucket lacks."""

from __future__ import annotations

from collections.abc import Mapping

from worker.buckets import quiet, settings
from worker.buckets.client import Client
from worker.errors import Failed

ORDER = ("encryption", "tagging", "policy", settings.QUOTA, "object-lock", "notification", "replication", "lifecycle")
"""The order of the parts: those that act on objects last. Versioning and locks are set when a bucket is made."""


def absent(saved: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The parts that the set has and the bucket lacks; a part that differs was set on purpose, and stays."""
    return {part: saved[part] for part in ORDER if _says(part, saved) and not _says(part, now)}


def _says(part: str, configuration: Mapping[str, str]) -> bool:
    """Whether a part is set: MinIO returns some parts even if they are empty."""
    acting_part = quiet.ACTING_PARTS.get(part)
    return bool(configuration.get(part)) and (acting_part is None or acting_part.acts(configuration[part]))


def put(minio: Client, bucket: str, parts: Mapping[str, str]) -> list[str]:
    """Sets each part separately; gives those that MinIO refuses, and why."""
    wrong = []
    for part, text in parts.items():
        try:
            quiet.set_part(minio, bucket, part, text)
        except Failed as error:
            wrong.append(f"its {part} could not be put back: {error.why}")
    return wrong


def take_away(minio: Client, bucket: str, parts: Mapping[str, str]) -> None:
    """Removes those parts that are still as they were set."""
    now = settings.read(minio, bucket)
    for part, text in parts.items():
        if now.get(part) == text:
            acting_part = quiet.ACTING_PARTS.get(part)
            quiet.set_part(minio, bucket, part, acting_part.meanwhile(text) if acting_part else "")

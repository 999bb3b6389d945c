"""The objects of a request for erasure: counted, with those that are locked, and deleted with all their versions."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from converge.record import dataclass
from roles.minio.usage import SILENCE

STANDARD = ("", "STANDARD", "REDUCED_REDUNDANCY", None)
"""Storage classes that are no tiers."""
A_REQUEST = 1000
"""Versions that minio-py sends in a request for deletion."""
DEEPEST = 100
"""Rounds of deletion: MinIO lists objects below another object (a/b below a) only after that one is gone."""


@dataclass(frozen=True)
class Asked:
    """The requested objects: the one of that name and those below it as a folder; with `begins` all that begin with it."""

    bucket: str
    prefix: str
    begins: bool = False

    def means(self, name: str) -> bool:
        return self.begins or self.prefix.endswith("/") or name == self.prefix or name.startswith(self.prefix + "/")

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.prefix.encode()).hexdigest()


@dataclass
class Selection:
    """Counts of objects to erase or erased; the names of locked ones, which stay, and of others with the same beginning."""

    objects: int = 0
    versions: int = 0
    delete_markers: int = 0
    bytes: int = 0
    locked: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    tiers: dict[str, int] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return self.versions + self.delete_markers


def look(client: Any, asked: Asked) -> Selection:
    """Counts the objects, and names those that are locked; in a bucket with locks each version is asked."""
    result, last, locks = Selection(), "", _has_locks(client, asked.bucket)
    for version in _versions(client, asked):
        if not asked.means(version.object_name):
            if [version.object_name] != result.others[-1:]:
                result.others.append(version.object_name)
            continue
        if locks and not version.is_delete_marker and (why := _lock(client, asked.bucket, version)):
            result.locked.append(f"{version.object_name}  {version.version_id}  {why}")
            continue
        result.objects += version.object_name != last
        _count(result, version, 1)
        last = version.object_name
        if version.storage_class not in STANDARD and not version.is_delete_marker:
            result.tiers[version.storage_class] = result.tiers.get(version.storage_class, 0) + 1
    return result


def hidden_by(client: Any, asked: Asked) -> str:
    """An object with the name of a parent folder, which stops MinIO from listing the folder; mostly there is none."""
    steps = asked.prefix.split("/")
    for number in range(1, len(steps)):
        above = "/".join(steps[:number])
        first = (
            next(iter(client.list_objects(asked.bucket, above, True, include_version=True)), None) if above else None
        )
        if first is not None and first.object_name == above:
            return above
    return ""


def erase_all(client: Any, asked: Asked) -> tuple[Selection, Selection, str]:
    """Deletes and counts again until nothing is left; gives what was deleted, what is left, and MinIO's reason."""
    gone = Selection()
    for _ in range(DEEPEST):
        before = gone.number
        refusal = _delete(client, asked, gone)
        remaining = look(client, asked)
        if not remaining.number or gone.number == before:
            break
    return gone, remaining, refusal


def _delete(client: Any, asked: Asked, gone: Selection) -> str:
    """Deletes all that MinIO allows, and counts it; gives MinIO's reason for the first refusal other than a lock."""
    from minio.deleteobjects import DeleteObject

    sent: dict[tuple[str, str], Any] = {}

    def meant() -> Iterator[DeleteObject]:
        last = ""
        for version in _versions(client, asked):
            if not asked.means(version.object_name):
                continue
            if len(sent) >= A_REQUEST:  # its answer was read
                sent.clear()
            sent[version.object_name, version.version_id] = version
            gone.objects += version.object_name != last
            last = version.object_name
            _count(gone, version, 1)
            yield DeleteObject(version.object_name, version.version_id)

    refusal = ""
    for error in client.remove_objects(asked.bucket, meant()):
        _count(gone, sent[error.name, error.version_id], -1)
        if not refusal and "WORM" not in (error.message or ""):
            refusal = f"{error.name}: {error.code}: {error.message}"
    return refusal


def _count(counts: Selection, version: Any, number: int) -> None:
    counts.delete_markers += number * version.is_delete_marker
    counts.versions += number * (not version.is_delete_marker)
    counts.bytes += number * (version.size or 0)


def _versions(client: Any, asked: Asked) -> Iterator[Any]:
    spoke = time.monotonic()
    listed = client.list_objects(asked.bucket, asked.prefix, True, include_version=True)
    for seen, version in enumerate(listed, 1):
        if time.monotonic() - spoke > SILENCE:
            print(f"{asked.bucket}: {seen} versions so far", file=sys.stderr, flush=True)
            spoke = time.monotonic()
        yield version


def _has_locks(client: Any, bucket: str) -> bool:
    from minio.error import S3Error

    try:
        client.get_object_lock_config(bucket)
    except S3Error as error:
        if error.code != "ObjectLockConfigurationNotFoundError":
            raise
        return False
    return True


def _lock(client: Any, bucket: str, version: Any) -> str:
    """Why a version cannot be deleted now; empty if it can."""
    headers = client.stat_object(bucket, version.object_name, version_id=version.version_id).metadata
    if headers.get("x-amz-object-lock-legal-hold") == "ON":
        return "legal hold"
    mode, until = (headers.get(f"x-amz-object-lock-{what}", "") for what in ("mode", "retain-until-date"))
    over = until[:19] <= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return f"{mode.lower()} until {until[:19]}Z" if mode and not over else ""

"""The objects that a request for deletion means: counted, with what is locked, and deleted with all their versions."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from roles.minio.usage import SILENCE

STANDARD = ("", "STANDARD", "REDUCED_REDUNDANCY", None)
"""Storage classes that are no tiers."""
DEEPEST = 100
"""Rounds of deletion: MinIO lists what lies beneath an object (a/b beneath a) only once that is gone."""


@dataclass(frozen=True)
class Asked:
    """Which objects are meant: the one of that name and what is beneath it as a folder; with `begins` all that begin so."""

    bucket: str
    prefix: str
    begins: bool = False

    def means(self, name: str) -> bool:
        return self.begins or self.prefix.endswith("/") or name == self.prefix or name.startswith(self.prefix + "/")

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.prefix.encode()).hexdigest()


@dataclass
class Found:
    """What is to be erased, what is locked and stays, and what only begins so."""

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


def look(client: Any, asked: Asked) -> Found:
    """Counts, and names what is locked; in a bucket with locks each version is asked for its own."""
    found, last, locks = Found(), "", _has_locks(client, asked.bucket)
    for one in _versions(client, asked):
        if not asked.means(one.object_name):
            if [one.object_name] != found.others[-1:]:
                found.others.append(one.object_name)
            continue
        if locks and not one.is_delete_marker and (why := _lock(client, asked.bucket, one)):
            found.locked.append(f"{one.object_name}  {one.version_id}  {why}")
            continue
        found.objects += one.object_name != last
        found.delete_markers += one.is_delete_marker
        found.versions += not one.is_delete_marker
        found.bytes += one.size or 0
        last = one.object_name
        if one.storage_class not in STANDARD and not one.is_delete_marker:
            found.tiers[one.storage_class] = found.tiers.get(one.storage_class, 0) + 1
    return found


def hidden_by(client: Any, asked: Asked) -> str:
    """The object above the folder that is asked for, which keeps MinIO from listing what is in that; mostly there is none."""
    steps = asked.prefix.split("/")
    for number in range(1, len(steps)):
        above = "/".join(steps[:number])
        first = (
            next(iter(client.list_objects(asked.bucket, above, True, include_version=True)), None) if above else None
        )
        if first is not None and first.object_name == above:
            return above
    return ""


def erase_all(client: Any, asked: Asked) -> tuple[Found, Found, str]:
    """Deletes and looks again until nothing is left: what was deleted, what is left, and MinIO's words for why."""
    gone, left = Found(), look(client, asked)
    for _ in range(DEEPEST):
        words, before = _delete(client, asked), left
        left = look(client, asked)
        if left.number >= before.number and words:
            break
        gone.objects, gone.bytes = gone.objects + before.objects, gone.bytes + before.bytes
        gone.versions, gone.delete_markers = (
            gone.versions + before.versions,
            gone.delete_markers + before.delete_markers,
        )
        if not left.number:
            break
    return gone, left, words


def _delete(client: Any, asked: Asked) -> str:
    """Deletes all but what MinIO refuses; gives its words for the first of these that is not locked."""
    from minio.deleteobjects import DeleteObject

    meant = (one for one in _versions(client, asked) if asked.means(one.object_name))
    errors = client.remove_objects(asked.bucket, (DeleteObject(one.object_name, one.version_id) for one in meant))
    words = [f"{one.name}: {one.code}: {one.message}" for one in errors if "WORM" not in (one.message or "")]
    return words[0] if words else ""


def _versions(client: Any, asked: Asked) -> Iterator[Any]:
    spoke = time.monotonic()
    listed = client.list_objects(asked.bucket, asked.prefix, True, include_version=True)
    for seen, one in enumerate(listed, 1):
        if time.monotonic() - spoke > SILENCE:
            print(f"{asked.bucket}: {seen} versions so far", file=sys.stderr, flush=True)
            spoke = time.monotonic()
        yield one


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
    """Why a version cannot be deleted now; nothing where it can."""
    told = client.stat_object(bucket, version.object_name, version_id=version.version_id).metadata
    if told.get("x-amz-object-lock-legal-hold") == "ON":
        return "legal hold"
    mode, until = (told.get(f"x-amz-object-lock-{what}", "") for what in ("mode", "retain-until-date"))
    over = until[:19] <= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return f"{mode.lower()} until {until[:19]}Z" if mode and not over else ""

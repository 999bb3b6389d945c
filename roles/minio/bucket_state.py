"""The state of a bucket in comparable words, from the archive with the settings of all buckets."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from roles.minio.policy_language import meaning

Files = Mapping[str, bytes]
KNOWN = {
    "policy.json",
    "notification.xml",
    "lifecycle.xml",
    "bucket-encryption.xml",
    "tagging.xml",
    "quota.json",
    "object-lock.xml",
    "versioning.xml",
    "replication.xml",
    "bucket-targets.json",
}
"""The files of a bucket that are understood; other files, of another version, are only shown."""


def bucket_state(name: str, files: Files) -> dict[str, str]:
    """All that is compared of a bucket, and what is left alone: encryption, tags and unknown parts."""

    def text(file: str) -> str:
        return files.get(f"{name}/{file}", b"").decode()

    def xml(file: str) -> ET.Element:
        return _plain(text(file) or "<none/>")

    lock = xml("object-lock.xml")
    policy = json.loads(text("policy.json") or "{}")
    others = [path for path in files if path.startswith(f"{name}/") and path.removeprefix(f"{name}/") not in KNOWN]
    return {
        "versioning": _versioning(xml("versioning.xml")),
        "object_lock": "on" if lock.findtext("ObjectLockEnabled") == "Enabled" else "off",
        "retention": _retention(lock),
        "lifecycle": _lifecycle(xml("lifecycle.xml")),
        "quota": _quota(json.loads(text("quota.json") or "{}")),
        "anonymous": meaning(policy.get("Statement") or []) or "none",
        "replication": _values(xml("replication.xml"), "Bucket"),
        "notifications": _values(xml("notification.xml"), "Queue", "Topic", "CloudFunction"),
        "encryption": _values(xml("bucket-encryption.xml"), "SSEAlgorithm", "KMSMasterKeyID"),
        "tags": _values(xml("tagging.xml"), "Key"),
        "others": ", ".join(sorted(path.partition("/")[2] for path in others)) or "none",
    }


def _plain(text: str) -> ET.Element:
    root = ET.fromstring(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _values(root: ET.Element, *tags: str) -> str:
    return ", ".join(sorted(element.text or "" for element in root.iter() if element.tag in tags)) or "none"


def _versioning(root: ET.Element) -> str:
    if root.findtext("Status") != "Enabled":
        return "off"
    prefixes = [prefix.text or "" for prefix in root.iter("Prefix")]
    prefixes += ["folders"] if (root.findtext("ExcludeFolders") or "").lower() == "true" else []
    return f"on, but not for {', '.join(sorted(prefixes))}" if prefixes else "on"


def _retention(root: ET.Element) -> str:
    mode = (root.findtext("Rule/DefaultRetention/Mode") or "").lower()
    days, years = (root.findtext(f"Rule/DefaultRetention/{unit}") for unit in ("Days", "Years"))
    return f"{mode} {days} days" if mode and days else f"{mode} {years} years" if mode else "none"


def _quota(quota: Mapping[str, Any]) -> str:
    size = quota.get("size") or quota.get("quota") or 0
    limits = [f"{size} bytes"] if size else []
    limits += [
        f"{quota[key]} {what} a second" for key, what in (("rate", "bytes"), ("requests", "requests")) if quota.get(key)
    ]
    return ", ".join(limits) or "none"


def rule(
    name: str,
    prefix: str,
    expire: int | None,
    noncurrent: int | None,
    moves: Sequence[tuple[str | None, int | None]] = ((None, None), (None, None)),
    more: str = "",
) -> str:
    """A lifecycle rule in words; `moves` are the tier and the days of objects, and of old versions."""
    parts = [name, f"prefix {prefix!r}" if prefix else "", f"expires after {expire} days" if expire else ""]
    parts += [f"old versions after {noncurrent} days" if noncurrent else ""]
    for what, (tier, days) in zip(("moves", "old versions move"), moves, strict=True):
        parts += [f"{what} to {tier} after {days} days" if tier and days is not None else ""]
    parts += [more]
    return ", ".join(part for part in parts if part)


UNDERSTOOD = {
    "ID",
    "Status",
    "Filter",
    "Prefix",
    "Expiration",
    "NoncurrentVersionExpiration",
    "Days",
    "NoncurrentDays",
    "Transition",
    "NoncurrentVersionTransition",
    "StorageClass",
}


def tiers_of(rules: bytes) -> frozenset[str]:
    """The tiers that the rules of a bucket name."""
    return frozenset(element.text or "" for element in _plain(rules.decode() or "<none/>").iter("StorageClass"))


def _lifecycle(root: ET.Element) -> str:
    rules = []
    for entry in root.iter("Rule"):
        more = sorted({part.tag for part in entry.iter() if part.tag not in UNDERSTOOD and part is not entry})
        off = ["disabled"] if entry.findtext("Status") != "Enabled" else []
        prefix = entry.findtext("Filter/Prefix") or entry.findtext("Prefix") or ""
        expire, old = entry.findtext("Expiration/Days"), entry.findtext("NoncurrentVersionExpiration/NoncurrentDays")
        moves = [
            (entry.findtext(f"{part}/StorageClass"), int(entry.findtext(f"{part}/{days}") or 0))
            for part, days in (("Transition", "Days"), ("NoncurrentVersionTransition", "NoncurrentDays"))
        ]
        rules.append(
            rule(entry.findtext("ID") or "", prefix, int(expire or 0), int(old or 0), moves, " ".join(more + off))
        )
    return "; ".join(sorted(rules)) or "none"

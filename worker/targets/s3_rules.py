"""Rules of a bucket that would work against us: an expiry deletes parts which newer sets still need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from worker.contract import REFUSED
from worker.errors import Failed

# A server without the feature has no rule of it.
NONE_THERE = ("NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError", "NotImplemented")

Ask = Callable[[str, Callable[[Any], Any]], Any]


def dangers(ask: Ask, bucket: str, prefix: str) -> list[str]:
    """What the bucket would do to keys beneath the prefix; what cannot be read is refused, not taken for nothing."""
    faults = []
    lifecycle = _read(
        ask,
        "the lifecycle rules cannot be read",
        lambda client: client.get_bucket_lifecycle_configuration(Bucket=bucket),
    )
    for rule in lifecycle.get("Rules", []):
        faults += [f"lifecycle rule {rule.get('ID', '?')}: {expiry}" for expiry in expiries(rule, prefix)]
    lock = _read(
        ask, "the object lock cannot be read", lambda client: client.get_object_lock_configuration(Bucket=bucket)
    )
    default = lock.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention")
    if default:
        retention = ", ".join(f"{key.lower()} {value}" for key, value in sorted(default.items()))
        faults.append(f"object lock by default: {retention}")
    return faults


def expiries(rule: dict[str, Any], prefix: str) -> Iterator[str]:
    """Why a lifecycle rule deletes current objects beneath the prefix, where it does."""
    expiration = rule.get("Expiration", {})
    after = [f"{key.lower()} {expiration[key]}" for key in ("Days", "Date") if key in expiration]
    if rule.get("Status") != "Enabled" or not after or _tagged(rule):
        return
    covers = _prefix(rule)
    if prefix.startswith(covers) or covers.startswith(prefix):
        yield f"objects beneath {covers or '/'} expire, {', '.join(after)}"


def _tagged(rule: dict[str, Any]) -> bool:
    """Whether it is only for tagged objects: ours have no tags."""
    chosen = rule.get("Filter", {})
    return bool(chosen.get("Tag") or chosen.get("And", {}).get("Tags"))


def _prefix(rule: dict[str, Any]) -> str:
    chosen = rule.get("Filter", {})
    return str(chosen.get("Prefix") or chosen.get("And", {}).get("Prefix") or rule.get("Prefix") or "")


def _read(ask: Ask, what: str, act: Callable[[Any], Any]) -> dict[str, Any]:
    try:
        return dict(ask(what, act))
    except Failed as error:
        if error.why.startswith(NONE_THERE):
            return {}
        hint = "the credentials need s3:GetLifecycleConfiguration and s3:GetBucketObjectLockConfiguration"
        raise Failed(REFUSED, error.what, error.why, hint) from None

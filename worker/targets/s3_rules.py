"""Rules of a bucket that would harm backups: an expiry deletes contents that newer sets still need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from worker.contract import REFUSED
from worker.errors import Failed

# A server without the feature has no such rule.
NONE_THERE = ("NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError", "NotImplemented")

Ask = Callable[[str, Callable[[Any], Any]], Any]


def dangers(ask: Ask, bucket: str, prefix: str) -> list[str]:
    """The harmful rules for keys below the prefix; rules that cannot be read are a fault."""
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
    """The reasons why a lifecycle rule would delete current objects below the prefix."""
    expiration = rule.get("Expiration", {})
    after = [f"{key.lower()} {expiration[key]}" for key in ("Days", "Date") if key in expiration]
    if rule.get("Status") != "Enabled" or not after or _tagged(rule):
        return
    covers = _prefix(rule)
    if prefix.startswith(covers) or covers.startswith(prefix):
        yield f"objects beneath {covers or '/'} expire, {', '.join(after)}"


def _tagged(rule: dict[str, Any]) -> bool:
    """Whether the rule is only for tagged objects: ours have no tags."""
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

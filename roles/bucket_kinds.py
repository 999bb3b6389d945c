"""Buckets behind MinIO's API, with all that belongs to one, and what the settings no longer name."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.probe import forgetting
from converge.resource import Call, Reading, Refusal, Resource, State, Step, Unknown
from roles.account_kinds import accounts
from roles.minio_api import Api, admin, administrator, unzipped
from roles.minio_calls import do, doing, reading, unless_done

if TYPE_CHECKING:
    from converge.ssh import Link

ALL_KNOW_WITHIN = 30
"""Seconds in which a change of a bucket must reach every node that answers; one that has just started hears of none."""


@dataclass(frozen=True)
class Bucket(Resource):
    """A bucket with its versioning, lock, default retention, lifecycle and quota."""

    kind: ClassVar[str] = "bucket"
    api: Api = field(repr=False)
    settings: Any

    @property
    def name(self) -> str:
        return str(self.settings.name)

    def desired(self) -> State:
        from roles.settings import size_in_bytes

        want = self.settings
        retention = f"{want.retention.mode} {want.retention.days} days" if want.retention else "none"
        rules = sorted(
            _rule(rule.id, rule.prefix, rule.expire_days, rule.expire_noncurrent_days) for rule in want.lifecycle
        )
        return {
            "versioning": "on" if want.versioning else "off",
            "object_lock": "on" if want.object_lock else "off",
            "retention": retention,
            "lifecycle": "; ".join(rules) or "none",
            "quota": f"{size_in_bytes(want.quota)} bytes" if want.quota else "none",
        }

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Bucket]) -> list[Reading]:
        """Two requests for all buckets: their names, and all their settings in one archive, which every node is asked for.

        Each node goes by the settings that it has in memory. One that did not hear of a change goes by the old ones for
        up to 15 minutes (MinIO, cmd/bucket-metadata-sys.go), and an object that is overwritten through it may be lost.
        """
        api = wanted[0].api

        def read(client: Any) -> list[Reading]:
            others = api.others(link, client, _settings)
            names = {bucket.name for bucket in client.list_buckets()}
            if not names.intersection(one.name for one in wanted):
                return [None] * len(wanted)
            files, told = _settings(client), others()
            return [
                _agreed(_bucket(one.name, files), {node: _bucket(one.name, said) for node, said in told.items()})
                if one.name in names
                else None
                for one in wanted
            ]

        return reading(api, link, read, len(wanted))

    def lost(self) -> Refusal:
        return Refusal(
            "this host had it, and now there is none of that name: what it held is gone with it",
            f"copy it back from where you have it; or, to begin with an empty one, on the host: {forgetting(self.address)}",
        )

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["object_lock"].split(" ")[0] != self.desired()["object_lock"]:
            return Refusal(
                "object lock can only be chosen when a bucket is made", "make a new bucket and copy the objects"
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        return [Call(partial(self._until_all_nodes_know, before))]

    def _until_all_nodes_know(self, before: State | None, link: Link) -> None:
        """Make it, and again while a node has not heard of it: that of the last look is the error."""
        now, until = before, time.monotonic() + ALL_KNOW_WITHIN
        while True:
            do(self.api, link, partial(_make_bucket, self, now))
            (told,) = self.ask(link, [self])
            if told == self.desired() or isinstance(told, Unknown) or time.monotonic() > until:
                return
            now = told
            time.sleep(1)


def _settings(client: Any) -> dict[str, bytes]:
    return unzipped(admin(client, "GET", "export-bucket-metadata"))


def _agreed(first: dict[str, str], others: dict[str, dict[str, str]]) -> dict[str, str]:
    """What the first node tells of a bucket, with the words of those that tell something else."""

    def odd(key: str) -> str:
        said = [f"at {node}: {one[key]}" for node, one in sorted(others.items()) if one[key] != first[key]]
        return f" ({'; '.join(said)})" if said else ""

    return {key: value + odd(key) for key, value in first.items()}


def _rule(name: str, prefix: str, expire: int | None, noncurrent: int | None, more: str = "") -> str:
    parts = [name, f"prefix {prefix!r}" if prefix else "", f"expires after {expire} days" if expire else ""]
    parts += [f"old versions after {noncurrent} days" if noncurrent else "", more]
    return ", ".join(part for part in parts if part)


def _bucket(name: str, files: dict[str, bytes]) -> dict[str, str]:
    import xml.etree.ElementTree as ET

    def text(file: str) -> str:
        return files.get(f"{name}/{file}", b"").decode()

    def find(xml: str, path: str) -> str:
        root = ET.fromstring(xml) if xml else None
        for element in root.iter() if root is not None else ():
            element.tag = element.tag.rpartition("}")[2]
        return (root.findtext(path) or "") if root is not None else ""

    lock = text("object-lock.xml")
    mode, days = find(lock, "Rule/DefaultRetention/Mode"), find(lock, "Rule/DefaultRetention/Days")
    quota = json.loads(text("quota.json") or "{}")
    size = quota.get("size") or quota.get("quota") or 0
    return {
        "versioning": "on" if find(text("versioning.xml"), "Status") == "Enabled" else "off",
        "object_lock": "on" if find(lock, "ObjectLockEnabled") == "Enabled" else "off",
        "retention": f"{mode.lower()} {days} days" if mode else "none",
        "lifecycle": _lifecycle(text("lifecycle.xml")),
        "quota": f"{size} bytes" if size else "none",
    }


def _lifecycle(xml: str) -> str:
    import xml.etree.ElementTree as ET

    if not xml:
        return "none"
    known = {"ID", "Status", "Filter", "Prefix", "Expiration", "NoncurrentVersionExpiration", "Days", "NoncurrentDays"}
    rules = []
    root = ET.fromstring(xml)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    for rule in root.iter("Rule"):
        more = sorted({one.tag for one in rule.iter() if one.tag not in known and one is not rule})
        off = ["disabled"] if rule.findtext("Status") != "Enabled" else []
        prefix = rule.findtext("Filter/Prefix") or rule.findtext("Prefix") or ""
        expire, old = rule.findtext("Expiration/Days"), rule.findtext("NoncurrentVersionExpiration/NoncurrentDays")
        extra = " ".join(more + off)
        rules.append(_rule(rule.findtext("ID") or "", prefix, int(expire or 0), int(old or 0), extra))
    return "; ".join(sorted(rules)) or "none"


def _make_bucket(bucket: Bucket, before: State | None, client: Any) -> None:
    """Everything about a bucket that differs, in the order in which MinIO accepts it."""
    from minio.commonconfig import ENABLED, Filter
    from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule
    from minio.objectlockconfig import DAYS, ObjectLockConfig
    from minio.versioningconfig import SUSPENDED, VersioningConfig

    want, name, after = bucket.settings, bucket.name, bucket.desired()
    if before is None:
        with unless_done():
            client.make_bucket(name, object_lock=want.object_lock)
    now = dict(before) if before else _bucket(name, {}) | {"versioning": "on" if want.object_lock else "off"}
    if now["versioning"] != after["versioning"]:
        client.set_bucket_versioning(name, VersioningConfig(ENABLED if want.versioning else SUSPENDED))
    if now["retention"] != after["retention"]:
        kept = want.retention
        if kept:
            client.set_object_lock_config(name, ObjectLockConfig(kept.mode.upper(), kept.days, DAYS))
        else:
            client.delete_object_lock_config(name)
    if now["quota"] != after["quota"]:
        size = int(after["quota"].split(" ")[0]) if want.quota else 0
        admin(
            client,
            "PUT",
            "set-bucket-quota",
            {"bucket": name},
            json.dumps({"quota": size, "size": size, "quotatype": "hard"}).encode(),
        )
    if now["lifecycle"] == after["lifecycle"]:
        return
    rules = [
        Rule(
            ENABLED,
            rule_id=rule.id,
            rule_filter=Filter(prefix=rule.prefix),
            expiration=Expiration(days=rule.expire_days) if rule.expire_days else None,
            noncurrent_version_expiration=(
                NoncurrentVersionExpiration(noncurrent_days=rule.expire_noncurrent_days)
                if rule.expire_noncurrent_days
                else None
            ),
        )
        for rule in want.lifecycle
    ]
    if rules:
        client.set_bucket_lifecycle(name, LifecycleConfig(rules))
    else:
        client.delete_bucket_lifecycle(name)


@dataclass(frozen=True)
class Gone(Resource):
    """Something of the cluster that the settings no longer name. A bucket that holds anything is never removed."""

    kind: ClassVar[str] = "gone"
    api: Api = field(repr=False)
    was: str
    called: str

    @property
    def name(self) -> str:
        return self.called

    @property
    def address(self) -> str:
        return f"{self.was}:{self.called}"

    def desired(self) -> None:
        return None

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Gone]) -> list[Reading]:
        def read(client: Any) -> list[Reading]:
            iam = accounts(client)
            places = {"policy": "policies", "minio-user": "users", "service-account": "svcaccts"}
            return [
                _content(client, one.called)
                if one.was == "bucket"
                else {"there": "yes"}
                if one.called in iam.get(places[one.was], {})
                else None
                for one in wanted
            ]

        return reading(wanted[0].api, link, read, len(wanted))

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before.get("holds"):
            return Refusal(
                f"it holds {before['holds']}: a bucket with objects is never removed",
                f"name it in buckets again, or empty it: mc rm -r --force --versions ALIAS/{self.called}",
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        remove: dict[str, Callable[[Any], Any]] = {
            "bucket": lambda client: client.remove_bucket(self.called),
            "policy": lambda client: administrator(client).policy_remove(self.called),
            "minio-user": lambda client: administrator(client).user_remove(self.called),
            "service-account": lambda client: administrator(client).delete_service_account(self.called),
        }
        return doing(self.api, remove[self.was])


def _content(client: Any, bucket: str) -> Reading:
    if not client.bucket_exists(bucket):
        return None
    first = next(iter(client.list_objects(bucket, include_version=True, recursive=True)), None)
    return {"holds": f"{first.object_name} and perhaps more" if first else ""}

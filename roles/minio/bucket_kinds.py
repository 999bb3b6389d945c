"""Buckets with all their settings, through MinIO's API."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.probe import forgetting
from converge.engine.resource import Call, Reading, Refusal, Resource, State, Step, Unknown
from converge.record import dataclass
from roles.minio.admin import admin, unzipped
from roles.minio.api import Api
from roles.minio.bucket_state import bucket_state, rule
from roles.minio.calls import do, reading, unless_done
from roles.minio.names import bucket_names
from roles.minio.policy_language import VERSION, Statement, difference, meaning, normal

if TYPE_CHECKING:
    from converge.ssh.link import Link
    from roles.minio import settings as model

ALL_KNOW_WITHIN = 30
"""Seconds within which a change of a bucket must reach every node that answers; a node that has just started gets no notice."""
FOREIGN = ("replication", "notifications")
"""Settings that send data or events elsewhere: they must be empty, unless `elsewhere` says that somebody else sets them."""
LEFT_ALONE = ("encryption", "tags", "others")
ANYBODY = {
    "none": ((), ()),
    "download": (("s3:GetBucketLocation", "s3:ListBucket"), ("s3:GetObject",)),
    "upload": (("s3:GetBucketLocation",), ("s3:PutObject",)),
    "public": (("s3:GetBucketLocation", "s3:ListBucket"), ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")),
}
"""What requests without a key may do: with the bucket, and with its objects."""


def granted(bucket: model.Bucket) -> list[Statement]:
    """The statements of a bucket's own policy, as its settings have it."""
    arn, (in_bucket, in_objects) = f"arn:aws:s3:::{bucket.name}", ANYBODY[bucket.anonymous]
    anybody = [
        {"Effect": "Allow", "Principal": "*", "Action": list(actions), "Resource": resource}
        for actions, resource in ((in_bucket, arn), (in_objects, f"{arn}/*"))
        if actions
    ]
    return [*anybody, *bucket.policy]


@dataclass(frozen=True)
class Bucket(Resource):
    """A bucket with its settings; settings that give others access or send data away must be absent."""

    kind: ClassVar[str] = "bucket"
    api: Api = field(repr=False)
    settings: model.Bucket

    @property
    def name(self) -> str:
        return str(self.settings.name)

    def desired(self) -> State:
        from roles.settings.model import size_in_bytes

        want = self.settings
        retention = f"{want.retention.mode} {want.retention.days} days" if want.retention else "none"
        rules = sorted(
            rule(
                lifecycle.id,
                lifecycle.prefix,
                lifecycle.expire_days,
                lifecycle.expire_noncurrent_days,
                _moves(lifecycle),
            )
            for lifecycle in want.lifecycle
        )
        foreign = {key: "none" for key in FOREIGN if key not in want.elsewhere}
        encryption = {} if want.encryption is None else {"encryption": "AES256" if want.encryption else "none"}
        return (
            foreign
            | encryption
            | {
                "versioning": "on" if want.versioning else "off",
                "object_lock": "on" if want.object_lock else "off",
                "retention": retention,
                "lifecycle": "; ".join(rules) or "none",
                "quota": f"{size_in_bytes(want.quota)} bytes" if want.quota else "none",
                "anonymous": meaning(granted(want)) or "none",
            }
        )

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Bucket]) -> list[Reading]:
        """Two requests for all buckets: their names, and all their settings in one archive, which every node is asked for.

        Each node uses the settings in its memory. A node that missed a change uses the old ones for up to 15 minutes
        (MinIO, cmd/bucket-metadata-sys.go), and an object that is overwritten through it may be lost.
        """
        api = wanted[0].api

        def read(client: Any) -> list[Reading]:
            others = api.others(link, client, _settings)
            names = set(bucket_names(client, (bucket.name for bucket in wanted)))
            if not names.intersection(bucket.name for bucket in wanted):
                return [None] * len(wanted)
            files, others_files = _settings(client), others()
            return [
                _compared(
                    bucket_state(bucket.name, files),
                    {node: bucket_state(bucket.name, node_files) for node, node_files in others_files.items()},
                )
                if bucket.name in names
                else None
                for bucket in wanted
            ]

        return reading(api, link, read, len(wanted))

    def stands_on(self) -> list[str]:
        """If one rule lacks its tier, MinIO refuses all rules."""
        return [f"tier:{lifecycle.tier}" for lifecycle in self.settings.lifecycle if lifecycle.tier]

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

    def diff(self, before: State | None) -> list[str]:
        lines = [line for line in super().diff(before) if not line.startswith("anonymous: ")]
        now, after = (before or {}).get("anonymous", "none"), self.desired()["anonymous"]
        if now == after or before is None:
            return lines
        if " (at " in now:  # one node has another answer
            return [*lines, f"anonymous: {now}"]
        return [
            *lines,
            "anonymous:",
            *difference(*("" if statements == "none" else statements for statements in (now, after))),
        ]

    def left_alone(self, before: State) -> list[str]:
        alone = {key: before.get(key, "none") for key in LEFT_ALONE + tuple(self.settings.elsewhere)}
        alone = {key: value for key, value in alone.items() if key not in self.desired()}
        return [f"{key}: {value}" for key, value in alone.items() if value != "none"]

    def fix(self, before: State | None) -> list[Step]:
        return [Call(partial(self._until_all_nodes_know, before))]

    def _until_all_nodes_know(self, before: State | None, link: Link) -> None:
        """Make it, and again until every node knows it; the last reading becomes the error."""
        now, until = before, time.monotonic() + ALL_KNOW_WITHIN
        while True:
            do(self.api, link, partial(_make_bucket, self, now))
            (reading_now,) = self.ask(link, [self])
            if isinstance(reading_now, Unknown) or time.monotonic() > until:
                return
            if reading_now is not None and self.desired().items() <= reading_now.items():
                return
            now = reading_now
            time.sleep(1)


def _settings(client: Any) -> dict[str, bytes]:
    return unzipped(admin(client, "GET", "export-bucket-metadata"))


def _compared(first: dict[str, str], others: dict[str, dict[str, str]]) -> dict[str, str]:
    """The first node's state of a bucket, with the states of the nodes that differ."""

    def odd(key: str) -> str:
        different = [f"at {node}: {state[key]}" for node, state in sorted(others.items()) if state[key] != first[key]]
        return f" ({'; '.join(different)})" if different else ""

    return {key: value + odd(key) for key, value in first.items()}


def _make_bucket(bucket: Bucket, before: State | None, client: Any) -> None:
    """Everything about a bucket that differs, in the order in which MinIO accepts it."""
    from minio.commonconfig import ENABLED
    from minio.objectlockconfig import DAYS, ObjectLockConfig
    from minio.sseconfig import Rule, SSEConfig
    from minio.versioningconfig import SUSPENDED, VersioningConfig

    want, name, after = bucket.settings, bucket.name, bucket.desired()
    if before is None:
        with unless_done():
            client.make_bucket(name, object_lock=want.object_lock)
    now = dict(before) if before else bucket_state(name, {}) | {"versioning": "on" if want.object_lock else "off"}
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
    if now["anonymous"] != after["anonymous"]:
        if after["anonymous"] == "none":
            client.delete_bucket_policy(name)
        else:
            client.set_bucket_policy(name, json.dumps({"Version": VERSION, "Statement": normal(granted(want))}))
    if now["replication"] != after.get("replication", now["replication"]):
        client.delete_bucket_replication(name)
    if now["notifications"] != after.get("notifications", now["notifications"]):
        client.delete_bucket_notification(name)
    if now["encryption"] != after.get("encryption", now["encryption"]):
        if want.encryption:
            client.set_bucket_encryption(name, SSEConfig(Rule.new_sse_s3_rule()))
        else:
            client.delete_bucket_encryption(name)
    if now["lifecycle"] != after["lifecycle"]:
        _set_lifecycle(client, want)


def _moves(rule: model.Lifecycle) -> list[tuple[str | None, int | None]]:
    return [(rule.tier, rule.transition_days), (rule.tier, rule.transition_noncurrent_days)]


def _set_lifecycle(client: Any, want: Any) -> None:
    from minio.commonconfig import ENABLED, Filter
    from minio.lifecycleconfig import (
        Expiration,
        LifecycleConfig,
        NoncurrentVersionExpiration,
        NoncurrentVersionTransition,
        Rule,
        Transition,
    )

    name = want.name
    rules = [
        Rule(
            ENABLED,
            rule_id=lifecycle.id,
            rule_filter=Filter(prefix=lifecycle.prefix),
            expiration=Expiration(days=lifecycle.expire_days) if lifecycle.expire_days else None,
            noncurrent_version_expiration=(
                NoncurrentVersionExpiration(noncurrent_days=lifecycle.expire_noncurrent_days)
                if lifecycle.expire_noncurrent_days
                else None
            ),
            # minio-py leaves out 0 days, which MinIO reads as at once.
            transition=Transition(days=lifecycle.transition_days, storage_class=lifecycle.tier)
            if lifecycle.transition_days is not None
            else None,
            noncurrent_version_transition=NoncurrentVersionTransition(
                lifecycle.transition_noncurrent_days, lifecycle.tier
            )
            if lifecycle.transition_noncurrent_days is not None
            else None,
        )
        for lifecycle in want.lifecycle
    ]
    if rules:
        client.set_bucket_lifecycle(name, LifecycleConfig(rules))
    else:
        client.delete_bucket_lifecycle(name)

"""The kinds of resource that live behind MinIO's API: buckets, policies, users and their service accounts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.errors import REFUSED, Trouble
from converge.resource import Call, Reading, Refusal, Resource, State, Step, Unknown
from converge.secret import Secret
from roles.minio_api import Api, admin, administrator, library, unzipped

if TYPE_CHECKING:
    from converge.ssh import Link


def _doing(api: Api, act: Callable[[Any], Any]) -> list[Step]:
    """One API call as a step; what MinIO says becomes the error."""

    def run(link: Link) -> None:
        library()
        from minio.error import MinioException
        from urllib3.exceptions import HTTPError

        try:
            api.any(link, act)
        except (MinioException, ValueError) as error:
            raise Trouble("MinIO refused", why=_said(error)) from None
        except HTTPError as error:
            raise Trouble("MinIO does not answer", why=_said(error)) from None

    return [Call(run)]


def _said(error: Exception) -> str:
    """The words of an error of minio-py, without the request, which may hold keys."""
    code, message = getattr(error, "code", ""), getattr(error, "message", "")
    return f"{code}: {message}" if code else type(error).__name__ + ": " + str(error)[:200]


def fingerprint(secret: Secret) -> str:
    """Tells two secrets apart without holding either."""
    return "secret " + hashlib.sha256(b"stowage" + secret.reveal().encode()).hexdigest()[:16]


def _hide(lines: list[str]) -> list[str]:
    return [f"{line.split(':')[0]}: changed, hidden" if "secret " in line else line for line in lines]


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
        """Two requests for all buckets: their names, and all their settings in one archive."""

        def read(client: Any) -> list[Reading]:
            names = {bucket.name for bucket in client.list_buckets()}
            files = unzipped(admin(client, "GET", "export-bucket-metadata")) if names else {}
            return [_bucket(one.name, files) if one.name in names else None for one in wanted]

        return _reading(wanted[0].api, link, read, len(wanted))

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["object_lock"] != self.desired()["object_lock"]:
            return Refusal(
                "object lock can only be chosen when a bucket is made", "make a new bucket and copy the objects"
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        return _doing(self.api, partial(_make_bucket, self, before))


def _reading(api: Api, link: Link, read: Callable[[Any], list[Reading]], many: int) -> list[Reading]:
    """What MinIO tells of `many` resources. That the host lets nobody through to MinIO is no matter of waiting."""
    library()
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    try:
        return list(api.read(link, read))
    except Trouble as trouble:
        if trouble.code != REFUSED:
            raise
        return [Unknown(trouble.what, trouble.hint, lasting=True)] * many
    except (MinioException, HTTPError) as error:
        raise Trouble("MinIO does not tell", why=_said(error)) from None


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


def _iam(client: Any) -> dict[str, Any]:
    """All of IAM in one request, in memory only: it holds secret keys in clear text."""
    files = unzipped(admin(client, "GET", "export-iam"))
    return {
        name.rpartition("/")[2].removesuffix(".json"): json.loads(data or b"{}") or {} for name, data in files.items()
    }


@dataclass(frozen=True)
class Policy(Resource):
    """An IAM policy."""

    kind: ClassVar[str] = "policy"
    api: Api = field(repr=False)
    settings: Any

    @property
    def name(self) -> str:
        return str(self.settings.name)

    def desired(self) -> State:
        return {"statements": _statements(self.settings.statements)}

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Policy]) -> list[Reading]:
        def read(client: Any) -> list[Reading]:
            have = _iam(client).get("policies", {})
            return [
                {"statements": _statements(have[one.name].get("Statement", []))} if one.name in have else None
                for one in wanted
            ]

        return _reading(wanted[0].api, link, read, len(wanted))

    def fix(self, before: State | None) -> list[Step]:
        body = json.dumps({"Version": "2012-10-17", "Statement": self.settings.statements}).encode()
        return _doing(
            self.api, lambda client: admin(client, "PUT", "add-canned-policy", {"name": self.name}, body) and None
        )


def _statements(statements: Sequence[dict[str, Any]]) -> str:
    """Statements in one spelling: a single action is a list of one, and lists are sets."""

    def plain(value: Any) -> Any:
        return sorted(value) if isinstance(value, list) else [value]

    listed = [
        {key: plain(value) if key in ("Action", "Resource") else value for key, value in one.items()}
        for one in statements
    ]
    return json.dumps(sorted(listed, key=lambda one: json.dumps(one, sort_keys=True)), sort_keys=True)


@dataclass(frozen=True)
class User(Resource):
    """A user of MinIO with its password and exactly these policies."""

    kind: ClassVar[str] = "minio-user"
    api: Api = field(repr=False)
    settings: Any

    @property
    def name(self) -> str:
        return str(self.settings.name)

    def desired(self) -> State:
        return {
            "password": fingerprint(self.settings.password),
            "policies": ",".join(sorted(self.settings.policies)),
            "status": "enabled",
        }

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[User]) -> list[Reading]:
        def read(client: Any) -> list[Reading]:
            iam = _iam(client)
            return [_user(iam, one.name) for one in wanted]

        return _reading(wanted[0].api, link, read, len(wanted))

    def diff(self, before: State | None) -> list[str]:
        return _hide(super().diff(before))

    def fix(self, before: State | None) -> list[Step]:
        return _doing(self.api, partial(_make_user, self, before))


def _user(iam: dict[str, Any], name: str) -> Reading:
    user = iam.get("users", {}).get(name)
    if user is None:
        return None
    policies = iam.get("user_mappings", {}).get(name, {}).get("policy", "")
    return {
        "password": fingerprint(Secret(user.get("secretKey", ""))),
        "policies": ",".join(sorted(filter(None, policies.split(",")))),
        "status": user.get("status", "").replace("on", "enabled")
        if user.get("status") == "on"
        else user.get("status", ""),
    }


def _make_user(user: User, before: State | None, client: Any) -> None:
    after, admins = user.desired(), administrator(client)
    if before is None or before["password"] != after["password"]:
        admins.user_add(user.name, user.settings.password.reveal())
    if before and before["status"] != "enabled":
        admins.user_enable(user.name)
    have, want = (set(filter(None, (state or {}).get("policies", "").split(","))) for state in (before, after))
    if have - want:
        admins.detach_policy(sorted(have - want), user=user.name)
    if want - have:
        admins.attach_policy(sorted(want - have), user=user.name)


@dataclass(frozen=True)
class ServiceAccount(Resource):
    """A key of an application that acts for a user."""

    kind: ClassVar[str] = "service-account"
    api: Api = field(repr=False)
    user: Any
    settings: Any

    @property
    def name(self) -> str:
        return str(self.settings.access_key)

    def desired(self) -> State:
        return {"secret_key": fingerprint(self.settings.secret_key), "user": self.user.name}

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[ServiceAccount]) -> list[Reading]:
        def read(client: Any) -> list[Reading]:
            have = _iam(client).get("svcaccts", {})
            found = [have.get(one.name) for one in wanted]
            return [
                {"secret_key": fingerprint(Secret(one.get("secretKey", ""))), "user": one.get("parent", "")}
                if one
                else None
                for one in found
            ]

        return _reading(wanted[0].api, link, read, len(wanted))

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["user"] != self.user.name:
            return Refusal(f"this key belongs to {before['user']}", "choose another access_key")
        return None

    def diff(self, before: State | None) -> list[str]:
        return _hide(super().diff(before))

    def fix(self, before: State | None) -> list[Step]:
        secret = self.settings.secret_key
        if before:
            return _doing(
                self.api,
                lambda client: (
                    administrator(client).update_service_account(self.name, secret_key=secret.reveal()) and None
                ),
            )
        # Made by the user itself: minio-py cannot make one on behalf of another.
        own = Api(self.api.nodes, Secret(self.user.name), self.user.password)
        return _doing(
            own,
            lambda client: (
                administrator(client).add_service_account(access_key=self.name, secret_key=secret.reveal()) and None
            ),
        )


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
            iam = _iam(client)
            places = {"policy": "policies", "minio-user": "users", "service-account": "svcaccts"}
            return [
                _content(client, one.called)
                if one.was == "bucket"
                else {"there": "yes"}
                if one.called in iam.get(places[one.was], {})
                else None
                for one in wanted
            ]

        return _reading(wanted[0].api, link, read, len(wanted))

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
        return _doing(self.api, remove[self.was])


def _content(client: Any, bucket: str) -> Reading:
    if not client.bucket_exists(bucket):
        return None
    first = next(iter(client.list_objects(bucket, include_version=True, recursive=True)), None)
    return {"holds": f"{first.object_name} and perhaps more" if first else ""}

"""What the inventory says of MinIO: its nodes, and the buckets, policies and users of the cluster."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from converge.inventory.validation import Problems
from roles.minio.policy_faults import faults, outside
from roles.minio.policy_language import BUILT_IN
from roles.settings.fields import (
    AccessKey,
    Address,
    BucketName,
    Expiry,
    GroupName,
    Label,
    Line,
    LocalFile,
    MinioVariable,
    Name,
    OwnFolder,
    PolicyName,
    Prefix,
    SecretValue,
    Section,
    Size,
    TierName,
    UserName,
    WebUrl,
    matches,
    within,
)


class Node(Section):
    name: Name
    drive: Label = Field(description="label of the drive that holds this node's data")
    address: Address = Field(description="its fixed address in the private network")


METRICS = "stowage-metrics"
"""The user who may only read metrics."""


class Metrics(Section):
    """The user that may read the metrics of the nodes; not from outside, as the edge answers 403 to their paths."""

    auth: Literal["token", "public"] = Field(
        default="token", description="who reads them: who has the token, or everybody who reaches a node"
    )
    secret: SecretValue | None = Field(
        default=None,
        description="secret key of the user stowage-metrics, who may do nothing else: inv minio.metrics-token",
    )

    @model_validator(mode="after")
    def _fits(self) -> Metrics:
        if self.auth == "public" and self.secret is not None:
            raise Problems([(("secret",), "with auth: public nobody is asked for a token")])
        return self


class Tier(Section):
    """Another object store, to which the rules of buckets move old objects; clients still read them through this one."""

    name: TierName
    kind: Literal["minio", "s3"]
    endpoint: Annotated[
        WebUrl, matches(r"[^/]+//[^/]+", "an address without a path; MinIO would leave the path out without a word")
    ]
    bucket: BucketName
    prefix: Prefix = Field(default="", description="beneath which the objects lie there; nobody else writes there")
    region: Line = Field(default="", description="of kind s3")
    storage_class: Line = Field(default="", description="of kind s3: such as STANDARD_IA; not one that must be thawed")
    access_key: SecretValue
    secret_key: SecretValue

    @model_validator(mode="after")
    def _uses_its_keys(self) -> Tier:
        unused = [key for key in ("region", "storage_class") if self.kind == "minio" and getattr(self, key)]
        if unused:
            raise Problems([((key,), "only kind: s3 uses it") for key in unused])
        return self


class MinioTls(Section):
    """One certificate for all nodes; it names each, and its address."""

    certificate: LocalFile = Field(description="PEM file on the operator's machine, with the chain")
    key: LocalFile = Field(description="PEM file of the key on the operator's machine")
    authority: LocalFile = Field(description="PEM file of the certificate of the authority that signed it")


class OpenId(Section):
    """An identity provider, which logs users in and names their policies."""

    config_url: WebUrl = Field(description="its discovery document, as the nodes reach it")
    client: Name
    secret: SecretValue
    claim: Name = Field(default="policy", description="names the policies of a person")
    scopes: list[Name] = Field(default=["openid", "profile", "email"], description="what it is asked for")
    label: Annotated[Line, matches(r'[^"\\$]{1,64}', 'at most 64 letters, without ", $ and a backslash')] = Field(
        default="Single sign-on", description="what the console's button says"
    )


class Minio(Section):
    image: Name = "minio"
    nodes: list[Node] = Field(min_length=1)
    networks: list[Name] = Field(
        default=[], description="the first holds the nodes' addresses; not set: the only network of the host"
    )
    root_user: SecretValue
    root_password: SecretValue
    kms_key: SecretValue | None = Field(
        default=None, description="NAME:BASE64 of 32 bytes, with which it encrypts at rest; the same for ever"
    )
    metrics: Metrics = Metrics()
    openid: OpenId | None = Field(default=None, description="single sign-on of the console, and keys for its people")
    tls: MinioTls | None = Field(default=None, description="TLS among the nodes, and between them and the edge")
    tiers: list[Tier] = Field(default=[], description="other object stores, for the transitions of buckets")
    root_drive_threshold: Annotated[Size, within("1GiB", "1PiB")] | None = Field(
        default=None,
        description="a filesystem up to this size is never taken for a drive: above the root disk, below the drives",
    )
    queue: OwnFolder | None = Field(
        default=None,
        description="a folder of the host in which each node keeps what its web hooks do not take; to the server it is /queue",
    )
    environment: dict[MinioVariable, Line] = Field(
        default={}, description="further settings of the server, the same on every node"
    )


class Retention(Section):
    mode: Literal["governance", "compliance"]
    days: int = Field(ge=1, le=36500)


Days = Annotated[int, Field(ge=1, le=36500)]
SomeDays = Annotated[int, Field(ge=0, le=36500)]


class Lifecycle(Section):
    """When objects and old versions of a bucket expire, or move to a tier; `prefix` limits the rule."""

    id: Name
    prefix: Prefix = ""
    expire_days: Days | None = None
    expire_noncurrent_days: Days | None = None
    tier: TierName | None = Field(default=None, description="a row of minio.tiers")
    transition_days: SomeDays | None = Field(default=None, description="then objects move to the tier; 0 is at once")
    transition_noncurrent_days: SomeDays | None = Field(default=None, description="the same of old versions")

    @model_validator(mode="after")
    def _says_something(self) -> Lifecycle:
        moves = [self.transition_days, self.transition_noncurrent_days]
        if {self.expire_days, self.expire_noncurrent_days, *moves} == {None}:
            raise ValueError("a lifecycle rule needs one of expire_..._days or transition_..._days")
        if (self.tier is None) != (moves == [None, None]):
            raise Problems([(("tier",), "it goes with transition_days or transition_noncurrent_days")])
        for move, end in zip(moves, (self.expire_days, self.expire_noncurrent_days), strict=True):
            if move is not None and end is not None and move >= end:
                raise Problems([(("tier",), "what moves there has expired by then")])
        return self


class Bucket(Section):
    name: BucketName
    versioning: bool = False
    object_lock: bool = Field(default=False, description="only when the bucket is made; needs versioning")
    retention: Retention | None = Field(default=None, description="default retention; needs object_lock")
    lifecycle: list[Lifecycle] = Field(default=[], description="when it forgets objects")
    quota: Annotated[Size, within("1MiB", "1000PiB")] | None = None
    encryption: bool | None = Field(
        default=None, description="whether new objects are encrypted with minio.kms_key; not set: as it is"
    )
    anonymous: Literal["none", "download", "upload", "public"] = Field(
        default="none", description="what everybody may do without a key"
    )
    policy: list[dict[str, Any]] = Field(
        default=[], description="further statements of the bucket's own policy, each with a Principal"
    )
    elsewhere: list[Literal["replication", "notifications"]] = Field(
        default=[], description="what somebody else sets here; otherwise there is none"
    )

    @model_validator(mode="after")
    def _lock_needs(self) -> Bucket:
        wrong = [*faults(self.policy, of_bucket=True), *outside(self.name, self.policy)]
        if wrong:
            raise Problems([(("policy", *path), text) for path, text in wrong])
        if self.retention and not self.object_lock:
            raise Problems([(("retention",), "it needs object_lock: true")])
        if self.object_lock and not self.versioning:
            raise Problems([(("object_lock",), "it needs versioning: true")])
        return self


class Policy(Section):
    """An IAM policy; `statements` is AWS's JSON, as YAML."""

    name: PolicyName
    statements: list[dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_taken(self) -> Policy:
        problems: list[tuple[tuple[str | int, ...], str]] = [
            (("statements", *path), text) for path, text in faults(self.statements)
        ]
        if self.name in BUILT_IN:
            problems.append(
                (("name",), f"MinIO has a policy {self.name} of its own, which cannot be removed: name it otherwise")
            )
        if problems:
            raise Problems(problems)
        return self


class ServiceAccount(Section):
    access_key: AccessKey
    secret_key: SecretValue
    expires: Expiry | None = Field(
        default=None, description="the day, or moment of UTC, from which it is good for nothing; not set: never"
    )
    statements: list[dict[str, Any]] = Field(
        default=[], description="what it may do of what its user may; not set: all of it"
    )

    @model_validator(mode="after")
    def _can_be_taken(self) -> ServiceAccount:
        if problems := [(("statements", *path), text) for path, text in faults(self.statements)]:
            raise Problems(problems)
        return self


class User(Section):
    name: UserName
    password: SecretValue
    policies: list[PolicyName] = Field(
        default=[], description="names of policies, the server's own or those of the inventory"
    )
    groups: list[GroupName] = Field(default=[], description="groups of MinIO that it is in; it is in no other")
    service_accounts: list[ServiceAccount] = Field(
        default=[], description="keys for programs, with no more rights than their user"
    )

"""Buckets, policies, users and service accounts of the cluster, reconciled through its API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.engine.resource import Resource, in_order
from converge.engine.role import Wanted, role
from roles.minio.account_kinds import ServiceAccount, User
from roles.minio.bucket_kinds import Bucket
from roles.minio.gone import Gone
from roles.minio.kms import Canary
from roles.minio.metrics import reader
from roles.minio.policy_kinds import Iam, Policy
from roles.minio.policy_language import BUILT_IN
from roles.minio.role import api_of, settings_of
from roles.minio.tier_gone import TierGone
from roles.minio.tiers import Tier

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


def _gone(host: Host[Settings], kind: str, name: str) -> Resource | None:
    if kind == Tier.kind and host.settings.minio:
        return TierGone(api_of(host), name, frozenset(bucket.name for bucket in host.settings.buckets))
    if not host.settings.minio or kind == Iam.kind or (kind == Policy.kind and name in BUILT_IN):
        return None
    return Gone(api_of(host), kind, name, frozenset(user.name for user in host.settings.users))


@role(needs=("minio",), gone=_gone)
def buckets(host: Host[Settings]) -> Wanted:
    settings, api = host.settings, api_of(host)
    if settings_of(host).kms_key:
        yield Canary(api)
    yield from (Tier(api, tier) for tier in settings_of(host).tiers)
    yield from (Bucket(api, bucket) for bucket in settings.buckets)
    yield from (Policy(api, policy) for policy in settings.policies)
    yield from reader(host, api)
    for user in settings.users:
        keys = [ServiceAccount(api, user, account) for account in user.service_accounts]
        yield in_order(User(api, user), *keys)
    yield Iam(
        api,
        frozenset(policy.name for policy in settings.policies),
        frozenset(user.name for user in settings.users),
        frozenset(key.access_key for user in settings.users for key in user.service_accounts),
    )

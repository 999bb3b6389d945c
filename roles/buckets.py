"""Buckets, policies, users and service accounts of the cluster, reconciled through its API."""

from __future__ import annotations

from typing import Any

from converge.resource import Resource, in_order
from converge.role import Wanted, role
from roles.account_kinds import Policy, ServiceAccount, User
from roles.bucket_kinds import Bucket, Gone
from roles.minio import api_of


def _gone(host: Any, kind: str, name: str) -> Resource | None:
    return Gone(api_of(host), kind, name) if host.settings.minio else None


@role(needs=("minio",), gone=_gone)
def buckets(host: Any) -> Wanted:
    settings, api = host.settings, api_of(host)
    yield from (Bucket(api, bucket) for bucket in settings.buckets)
    policies = [Policy(api, policy) for policy in settings.policies]
    yield from policies
    for user in settings.users:
        keys = [ServiceAccount(api, user, account) for account in user.service_accounts]
        yield in_order(User(api, user), *keys)

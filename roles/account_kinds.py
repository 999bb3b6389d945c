"""The accounts of MinIO: policies, users, and the service accounts that act for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.resource import Reading, Refusal, Resource, State, Step
from converge.secret import Secret
from roles.minio_api import Api, admin, administrator, said, unzipped
from roles.minio_calls import doing, reading, unless_done

if TYPE_CHECKING:
    from converge.ssh import Link


def fingerprint(secret: Secret) -> str:
    """Tells two secrets apart without holding either."""
    return "secret " + hashlib.sha256(b"stowage" + secret.reveal().encode()).hexdigest()[:16]


def _hide(lines: list[str]) -> list[str]:
    return [f"{line.split(':')[0]}: changed, hidden" if "secret " in line else line for line in lines]


def accounts(client: Any) -> dict[str, Any]:
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
            have = accounts(client).get("policies", {})
            return [
                {"statements": _statements(have[one.name].get("Statement", []))} if one.name in have else None
                for one in wanted
            ]

        return reading(wanted[0].api, link, read, len(wanted))

    def fix(self, before: State | None) -> list[Step]:
        body = json.dumps({"Version": "2012-10-17", "Statement": self.settings.statements}).encode()
        return doing(
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
            iam = accounts(client)
            return [_user(iam, one.name) for one in wanted]

        return reading(wanted[0].api, link, read, len(wanted))

    def diff(self, before: State | None) -> list[str]:
        return _hide(super().diff(before))

    def fix(self, before: State | None) -> list[Step]:
        return doing(self.api, partial(_make_user, self, before))


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
        with unless_done():
            admins.detach_policy(sorted(have - want), user=user.name)
    if want - have:
        with unless_done():
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
            have = accounts(client).get("svcaccts", {})
            found = [have.get(one.name) for one in wanted]
            return [
                {"secret_key": fingerprint(Secret(one.get("secretKey", ""))), "user": one.get("parent", "")}
                if one
                else None
                for one in found
            ]

        return reading(wanted[0].api, link, read, len(wanted))

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["user"] != self.user.name:
            return Refusal(f"this key belongs to {before['user']}", "choose another access_key")
        return None

    def diff(self, before: State | None) -> list[str]:
        return _hide(super().diff(before))

    def fix(self, before: State | None) -> list[Step]:
        secret = self.settings.secret_key
        if before:
            return doing(
                self.api,
                lambda client: (
                    administrator(client).update_service_account(self.name, secret_key=secret.reveal()) and None
                ),
            )
        # Made by the user itself: minio-py cannot make one on behalf of another.
        own = Api(self.api.nodes, Secret(self.user.name), self.user.password)
        return doing(own, partial(_make_account, self))


def _make_account(account: ServiceAccount, client: Any) -> None:
    from minio.error import MinioAdminException

    name, secret, admins = account.name, account.settings.secret_key.reveal(), administrator(client)
    try:
        admins.add_service_account(access_key=name, secret_key=secret)
    except MinioAdminException as error:
        # Asked a second time, for the answer was lost: of another user's key MinIO says "taken by another user".
        if "already taken" not in said(error):
            raise
        admins.update_service_account(name, secret_key=secret)

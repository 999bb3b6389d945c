"""The accounts of MinIO: users, and the service accounts that act for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, State, Step
from converge.inventory.secret import Secret
from converge.record import dataclass
from roles.minio.accounts import Accounts, accounts, fingerprint, secret_of
from roles.minio.admin import admin, administrator
from roles.minio.api import Api, message_of
from roles.minio.calls import REMOVED, doing, reading, unless_done
from roles.minio.key_ends import is_over, moment
from roles.minio.policy_language import VERSION, difference, meaning, normal

if TYPE_CHECKING:
    from converge.ssh.link import Link
    from roles.minio import settings as model

NEVER = "1970-01-01T00:00:00Z"
"""The expiry that MinIO reads and writes for a key without an end."""


def _hide(lines: list[str]) -> list[str]:
    return [f"{line.split(':')[0]}: changed, hidden" if "secret " in line else line for line in lines]


def _names_in(state: State | None, key: str) -> set[str]:
    return {word for word in (state or {}).get(key, "").split(",") if word}


@dataclass(frozen=True)
class User(Resource):
    """A user of MinIO with its password and exactly these policies and groups."""

    kind: ClassVar[str] = "minio-user"
    api: Api = field(repr=False)
    settings: model.User

    @property
    def name(self) -> str:
        return str(self.settings.name)

    def desired(self) -> State:
        return {
            "password": fingerprint(self.settings.password),
            "policies": ",".join(sorted(self.settings.policies)),
            "groups": ",".join(sorted(self.settings.groups)),
            "status": "enabled",
        }

    def stands_on(self) -> list[str]:
        return [f"policy:{name}" for name in self.settings.policies]

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[User]) -> list[Reading]:
        def read(client: Any) -> list[Reading]:
            iam = accounts(client, link)
            return [user._state(client, iam) for user in wanted]

        return reading(wanted[0].api, link, read, len(wanted))

    def _state(self, client: Any, iam: Accounts) -> Reading:
        user = iam.users.get(self.name)
        if user is None:
            return None
        return {
            "password": secret_of(client, self.name, user, self.settings.password),
            "policies": ",".join(sorted(iam.user_policies.get(self.name, ()))),
            "groups": ",".join(iam.groups_of(self.name)),
            "status": {"on": "enabled", "off": "disabled"}.get(user.get("status", ""), user.get("status", "")),
        }

    def diff(self, before: State | None) -> list[str]:
        return _hide(super().diff(before))

    def fix(self, before: State | None) -> list[Step]:
        return doing(self.api, partial(_make_user, self, before))


def _make_user(user: User, before: State | None, client: Any) -> None:
    after, admins = user.desired(), administrator(client)
    if before is None or before["password"] != after["password"]:
        admins.user_add(user.name, user.settings.password.reveal())
    if before and before["status"] != "enabled":
        admins.user_enable(user.name)
    have, want = _names_in(before, "policies"), _names_in(after, "policies")
    if have - want:
        with unless_done():
            admins.detach_policy(sorted(have - want), user=user.name)
    if want - have:
        with unless_done():
            admins.attach_policy(sorted(want - have), user=user.name)
    have, want = _names_in(before, "groups"), _names_in(after, "groups")
    for group in sorted(have ^ want):
        _member(client, group, user.name, remove=group in have)


def _member(client: Any, group: str, user: str, remove: bool) -> None:
    # Not with minio-py: it sends the members as one string, which the server refuses.
    body = {"group": group, "members": [user], "groupStatus": "enabled", "isRemove": remove}
    admin(client, "PUT", "update-group-members", body=json.dumps(body).encode())


@dataclass(frozen=True)
class ServiceAccount(Resource):
    """A key of an application that acts for a user: switched on, with its end if it has one, and its user's rights or fewer.

    A key that has ended counts as absent: MinIO accepts neither its requests nor a new key with an end in the past.
    """

    kind: ClassVar[str] = "service-account"
    api: Api = field(repr=False)
    user: model.User
    settings: model.ServiceAccount

    @property
    def name(self) -> str:
        return str(self.settings.access_key)

    def desired(self) -> State | None:
        if is_over(self.settings.expires):
            return None
        return {
            "secret_key": fingerprint(self.settings.secret_key),
            "user": self.user.name,
            "status": "on",
            "expires": moment(self.settings.expires) if self.settings.expires else "never",
            "rights": meaning(self.settings.statements) or "its user's",
        }

    def stands_on(self) -> list[str]:
        return [f"{User.kind}:{self.user.name}"]

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[ServiceAccount]) -> list[Reading]:
        def read(client: Any) -> list[Reading]:
            iam = accounts(client, link, keys=[key.name for key in wanted])
            return [key._state(client, iam) for key in wanted]

        return reading(wanted[0].api, link, read, len(wanted))

    def _state(self, client: Any, iam: Accounts) -> Reading:
        key = iam.keys.get(self.name)
        if not key:
            return None
        narrowed = (key.get("sessionPolicy") or {}).get("Statement")
        expires = key.get("expiration") or NEVER
        return {
            "secret_key": secret_of(client, self.name, key, self.settings.secret_key),
            "user": key.get("parent", ""),
            "status": key.get("status", ""),
            "expires": "never" if expires < "1971" else moment(expires),
            "rights": meaning(narrowed) if narrowed else "its user's",
            "description": " ".join(filter(None, (key.get("name"), key.get("description")))),
        }

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["user"] != self.user.name:
            return Refusal(f"this key belongs to {before['user']}", "choose another access_key")
        return None

    def left_alone(self, before: State) -> list[str]:
        return [f"description: {before['description']}"] if before.get("description") else []

    def diff(self, before: State | None) -> list[str]:
        lines = _hide([line for line in super().diff(before) if not line.startswith("rights: ")])
        after = self.desired()
        rights = [(state or {}).get("rights", "") for state in (before, after)]
        if before is None or after is None or rights[0] == rights[1]:
            return lines
        return [*lines, *_rights(*rights)]

    def fix(self, before: State | None) -> list[Step]:
        if self.desired() is None:
            return doing(self.api, partial(_remove_account, self))
        if before:
            return doing(self.api, partial(_change_account, self, before))
        # Made by the user itself: minio-py cannot make one on behalf of another.
        own = replace(self.api, user=Secret(self.user.name), password=self.user.password)
        return doing(own, partial(_make_account, self))


def _rights(before: str, after: str) -> list[str]:
    """How the rights of a key differ; the rights of its user are not statements."""
    lines = difference(*("" if text == "its user's" else text for text in (before, after)))
    return ["rights:", *(["- its user's"] if before == "its user's" else []), *lines] + (
        ["+ its user's"] if after == "its user's" else []
    )


def _session_policy(account: ServiceAccount) -> dict[str, Any] | None:
    statements = account.settings.statements
    return {"Version": VERSION, "Statement": normal(statements)} if statements else None


def _change_account(account: ServiceAccount, before: State, client: Any) -> None:
    """Always sends the policy: a change without it makes MinIO drop the policy of the key."""
    after = account.desired() or {}
    administrator(client).update_service_account(
        access_key=account.name,
        secret_key=account.settings.secret_key.reveal() if before["secret_key"] != after["secret_key"] else None,
        policy=_session_policy(account),
        expiration=_end(account) or NEVER if before["expires"] != after["expires"] else None,
        status="on",
    )


def _make_account(account: ServiceAccount, client: Any) -> None:
    from minio.error import MinioAdminException

    name, secret, admins = account.name, account.settings.secret_key.reveal(), administrator(client)
    policy, end = _session_policy(account), _end(account)
    try:
        admins.add_service_account(access_key=name, secret_key=secret, policy=policy, expiration=end)
    except MinioAdminException as error:
        # Sent again after a lost answer: for a key of another user MinIO answers "taken by another user".
        if "already taken" not in message_of(error):
            raise
        admins.update_service_account(
            access_key=name, secret_key=secret, policy=policy, status="on", expiration=end or NEVER
        )


def _remove_account(account: ServiceAccount, client: Any) -> None:
    with unless_done(REMOVED):
        administrator(client).delete_service_account(account.name)


def _end(account: ServiceAccount) -> str | None:
    return moment(account.settings.expires) if account.settings.expires else None

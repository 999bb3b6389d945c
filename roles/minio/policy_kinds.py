"""Policies of MinIO: those of the inventory, and its own."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Reading, Resource, State, Step, Unknown
from converge.record import dataclass
from roles.minio.accounts import UNREADABLE, Accounts, Document, accounts
from roles.minio.admin import admin
from roles.minio.api import Api
from roles.minio.calls import doing, reading
from roles.minio.policy_language import BUILT_IN, Statement, difference, document, meaning

if TYPE_CHECKING:
    from converge.ssh.link import Link
    from roles.minio import settings as model


def put_policy(client: Any, name: str, statements: Sequence[Statement]) -> None:
    admin(client, "PUT", "add-canned-policy", {"name": name}, document(statements))


@dataclass(frozen=True)
class Policy(Resource):
    """An IAM policy, compared by what it means."""

    kind: ClassVar[str] = "policy"
    api: Api = field(repr=False)
    settings: model.Policy

    @property
    def name(self) -> str:
        return str(self.settings.name)

    def desired(self) -> State:
        return {"statements": meaning(self.settings.statements)}

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Policy]) -> list[Reading]:
        def read(client: Any) -> list[Reading]:
            have = accounts(client, link, policies=[policy.name for policy in wanted]).policies
            return [
                {"statements": meaning(have[policy.name].get("Statement") or [])} if policy.name in have else None
                for policy in wanted
            ]

        return reading(wanted[0].api, link, read, len(wanted))

    def diff(self, before: State | None) -> list[str]:
        return difference(before.get("statements", ""), self.desired()["statements"]) if before else []

    def fix(self, before: State | None) -> list[Step]:
        return doing(self.api, lambda client: put_policy(client, self.name, self.settings.statements))


@dataclass(frozen=True)
class Iam(Resource):
    """MinIO's own policies unchanged, all policies readable, and who else has admin rights."""

    kind: ClassVar[str] = "iam"
    api: Api = field(repr=False)
    policies: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return "minio"

    def desired(self) -> State:
        return {name: meaning(statements) for name, statements in BUILT_IN.items()}

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Iam]) -> list[Reading]:
        return reading(
            wanted[0].api,
            link,
            lambda client: [
                resource._state(client, accounts(client, link, [*BUILT_IN, *resource.policies])) for resource in wanted
            ],
            len(wanted),
        )

    def _state(self, client: Any, iam: Accounts) -> Reading:
        unreadable = sorted(name for name, policy in iam.policies.items() if policy is UNREADABLE)
        if iam.fault and not {*unreadable} & {*self.policies, *BUILT_IN}:
            return _blind(unreadable, iam.fault)
        state = {name: _own(client, name, iam.policies.get(name)) for name in BUILT_IN}
        return {**state, "admins": ", ".join(self._others(iam))}

    def _others(self, iam: Accounts) -> list[str]:
        """Users, groups and keys with admin rights that the inventory does not have."""
        strong = {name for name, policy in iam.policies.items() if _administers(policy)}
        holders = [
            f"user {name}" for name, names in iam.user_policies.items() if strong & {*names} and name in iam.users
        ]
        holders += [f"group {name}" for name, names in iam.group_policies.items() if strong & {*names}]
        known = {f"user {name}" for name in self.users}
        parents = {line.removeprefix("user ") for line in holders}
        for name, key in iam.keys.items():
            parent, claims = key.get("parent", ""), key.get("claims") or {}
            if name in self.keys or key.get("sessionPolicy"):
                continue
            if parent in iam.users:
                holders += [f"key {name} of {parent}"] if parent in parents else []
            elif "iss" in claims:  # somebody who logs in with single sign-on, and whose policies are in a claim
                holders += (
                    [f"key {name} of {claims.get('preferred_username', parent)}"] if strong & _values(claims) else []
                )
            else:
                holders.append(f"key {name} of root")
        return sorted({*holders} - known)

    def left_alone(self, before: State) -> list[str]:
        return [
            f"administrator {holder}, not of the inventory" for holder in before.get("admins", "").split(", ") if holder
        ]

    def diff(self, before: State | None) -> list[str]:
        after = self.desired()
        return [
            line
            for name in after
            if before and before.get(name, "") != after[name]
            for line in (f"{name}:", *difference(before.get(name, ""), after[name]))
        ]

    def fix(self, before: State | None) -> list[Step]:
        after = self.desired()
        changed = [name for name in after if before is None or before.get(name) != after[name]]

        def act(client: Any) -> None:
            for name in changed:
                put_policy(client, name, BUILT_IN[name])

        return doing(self.api, act)


def _own(client: Any, name: str, policy: Document | None) -> str:
    """The meaning of one of MinIO's own policies. The wording of another version counts as unchanged: only a policy that was written has a date."""
    wanted, answer = meaning(BUILT_IN[name]), meaning((policy or {}).get("Statement") or [])
    if answer == wanted or policy is None or policy is UNREADABLE:
        return answer
    dates = json.loads(admin(client, "GET", "info-canned-policy", {"name": name, "v": "2"}))
    return answer if dates.get("CreateDate") or dates.get("UpdateDate") else wanted


def _values(claims: Document) -> set[str]:
    """All texts of claims; a list may be one text with commas."""
    lists = (value if isinstance(value, list) else [value] for value in claims.values())
    return {text.strip() for values in lists for value in values for text in str(value).split(",")}


def _administers(policy: Document) -> bool:
    actions = [
        action
        for statement in policy.get("Statement") or []
        if statement.get("Effect") == "Allow"
        for action in statement.get("Action") or []
    ]
    return bool(
        {"*", "admin:*", "admin:CreateUser", "admin:CreatePolicy", "admin:AttachUserOrGroupPolicy"} & {*actions}
    )


def _blind(unreadable: Sequence[str], fault: str) -> Unknown:
    if unreadable:
        return Unknown(
            f"MinIO cannot read the policy {', '.join(unreadable)}, and so tells of no policy in a list",
            f"mc admin policy remove ALIAS {unreadable[0]}, or give it a name in policies",
            lasting=True,
        )
    return Unknown(
        f"MinIO cannot read one of its policies, which nobody has and the inventory does not name: {_fragment(fault)}",
        "on the host, their names: ls /mnt/*/*/.minio.sys/config/iam/policies; then: mc admin policy remove ALIAS NAME",
        lasting=True,
    )


def _fragment(fault: str) -> str:
    """The part of the policy that MinIO could not parse, or else its message."""
    text = html.unescape(fault)
    match = re.search(r"bigger context \.\.\.\|(.*?)\|", text) or re.search(r"\.\.\.\|(.*?)\|", text)
    return f"in it stands {match[1]}" if match else text[:120]

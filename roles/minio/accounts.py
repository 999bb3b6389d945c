"""MinIO's policies, users, groups and keys: from one export, or one by one if the export fails."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import field
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from converge.inventory.secret import Secret
from converge.record import dataclass
from roles.minio.admin import admin, administrator, unzipped
from roles.minio.api import REGION, code_of, message_of

if TYPE_CHECKING:
    from converge.ssh.link import Link

MOMENT = 0.5
"""Seconds for which kinds share one answer; our own change ends them."""
BROKEN = "InternalError"
"""MinIO's error code when it cannot read, or cannot export, one of its policies."""
EXPORTED = ("policies", "users", "groups", "svcaccts", "user_mappings", "group_mappings")
Document = Mapping[str, Any]


def fingerprint(secret: Secret) -> str:
    """Tells two secrets apart without holding either."""
    return "secret " + hashlib.sha256(b"stowage" + secret.reveal().encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Accounts:
    """All of IAM as the server exports it; it holds secret keys in clear text, so it is never shown or stored."""

    policies: Document
    users: Document
    groups: Document
    keys: Document
    user_policies: Mapping[str, tuple[str, ...]]
    group_policies: Mapping[str, tuple[str, ...]]
    fault: str = field(default="", repr=False)
    """Why the export failed. Then only the requested policies are known, and no secret keys."""

    def groups_of(self, user: str) -> list[str]:
        return sorted(name for name, group in self.groups.items() if user in (group.get("members") or []))

    def holders(self, policy: str) -> list[str]:
        """The users and groups that a policy is attached to."""
        users = [f"user {name}" for name, names in self.user_policies.items() if policy in names]
        return sorted(users + [f"group {name}" for name, names in self.group_policies.items() if policy in names])


def accounts(client: Any, link: Link, policies: Iterable[str] = (), keys: Iterable[str] = ()) -> Accounts:
    """All of IAM. If the export fails: the policies and keys with these names, and all users and groups."""
    from minio.error import MinioAdminException

    try:
        return _together(client, link)
    except zipfile.BadZipFile as error:  # the export began, and broke off
        return _piece_by_piece(client, policies, keys, str(error))
    except MinioAdminException as error:
        if code_of(error) != BROKEN:
            raise
        return _piece_by_piece(client, policies, keys, message_of(error))


_ANSWERS: WeakKeyDictionary[Any, tuple[float, Future[Accounts]]] = WeakKeyDictionary()
_ASKING = Lock()


def forget(link: Link) -> None:
    """Drops the shared answer after a change."""
    with _ASKING:
        _ANSWERS.pop(link, None)


def _together(client: Any, link: Link) -> Accounts:
    """One request for all kinds that ask at the same moment."""
    with _ASKING:
        begun, future = _ANSWERS.get(link, (0.0, Future()))
        first = time.monotonic() - begun > MOMENT and (not begun or future.done())
        if first:
            future = Future()
            _ANSWERS[link] = (time.monotonic(), future)
    if first:
        try:
            future.set_result(_export(client))
        except BaseException as error:
            future.set_exception(error)
            forget(link)
    return future.result()


def _export(client: Any) -> Accounts:
    files = {
        name.rpartition("/")[2].removesuffix(".json"): json.loads(data or b"{}") or {}
        for name, data in unzipped(admin(client, "GET", "export-iam")).items()
    }

    if missing := [name for name in EXPORTED if name not in files]:
        raise zipfile.BadZipFile(f"the export has no {missing[0]}")

    def names(file: str) -> dict[str, tuple[str, ...]]:
        return {
            name: tuple(filter(None, account.get("policy", "").split(","))) for name, account in files[file].items()
        }

    return Accounts(
        files["policies"],
        files["users"],
        files["groups"],
        files["svcaccts"],
        names("user_mappings"),
        names("group_mappings"),
    )


def _piece_by_piece(client: Any, policies: Iterable[str], keys: Iterable[str], fault: str) -> Accounts:
    """One broken policy makes every list fail: so each policy is read by its name."""
    admins = administrator(client)
    users = {
        name: user | {"policy": user.get("policyName", "")}
        for name, user in json.loads(admins.user_list() or "{}").items()
    }
    groups = {name: json.loads(admins.group_info(name)) for name in json.loads(admin(client, "GET", "groups")) or []}

    def names(documents: Document, key: str) -> dict[str, tuple[str, ...]]:
        return {name: tuple(filter(None, document.get(key, "").split(","))) for name, document in documents.items()}

    user_policies, group_policies = names(users, "policy"), names(groups, "policy")
    attached = {name for many in (*user_policies.values(), *group_policies.values()) for name in many}
    known = {name: _policy(client, name) for name in sorted(attached | {*policies})}
    return Accounts(
        {name: policy for name, policy in known.items() if policy is not None},
        users,
        groups,
        {name: account for name in keys if (account := _key(admins, name))},
        user_policies,
        group_policies,
        fault,
    )


UNREADABLE: Document = {"Statement": [{"Effect": "a policy that MinIO cannot read"}]}


def _policy(client: Any, name: str) -> Document | None:
    from minio.error import MinioAdminException
    from urllib3.exceptions import HTTPError

    try:
        policy: Document = json.loads(admin(client, "GET", "info-canned-policy", {"name": name}))
    except HTTPError:
        return UNREADABLE  # after a restart MinIO closes the connection instead (seen)
    except MinioAdminException as error:
        if code_of(error) == BROKEN:
            return UNREADABLE
        if code_of(error) == "XMinioAdminNoSuchPolicy":
            return None
        raise
    return policy


def _key(admins: Any, name: str) -> Document | None:
    from minio.error import MinioAdminException

    with suppress(MinioAdminException):
        key = json.loads(admins.get_service_account(name))
        narrowed = None if key.get("impliedPolicy") else json.loads(key.get("policy") or "null")
        return {
            **key,
            "parent": key.get("parentUser", ""),
            "status": key.get("accountStatus", ""),
            "sessionPolicy": narrowed,
        }
    return None


def secret_of(client: Any, name: str, account: Document, wanted: Secret) -> str:
    """The fingerprint of a secret. One that was not exported is tested: a request is signed with the wanted secret."""
    if "secretKey" in account:
        return fingerprint(Secret(account["secretKey"]))
    from minio import Minio
    from minio.error import S3Error

    other = Minio(client._base_url.host, name, wanted.reveal(), secure=False, region=REGION, http_client=client._http)
    try:
        other.list_buckets()
    except S3Error as error:
        if error.code != "AccessDenied":
            return "secret that is not the one of the inventory, or is switched off"
    return fingerprint(wanted)

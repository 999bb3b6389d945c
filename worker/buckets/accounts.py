"""Users, groups, policies and keys of MinIO: those that are absent are restored and read back; those that exist stay as they are."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from worker import sets
from worker.buckets import COMPONENT
from worker.buckets.client import Client
from worker.contract import RESTORE_FAILED, RESTORE_REFUSED
from worker.errors import Failed
from worker.job import Job
from worker.secret_file import secret_in

IAM = "buckets/iam.zip"
"""The stream of a set that holds them."""
ASSETS = "iam-assets"
POLICIES, USERS, GROUPS, KEYS = "policies", "users", "groups", "svcaccts"
MAPPINGS = {"user_mappings": USERS, "group_mappings": GROUPS}
"""Which user or group has which policies. A user that exists gets none back: somebody may have removed them."""
TITLES = {POLICIES: "policies", USERS: "users", GROUPS: "groups", KEYS: "keys of services"}
DATES = {"updatedAt", "updateDate", "createDate", "UpdateDate", "CreateDate"}
Accounts = dict[str, dict[str, Any]]
"""By kind and name."""


def root(job: Job) -> str:
    """The name of MinIO's root, which may own keys, and is not listed as a user."""
    return secret_in(job.config[COMPONENT]["access_key_file"])


def exported(minio: Client) -> Accounts:
    return _unzipped(minio.ask("GET", "/minio/admin/v3/export-iam").body)


def of_set(job: Job, manifest: sets.Manifest, source: str) -> Accounts:
    """The accounts of a set; Failed when it has none."""
    parts = manifest.components.get(COMPONENT, {}).get(IAM)
    if not parts:
        raise Failed(
            RESTORE_REFUSED, "the set does not have who may use the buckets", "--with iam needs it", "inv backup.list"
        )
    return _unzipped(b"".join(sets.reader(job.targets[source], job.keys, manifest).read(parts)))


def absent(saved: Accounts, there: Accounts, root: str, say: Callable[[str], None] = lambda text: None) -> Accounts:
    """The accounts to restore; a key without its owner is left out, and reported."""
    lacking = {
        kind: {name: entry for name, entry in saved.get(kind, {}).items() if name not in there.get(kind, {})}
        for kind in TITLES
    }
    for kind, whose in MAPPINGS.items():
        lacking[kind] = {name: entry for name, entry in saved.get(kind, {}).items() if name in lacking[whose]}
    owners = {root, *there.get(USERS, {}), *lacking[USERS]}
    for name, key in list(lacking[KEYS].items()):
        if (owner := str(key.get("parent", ""))) not in owners:
            say(f"the key {name} stays away: its owner {owner} is no user here")
            del lacking[KEYS][name]
    return lacking


def names(accounts: Accounts) -> dict[str, list[str]]:
    return {kind: sorted(accounts[kind]) for kind in TITLES if accounts.get(kind)}


def lines(by_kind: Mapping[str, list[str]]) -> list[str]:
    """A line for each kind."""
    return [f"{TITLES[kind]}: {', '.join(names_of_kind)}" for kind, names_of_kind in by_kind.items()]


def bring(minio: Client, accounts: Accounts, brought: Callable[[], None] = lambda: None) -> None:
    """Imports them, calls `brought`, and reads them back: each must be as in the set."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for kind, entries in accounts.items():
            archive.writestr(f"{ASSETS}/{kind}.json", json.dumps(entries))
    minio.ask("PUT", "/minio/admin/v3/import-iam", body=made.getvalue())
    brought()
    here = exported(minio)
    wrong = [
        f"{kind}: {name}"
        for kind, entries in accounts.items()
        for name, entry in entries.items()
        if plain(here.get(kind, {}).get(name)) != plain(entry)
    ]
    if wrong:
        raise Failed(RESTORE_FAILED, "who may use the buckets does not read back as the set has it", "\n".join(wrong))


def remove(minio: Client, brought: Mapping[str, list[str]]) -> None:
    """Removes exactly these; an absent one is no error. Keys first, policies last."""
    for key in brought.get(KEYS, ()):
        minio.ask("DELETE", "/minio/admin/v3/delete-service-account", {"accessKey": key}, may_fail=True)
    for name in brought.get(GROUPS, ()):
        answer = minio.ask("GET", "/minio/admin/v3/group", {"group": name}, may_fail=True)
        members = json.loads(answer.body).get("members") or [] if answer.status < 300 else []
        for removed in (members, []):  # a group can be removed when it is empty
            body = json.dumps({"group": name, "members": removed, "isRemove": True}).encode()
            minio.ask("PUT", "/minio/admin/v3/update-group-members", body=body, may_fail=True)
    for name in brought.get(USERS, ()):
        minio.ask("DELETE", "/minio/admin/v3/remove-user", {"accessKey": name}, may_fail=True)
    for name in brought.get(POLICIES, ()):
        minio.ask("DELETE", "/minio/admin/v3/remove-canned-policy", {"name": name}, may_fail=True)


def _unzipped(data: bytes) -> Accounts:
    accounts: Accounts = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for path in archive.namelist():
            kind = path.rpartition("/")[2].removesuffix(".json")
            accounts[kind] = json.loads(archive.read(path) or b"{}") or {}
    return accounts


def plain(entry: Any) -> Any:
    """The entry for comparison, without dates and with sorted lists."""
    if isinstance(entry, dict):
        return {key: plain(value) for key, value in entry.items() if key not in DATES}
    return sorted((plain(value) for value in entry), key=str) if isinstance(entry, list) else entry

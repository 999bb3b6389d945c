"""Accounts and buckets that the settings no longer name: removed if nobody else uses them and they hold no data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Leftover, Reading, Refusal, State, Step
from converge.record import dataclass
from roles.minio.accounts import Accounts, accounts
from roles.minio.admin import administrator
from roles.minio.api import Api
from roles.minio.calls import REMOVED, doing, reading, unless_done
from roles.minio.names import bucket_names

if TYPE_CHECKING:
    from converge.ssh.link import Link


USED_BY = ("service-account", "minio-user", "policy", "bucket")
"""The order of removal: a key before its user, a user before its policies."""


@dataclass(frozen=True)
class Gone(Leftover):
    """Something of the cluster that the settings no longer name. A bucket that holds anything is never removed."""

    kind: ClassVar[str] = "gone"
    api: Api = field(repr=False)
    was: str
    called: str
    users: frozenset[str] = frozenset()
    """The users of the inventory: policies that they no longer have are detached before this is removed."""

    @property
    def removed_last(self) -> int:
        return USED_BY.index(self.was)

    def stands_on(self) -> list[str]:
        return [f"minio-user:{name}" for name in sorted(self.users)] if self.was == "policy" else []

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Gone]) -> list[Reading]:
        def names(kind: str) -> list[str]:
            return [leftover.called for leftover in wanted if leftover.was == kind]

        def read(client: Any) -> list[Reading]:
            iam = accounts(client, link, names("policy"), names("service-account"))
            return [leftover._state(client, iam, {*leftover.users, *names("minio-user")}) for leftover in wanted]

        return reading(wanted[0].api, link, read, len(wanted))

    def _state(self, client: Any, iam: Accounts, released: set[str]) -> Reading:
        if self.was == "bucket":
            return _content(client, self.called)
        have = {"policy": iam.policies, "minio-user": iam.users, "service-account": iam.keys}[self.was]
        if self.called not in have:
            return None
        holders = [holder for holder in iam.holders(self.called) if holder.removeprefix("user ") not in released]
        keys = [name for name, key in iam.keys.items() if key.get("parent") == self.called]
        return {
            "held by": ", ".join(holders) if self.was == "policy" else "",
            "keys": ", ".join(sorted(keys)) if self.was == "minio-user" else "",
        }

    def note(self, before: State | None) -> str:
        keys = (before or {}).get("keys")
        return f"its keys go with it, also those made by hand: {keys}" if keys else ""

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before.get("holds"):
            return Refusal(
                f"it holds {before['holds']}: a bucket with objects is never removed",
                f"name it in buckets again, or empty it: mc rm -r --force --versions ALIAS/{self.called}",
            )
        if before and before.get("held by"):
            kind, _, name = before["held by"].split(", ")[0].partition(" ")
            return Refusal(
                f"{before['held by']} has it, which the inventory does not name",
                f"name it in policies again, or: mc admin policy detach ALIAS {self.called} --{kind} {name}",
            )
        return None

    def fix(self, before: State | None) -> list[Step]:
        remove: dict[str, Callable[[Any], Any]] = {
            "bucket": lambda client: client.remove_bucket(self.called),
            "policy": lambda client: administrator(client).policy_remove(self.called),
            "minio-user": lambda client: administrator(client).user_remove(self.called),
            "service-account": lambda client: administrator(client).delete_service_account(self.called),
        }

        def act(client: Any) -> None:
            with unless_done(REMOVED):
                remove[self.was](client)

        return doing(self.api, act)


def _content(client: Any, bucket: str) -> Reading:
    if bucket not in bucket_names(client, [bucket]):
        return None
    first = next(iter(client.list_objects(bucket, include_version=True, recursive=True)), None)
    return {"holds": f"{first.object_name} and perhaps more" if first else ""}

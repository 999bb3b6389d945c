"""Tiers that the settings no longer name, and the buckets with objects in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.errors import Trouble
from converge.record import dataclass
from roles.minio.admin import admin, unzipped
from roles.minio.api import Api, code_of
from roles.minio.bucket_state import tiers_of
from roles.minio.calls import doing, reading
from roles.minio.gone import USED_BY
from roles.minio.names import bucket_names
from roles.minio.tiers import RECORDS, configured

if TYPE_CHECKING:
    from converge.ssh.link import Link

LOOKED_AT = 100_000
"""How many versions of a bucket are checked for the storage class of a tier."""


@dataclass(frozen=True)
class TierGone(Resource):
    """A tier that the settings no longer name; while an object lies in it, it stays."""

    kind: ClassVar[str] = "tier-gone"
    api: Api = field(repr=False)
    called: str
    buckets: frozenset[str] = frozenset()
    """The buckets of the inventory: their rules are changed first."""

    @property
    def name(self) -> str:
        return self.called

    @property
    def address(self) -> str:
        return f"tier:{self.called}"

    @property
    def removed_last(self) -> int:
        return len(USED_BY)  # after the buckets that had a rule for it

    def desired(self) -> None:
        return None

    def stands_on(self) -> list[str]:
        return [f"bucket:{name}" for name in sorted(self.buckets)]

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[TierGone]) -> list[Reading]:
        def read(client: Any) -> list[Reading]:
            have = configured(client)
            return [tier._state(client) if tier.called in have else None for tier in wanted]

        return reading(wanted[0].api, link, read, len(wanted))

    def _state(self, client: Any) -> State:
        files = unzipped(admin(client, "GET", "export-bucket-metadata"))
        rules = {path.partition("/")[0] for path, data in files.items() if self.called in _tiers(path, data)}
        counted = {tier["Name"]: tier["Stats"] for tier in json.loads(admin(client, "GET", "tier-stats")) or []}
        lie = holders(client, self.called) if counted.get(self.called, {}).get("numVersions") else []
        return {"rules": ", ".join(sorted(rules - self.buckets)), "objects": ", ".join(lie)}

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["objects"]:
            return self._not_empty(before["objects"])
        if before and before["rules"]:
            return Refusal(
                f"rules of {before['rules']} name it, which the inventory does not name",
                f"name it in minio.tiers again, or take the rules away: mc ilm rule ls ALIAS/{before['rules'].split(', ')[0]}",
            )
        return None

    def _not_empty(self, buckets: str) -> Refusal:
        return Refusal(
            f"objects of {buckets} lie in it, and could not be read without it",
            "name it in minio.tiers again; it can go when these objects were removed, or copied anew after their rule was gone",
        )

    def fix(self, before: State | None) -> list[Step]:
        return [*doing(self.api, self._remove), Shell(f"rm -f {RECORDS}/{self.called}")]

    def _remove(self, client: Any) -> None:
        """MinIO itself refuses to remove a tier with objects, also with those that no scanner has counted yet."""
        from minio.error import MinioAdminException

        try:
            admin(client, "DELETE", "tier", of=self.called)
        except MinioAdminException as error:
            if code_of(error) != "XMinioAdminTierBackendNotEmpty":
                raise
            lie = holders(client, self.called)
            why = self._not_empty(", ".join(lie)) if lie else None
            raise Trouble(
                f"the tier {self.called} cannot be removed: it is not empty",
                why=why.why
                if why
                else "none of the buckets has an object there that is known: somebody else's lie beneath its prefix",
                untouched="it is as it was",
                hint=why.hint if why else "name it in minio.tiers again, or empty that place by its owner's means",
            ) from None


def _tiers(path: str, data: bytes) -> frozenset[str]:
    return tiers_of(data) if path.endswith("/lifecycle.xml") else frozenset()


def holders(client: Any, tier: str) -> list[str]:
    """The buckets with an object in a tier, judged by their first versions."""
    return [name for name in bucket_names(client) if tier in _classes(client, name)]


def _classes(client: Any, bucket: str) -> Iterator[str]:
    versions = client.list_objects(bucket, include_version=True, recursive=True)
    return (version.storage_class for version in islice(versions, LOOKED_AT))

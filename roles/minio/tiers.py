"""Tiers: other object stores to which the rules of buckets move old objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.record import dataclass
from converge.shell import sh, write_record
from roles.minio.accounts import fingerprint
from roles.minio.admin import admin
from roles.minio.api import Api
from roles.minio.calls import doing, reading, unless_done

if TYPE_CHECKING:
    from converge.ssh.link import Link
    from roles.minio import settings as model

RECORDS = "/var/lib/stowage/tiers"
"""A file for each tier with the fingerprint of the secret key that MinIO got: MinIO never returns the key."""
PLACE = ("kind", "endpoint", "bucket", "prefix", "region", "storage_class")
"""The address of a tier: it cannot change, as its objects are read from there."""
ALL_KNOW = "all of them"


@dataclass(frozen=True)
class Tier(Resource):
    """A tier that MinIO has tested: it wrote, read and removed an object there when it got the keys."""

    kind: ClassVar[str] = "tier"
    api: Api = field(repr=False)
    settings: model.Tier

    @property
    def name(self) -> str:
        return self.settings.name

    def desired(self) -> State:
        want = self.settings
        keys = {"access_key": fingerprint(want.access_key), "secret_key": fingerprint(want.secret_key)}
        return {key: getattr(want, key) for key in PLACE} | keys | {"known to": ALL_KNOW}

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Tier]) -> list[Reading]:
        api, sent = wanted[0].api, _records(link)

        def read(client: Any) -> list[Reading]:
            others = api.others(link, client, configured)
            have, others_tiers = configured(client), others()
            return [
                have[tier.name]
                | {"secret_key": sent.get(tier.name, "not of ours")}
                | {"known to": _known(tier.name, have, others_tiers)}
                if tier.name in have
                else None
                for tier in wanted
            ]

        return reading(api, link, read, len(wanted))

    def refusal(self, before: State | None) -> Refusal | None:
        other = [key for key in PLACE if before and before[key] != self.desired()[key]]
        if not other:
            return None
        return Refusal(
            f"MinIO cannot let a tier lead elsewhere ({', '.join(other)}): what lies in it is read from there",
            "put back what minio.tiers said; a new place is a new tier, under another name, which the rules of buckets then name",
        )

    def fix(self, before: State | None) -> list[Step]:
        key = sh("printf '%s\\n' {}", fingerprint(self.settings.secret_key))
        known = Shell(f"mkdir -p -m 0750 {RECORDS}\n{write_record(f'{RECORDS}/{self.name}', key)}")
        return [*doing(self.api, self._give_keys if before else self._make), known]

    def _make(self, client: Any) -> None:
        want = self.settings
        place = {"Endpoint": want.endpoint, "Bucket": want.bucket, "Prefix": want.prefix}
        place |= {"Region": want.region, "StorageClass": want.storage_class} if want.kind == "s3" else {}
        keys = {"AccessKey": want.access_key.reveal(), "SecretKey": want.secret_key.reveal()}
        configuration = {"Version": "v1", "Type": want.kind, "Name": self.name, _SECTIONS[want.kind]: place | keys}
        with self._tried(), unless_done(("XMinioAdminTierAlreadyExists",)):
            admin(client, "PUT", "tier", body=_encrypted(client, configuration))

    def _give_keys(self, client: Any) -> None:
        """MinIO tests the keys, stores them, and tells all nodes."""
        keys = {"access": self.settings.access_key.reveal(), "secret": self.settings.secret_key.reveal()}
        with self._tried():
            admin(client, "POST", "tier", of=self.name, body=_encrypted(client, keys))

    @contextmanager
    def _tried(self) -> Iterator[None]:
        """A time-out is the fault of the other store: MinIO tests it before it answers."""
        from urllib3.exceptions import HTTPError

        try:
            yield
        except HTTPError:
            raise Trouble(
                f"the tier {self.name} could not be tried: nothing came back from {self.settings.endpoint}",
                why="MinIO writes, reads and removes an object there before it takes a tier or its keys",
                untouched="MinIO has it as before",
                hint="look whether the nodes reach that address, and whether it answers; then: inv buckets",
            ) from None


_SECTIONS = {"minio": "MinIO", "s3": "S3"}


def _encrypted(client: Any, configuration: Mapping[str, Any]) -> bytes:
    from minio.crypto import encrypt

    return bytes(encrypt(json.dumps(configuration).encode(), client._provider.retrieve().secret_key))


def configured(client: Any) -> dict[str, dict[str, str]]:
    """The tiers of a node by name; it never returns the secret key."""
    return {tier["Name"]: _state(tier) for tier in json.loads(admin(client, "GET", "tier")) or []}


def _state(answer: Mapping[str, Any]) -> dict[str, str]:
    kind = answer.get("Type", "")
    place = answer.get(_SECTIONS.get(kind, ""), {})
    names = {"endpoint": "Endpoint", "bucket": "Bucket", "prefix": "Prefix", "storage_class": "StorageClass"}
    region = place.get("Region", "") if kind == "s3" else ""
    key = fingerprint(Secret(place.get("AccessKey", "")))
    return {
        "kind": kind,
        "region": region,
        "access_key": key,
        **{ours: place.get(theirs, "") for ours, theirs in names.items()},
    }


def _known(name: str, have: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether the other nodes have the same tier: a node without it cannot read its objects."""
    odd = sorted(node for node, tiers in others.items() if tiers.get(name) != have[name])
    return f"not {', '.join(odd)}" if odd else ALL_KNOW


def _records(link: Link) -> dict[str, str]:
    pipe = link.shell(f"cd {RECORDS} 2>/dev/null && grep -H . -- *[A-Z0-9_-] 2>/dev/null; :")
    pipe.close_stdin()
    records = {}
    while line := pipe.readline(20):
        name, _, text = line.decode(errors="replace").strip().partition(":")
        records[name] = text
    return records

"""The key with which MinIO encrypts at rest: it must never change, as no other key reads the data."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Call, Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.shell import sh, write_record
from roles.minio.api import Api, code_of
from roles.minio.calls import do, reading, unless_done

if TYPE_CHECKING:
    from converge.ssh.link import Link

RECORD = "/var/lib/stowage/kms-key"
"""Holds the fingerprint of the key under which this host's MinIO was first deployed; never the key."""
BUCKET, OBJECT, TEXT = "stowage-canary", "canary", b"Encrypted at the first deploy. Stowage reads it at each check.\n"
NOT_READY = ("NotInitialized", "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "InternalError")
"""Endings of error codes that say nothing about the key: a node that starts, or a cluster with too few drives."""


@dataclass(frozen=True)
class KmsKey(Resource):
    """The key is that of the first deploy. With another key MinIO starts and is healthy, but reads no encrypted object."""

    kind: ClassVar[str] = "kms-key"
    fingerprint: str

    @property
    def name(self) -> str:
        return "minio"

    def desired(self) -> State:
        return {"fingerprint": self.fingerprint or "none"}

    @classmethod
    def probe(cls, wanted: Sequence[KmsKey]) -> str:
        return f"cat {RECORD} 2>/dev/null || [ ! -e {RECORD} ]"

    @classmethod
    def read(cls, wanted: Sequence[KmsKey], answer: str) -> list[Reading]:
        there = answer.strip()
        return [{"fingerprint": there or "none"} if there or not key.fingerprint else None for key in wanted]

    def refusal(self, before: State | None) -> Refusal | None:
        if not before:
            return None
        now = f"the inventory has {self.fingerprint}" if self.fingerprint else "the inventory has none"
        return Refusal(
            f"MinIO was first deployed with the key {before['fingerprint']}, and {now}: what is encrypted could not be read any more",
            "put the first key back in minio.kms_key (inv backup.recovery-sheet says where it is kept); "
            f"if nothing was ever encrypted, on the host: rm {RECORD}; then: inv deploy",
        )

    def fix(self, before: State | None) -> list[Step]:
        folder = RECORD.rpartition("/")[0]
        return [Shell(f"mkdir -p -m 0750 {folder}\n" + write_record(RECORD, sh("printf '%s\\n' {}", self.fingerprint)))]


@dataclass(frozen=True)
class Canary(Resource):
    """An object that was encrypted at the first deploy can be read: the health checks of the cluster do not test that."""

    kind: ClassVar[str] = "canary"
    api: Api = field(repr=False)

    @property
    def name(self) -> str:
        return "minio"

    def desired(self) -> State:
        return {"encrypted": "yes", "read back": "yes"}

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Canary]) -> list[Reading]:
        return reading(wanted[0].api, link, lambda client: [_canary(client)] * len(wanted), len(wanted))

    def refusal(self, before: State | None) -> Refusal | None:
        if before is None:
            return None
        return Refusal(
            f"what MinIO encrypted at the first deploy cannot be read: {before['read back']}",
            "put the first key back in minio.kms_key, then: inv deploy; write nothing meanwhile",
        )

    def fix(self, before: State | None) -> list[Step]:
        return [Call(lambda link: do(self.api, link, _made), says="an encrypted object")]


def _canary(client: Any) -> Reading:
    from minio.error import S3Error

    answer = None
    try:
        answer = client.get_object(BUCKET, OBJECT)
        encrypted = "yes" if answer.headers.get("x-amz-server-side-encryption") else "no"
        return {"encrypted": encrypted, "read back": "yes" if answer.data == TEXT else "it says something else"}
    except S3Error as error:
        code = code_of(error)
        if code in ("NoSuchBucket", "NoSuchKey"):
            return None
        if code.endswith(NOT_READY):
            raise
        return {"encrypted": "yes", "read back": f"{code}: {error.message}"}
    finally:
        if answer is not None:
            answer.release_conn()


def _made(client: Any) -> None:
    from minio.sse import SseS3

    with unless_done():
        client.make_bucket(BUCKET)
    client.put_object(BUCKET, OBJECT, io.BytesIO(TEXT), len(TEXT), sse=SseS3())
